package bench

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// options are what the environment says.
type options struct {
	time     time.Duration // of one run of pgbench
	rounds   int
	megabyte int            // of a COPY
	only     *regexp.Regexp // names of rows
}

func readOptions(b *testing.B) options {
	b.Helper()
	o := options{time: 3 * time.Second, rounds: 3, megabyte: 1024, only: regexp.MustCompile(os.Getenv("DBOPS_BENCH_ONLY"))}
	for name, set := range map[string]func(string) error{
		"BENCHTIME":      func(s string) (err error) { o.time, err = time.ParseDuration(s); return err },
		"ROUNDS":         func(s string) (err error) { o.rounds, err = strconv.Atoi(s); return err },
		"DBOPS_BENCH_MB": func(s string) (err error) { o.megabyte, err = strconv.Atoi(s); return err },
	} {
		if v := os.Getenv(name); v != "" {
			if err := set(v); err != nil {
				b.Fatalf("%s: %v", name, err)
			}
		}
	}
	if o.time < time.Second || o.rounds < 1 || o.megabyte < 1 {
		b.Fatalf("BENCHTIME of a second, ROUNDS and DBOPS_BENCH_MB of one are the least: %+v", o)
	}
	return o
}

// row is one line of a table.
type row struct {
	name    string
	unit    string // of the rate: transactions, MB
	rounds  int    // at most
	measure func(b *testing.B, s side) sample
}

// sample is one run of one side.
type sample struct {
	done float64 // transactions, or MB
	took time.Duration
	cpu  time.Duration // of the proxy; none for a direct connection
}

func (s sample) rate() float64 { return s.done / s.took.Seconds() }

func rows(o options) []row {
	run := func(args ...string) func(*testing.B, side) sample {
		return func(b *testing.B, s side) sample { b.Helper(); return s.pgbench(b, o.time, args...) }
	}
	return []row{
		{"select, prepared, 1 client", "tx", o.rounds, run("-S", "-M", "prepared", "-c", "1")},
		{"select, prepared, 8 clients", "tx", o.rounds, run("-S", "-M", "prepared", "-c", "8", "-j", "2")},
		{"select, prepared, 64 clients", "tx", o.rounds, run("-S", "-M", "prepared", "-c", "64", "-j", "2")},
		{"select, simple protocol, 8 clients", "tx", o.rounds, run("-S", "-M", "simple", "-c", "8", "-j", "2")},
		{"connect per transaction, 1 client", "tx", o.rounds, run("-S", "-C", "-c", "1")},
		{"connect per transaction, 8 clients", "tx", o.rounds, run("-S", "-C", "-c", "8", "-j", "2")},
		{"first answer of a new connection", "tx", o.rounds, func(b *testing.B, s side) sample { b.Helper(); return s.firstAnswers(b, 50) }},
		{"COPY out, rows of 100 bytes", "MB", min(2, o.rounds), func(b *testing.B, s side) sample { b.Helper(); return s.copyOut(b, o.megabyte, 100) }},
		{"COPY out, rows of 8 kB", "MB", min(2, o.rounds), func(b *testing.B, s side) sample { b.Helper(); return s.copyOut(b, o.megabyte, 8000) }},
		{"COPY in, rows of 8 kB", "MB", min(2, o.rounds), func(b *testing.B, s side) sample { b.Helper(); return s.copyIn(b, o.megabyte) }},
	}
}

func BenchmarkProxy(b *testing.B) {
	for range b.N { // one: it measures by itself
		o := readOptions(b)
		raiseFileLimit()
		st := newStage(b)
		r := &report{machine: describe(b, st), options: o}
		for _, way := range st.ways(b) {
			t := table{title: way.title, sides: way.sides}
			for _, row := range rows(o) {
				if o.only.MatchString(row.name) {
					t.lines = append(t.lines, compare(b, way.sides, row))
				}
			}
			if len(t.lines) > 0 {
				r.tables = append(r.tables, t)
			}
		}
		many := newStandIn(b, st.dir)
		for _, n := range []int{1000, 10_000} {
			if name := fmt.Sprintf("memory, %d idle connections", n); o.only.MatchString(name) {
				r.idle = append(r.idle, measureIdle(b, st, many, n)...)
			}
		}
		r.write(b)
		b.ReportMetric(0, "ns/op")
	}
}

// compare runs each side once a round, and another one first in each.
func compare(b *testing.B, sides []side, r row) line {
	b.Helper()
	l := line{row: r, samples: make([][]sample, len(sides))}
	for i := range sides {
		r.measure(b, sides[i].brief()) // warms up
	}
	for round := range r.rounds {
		for i := range sides {
			n := (i + round) % len(sides)
			s := r.measure(b, sides[n])
			l.samples[n] = append(l.samples[n], s)
		}
	}
	b.Logf("%s", l.text(sides))
	return l
}
