package proxy

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/pg"
)

// The benchmarks run the same work in turn against the server (with TLS, as managed servers insist on it) and through the proxy
// (the client in the clear on loopback, TLS from the proxy to the server), and report how the proxy compares: ratio/direct is the
// median of the pairs, best/direct compares the least disturbed run of each side; above 1 the proxy is faster. A pair is one
// iteration: use -benchtime=5x. cpu-us is the proxy's own processor time in microseconds for a transaction or a megabyte, which a
// busy machine disturbs least.

type side struct {
	env []string // of libpq
}

// benchSides is the server itself and a proxy before it.
func benchSides(b *testing.B) (direct, proxied side) {
	b.Helper()
	s := postgres(b, 15)
	p := serve(b, Config{Upstreams: []Upstream{s.upstream("shop", pg.Params{})}})
	host, port, _ := strings.Cut(p.addr, ":")
	common := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.TempDir(), "PGDATABASE=shop", "PGUSER=app"}
	direct = side{append(slices.Clone(common), "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", s.port), "PGPASSWORD=app-word-in-tests",
		"PGSSLMODE=verify-full", "PGSSLROOTCERT="+s.caFile)}
	proxied = side{append(slices.Clone(common), "PGHOST="+host, "PGPORT="+port, "PGPASSWORD="+proxyPassword, "PGSSLMODE=disable")}
	boss := s.connect(b, "shop")
	if query[bool](b, boss, "select to_regclass('pgbench_accounts') is null") {
		direct.run(b, "pgbench", "-i", "-q", "-s", "10", "--unlogged-tables")
	}
	return direct, proxied
}

func (s side) run(b *testing.B, program string, args ...string) string {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), program, args...)
	cmd.Env = s.env
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", program, err, &errOut)
	}
	return out.String()
}

var tpsLine = regexp.MustCompile(`tps = ([0-9.]+)`)

// compare measures both sides in turn; measure returns how much was done, and in how long.
func compare(b *testing.B, unit string, measure func(s side) (done float64, took time.Duration)) {
	b.Helper()
	direct, proxied := benchSides(b)
	measure(direct) // warm both up
	measure(proxied)
	var ratios, base, ours, cpu []float64
	throughDirect := func() float64 {
		done, took := measure(direct)
		return done / took.Seconds()
	}
	throughProxy := func() float64 {
		before := processorTime(b)
		done, took := measure(proxied)
		cpu = append(cpu, float64((processorTime(b)-before).Microseconds())/done)
		return done / took.Seconds()
	}
	for b.Loop() {
		var d, p float64
		if len(ratios)%2 == 0 {
			d, p = throughDirect(), throughProxy()
		} else {
			p, d = throughProxy(), throughDirect()
		}
		ratios, base, ours = append(ratios, p/d), append(base, d), append(ours, p)
	}
	slices.Sort(ratios)
	slices.Sort(cpu)
	b.ReportMetric(cpu[len(cpu)/2], "cpu-us")
	b.ReportMetric(ratios[len(ratios)/2], "ratio/direct")
	b.ReportMetric(slices.Max(ours)/slices.Max(base), "best/direct")
	b.ReportMetric(slices.Max(base), "direct-"+unit)
	b.ReportMetric(slices.Max(ours), "proxy-"+unit)
	b.ReportMetric(0, "ns/op")
}

func benchPgbench(b *testing.B, args ...string) {
	b.Helper()
	compare(b, "tps", func(s side) (float64, time.Duration) {
		const seconds = 2
		out := s.run(b, "pgbench", append([]string{"-n", "-S", "-T", strconv.Itoa(seconds)}, args...)...)
		tps, err := strconv.ParseFloat(tpsLine.FindStringSubmatch(out)[1], 64)
		if err != nil {
			b.Fatal(err)
		}
		return tps * seconds, seconds * time.Second
	})
}

// processorTime is what this process, which is the proxy, has used.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkSelectPreparedC1(b *testing.B) { benchPgbench(b, "-M", "prepared", "-c", "1") }
func BenchmarkSelectPreparedC8(b *testing.B) {
	benchPgbench(b, "-M", "prepared", "-c", "8", "-j", "2")
}
func BenchmarkConnectPerTransaction(b *testing.B) { benchPgbench(b, "-C", "-c", "1") }
func BenchmarkConnectPerTransactionC8(b *testing.B) {
	benchPgbench(b, "-C", "-c", "8", "-j", "2")
}

func benchCopyOut(b *testing.B, megabytes float64, sql string) {
	b.Helper()
	compare(b, "MB/s", func(s side) (float64, time.Duration) {
		begin := time.Now()
		cmd := exec.CommandContext(b.Context(), "psql", "-XAtc", sql)
		cmd.Env = s.env
		cmd.Stdout, cmd.Stderr = nil, os.Stderr // to /dev/null: a pipe would be measured, too
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		return megabytes, time.Since(begin)
	})
}

func BenchmarkCopyOutNarrowRows(b *testing.B) {
	benchCopyOut(b, 3*100, "copy (select a.* from pgbench_accounts a, generate_series(1, 3)) to stdout")
}

func BenchmarkCopyOutWideRows(b *testing.B) {
	benchCopyOut(b, 400, "copy (select repeat('x', 8000) from pgbench_accounts limit 50000) to stdout")
}
