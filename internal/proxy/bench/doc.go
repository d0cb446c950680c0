// Package bench measures what the proxy costs: the real program, as its users run it, beside a direct TLS connection of the same client to the
// same server, and beside Google's cloud-sql-proxy on the same instance.
//
// The instances are the sandbox's: real PostgreSQL servers behind the connector port of Cloud SQL and the TLS of RDS. The sides take turns,
// the order changes with each round, and what is shown is the median of the rounds' ratios: what disturbs the machine disturbs all sides.
// It is one benchmark, BenchmarkProxy, because the sandbox takes long to come up; make bench-proxy runs it and make bench-docs writes
// its tables into docs/benchmarks.md. Nothing is asserted about speed.
//
// It reads these variables: BENCHTIME, the duration of one run of pgbench (default 3s); ROUNDS (3); DBOPS_BENCH_MB, the size of a COPY (1024);
// DBOPS_BENCH_ONLY, a regular expression of rows; DBOPS_BENCH_DOCS, the page to write;
// DBOPS_PEER_CLOUD_SQL_PROXY, as scripts/peers.sh --env sets it.
package bench
