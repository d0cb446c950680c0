package stream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

// benchMB is how large the database is, without indexes: DBOPS_BENCH_MB, which says nothing about a real one below some thousands.
func benchMB(b *testing.B) int {
	b.Helper()
	text := os.Getenv("DBOPS_BENCH_MB")
	if text == "" {
		return 32
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("DBOPS_BENCH_MB=%s: want a number of megabytes", text)
	}
	return n
}

// fill makes two large tables, one of them with many indexes, and 200 small ones. A row of events has about 130 bytes, one of accounts 110.
func fill(b *testing.B, mb int) *side {
	b.Helper()
	accounts, events := mb*3000, mb*5000
	return newSide(b, 14,
		"create table accounts (id bigint primary key, branch int not null, balance numeric not null, filler text not null)",
		fmt.Sprintf("insert into accounts select i, i %% 100, i / 7.0, repeat('x', 70) from generate_series(1, %d) i", accounts),
		"create table events (id bigint generated always as identity primary key, account bigint not null references accounts, kind text not null, at timestamptz not null, body jsonb not null)",
		fmt.Sprintf("insert into events (account, kind, at, body) select 1 + i %% %d, 'kind ' || i %% 17, '2024-01-01'::timestamptz + i * interval '1 s', jsonb_build_object('n', i, 's', md5(i::text)) from generate_series(1, %d) i", accounts, events),
		"create index on events (account); create index on events (kind, at); create index on events (at)",
		"do $$ begin for i in 1..200 loop execute format('create table small_%s (id int primary key, account bigint references accounts, v text); insert into small_%s select j, j, md5(j::text) from generate_series(1, 100) j; create index on small_%s (v)', i, i, i); end loop; end $$",
		"analyze")
}

// BenchmarkCopy copies the same database by both engines in turn, both with the same settings on the target.
func BenchmarkCopy(b *testing.B) {
	mb := benchMB(b)
	from := fill(b, mb)
	dir := b.TempDir()
	for _, e := range []struct {
		name string
		copy Engine
	}{
		{"stream", Copy},
		{"folder", func(ctx context.Context, j Job) (Result, error) {
			if err := os.RemoveAll(filepath.Join(dir, "dump"+completeMark)); err != nil { // of the time before
				return Result{}, err
			}
			return Folder(filepath.Join(dir, "dump"))(ctx, j)
		}},
	} {
		b.Run(fmt.Sprintf("%s/%dMB", e.name, mb), func(b *testing.B) {
			var most uint64
			for b.Loop() {
				b.StopTimer()
				to := newSide(b, 18)
				b.StartTimer()
				j := Job{Source: from.connect, Jobs: 2, SplitBytes: 512 << 20, Target: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
					return to.connect(ctx, func(c *pgx.ConnConfig) {
						c.RuntimeParams["maintenance_work_mem"] = "256MB"
						c.RuntimeParams["max_parallel_maintenance_workers"] = "0"
						tune(c)
					})
				}}
				j.Progress = func(Progress) {
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					most = max(most, m.HeapInuse)
				}
				if _, err := e.copy(b.Context(), j); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if n := to.text("select count(*)::text from events"); n != strconv.Itoa(mb*5000) {
					b.Fatalf("%s rows", n)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(mb)*float64(b.N)/b.Elapsed().Seconds(), "MB/s")
			b.ReportMetric(float64(most)/(1<<20), "heap-MB")
		})
	}
}
