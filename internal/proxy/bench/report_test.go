package bench

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// report is all that was measured.
type report struct {
	machine []string
	options options
	tables  []table
	idle    []idle
}

type table struct {
	title string
	sides []side
	lines []line
}

// line is a row with the samples of each side.
type line struct {
	row
	samples [][]sample
}

// median of what f makes of each round.
func (l line) median(f func(round int) float64) float64 {
	all := make([]float64, l.rounds)
	for i := range all {
		all[i] = f(i)
	}
	slices.Sort(all)
	if n := len(all); n%2 == 0 {
		return (all[n/2-1] + all[n/2]) / 2
	}
	return all[len(all)/2]
}

func (l line) rate(side int) float64 {
	return l.median(func(r int) float64 { return l.samples[side][r].rate() })
}

// ratio of two sides' rates in the same round; above 1, side a is faster.
func (l line) ratio(a, b int) float64 {
	return l.median(func(r int) float64 { return l.samples[a][r].rate() / l.samples[b][r].rate() })
}

// cost is the proxy's processor time: seconds for a GB, or microseconds for a transaction.
func (l line) cost(side int) float64 {
	per := 1e6
	if l.unit == "MB" {
		per = 1024
	}
	var done, used float64
	for _, s := range l.samples[side] {
		done, used = done+s.done, used+s.cpu.Seconds()
	}
	return used / done * per
}

func (l line) costUnit() string {
	if l.unit == "MB" {
		return "s/GB"
	}
	return "µs"
}

// text is the line for the log.
func (l line) text(sides []side) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:", l.name)
	for i, s := range sides {
		fmt.Fprintf(&b, " %s %.1f %s/s", s.name, l.rate(i), l.unit)
		if s.proxy != 0 {
			fmt.Fprintf(&b, " (%.1f %s)", l.cost(i), l.costUnit())
		}
		b.WriteString(";")
	}
	last := len(sides) - 1
	for i := range last {
		fmt.Fprintf(&b, " dbops/%s %.2f", sides[i].name, l.ratio(last, i))
	}
	return b.String()
}

const (
	tablesBegin = "<!-- tables: make bench-docs -->\n"
	tablesEnd   = "<!-- end of tables -->\n"
)

// write prints the tables, and puts them into the page that the environment names.
func (r *report) write(b *testing.B) {
	b.Helper()
	text := r.markdown()
	fmt.Println("\n" + text)
	page := os.Getenv("DBOPS_BENCH_DOCS")
	if page == "" {
		return
	}
	old, err := os.ReadFile(page)
	must(b, err)
	head, rest, ok := strings.Cut(string(old), tablesBegin)
	_, tail, closed := strings.Cut(rest, tablesEnd)
	if !ok || !closed {
		b.Fatalf("%s has no place for tables: %q and %q", page, tablesBegin, tablesEnd)
	}
	must(b, os.WriteFile(page, []byte(head+tablesBegin+"\n"+text+"\n"+tablesEnd+tail), 0o644))
}

func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %s, %s a run of pgbench, %d rounds (2 of COPY, %d MB):\n\n", time.Now().UTC().Format(time.DateOnly), r.options.time, r.options.rounds, r.options.megabyte)
	for _, line := range r.machine {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n### %s\n\n", t.title)
		t.markdown(&b)
	}
	if len(r.idle) > 0 {
		b.WriteString("\n### Idle connections\n\n| proxy | connections | memory each | processor a minute, all |\n| --- | ---: | ---: | ---: |\n")
		for _, i := range r.idle {
			fmt.Fprintf(&b, "| %s | %d | %.1f KB | %.2f s |\n", i.side, i.connections, float64(i.bytes)/1024, i.cpu.Seconds())
		}
	}
	return b.String()
}

// markdown of a table: the last side is dbops, the first the direct connection.
func (t table) markdown(b *strings.Builder) {
	dbops := len(t.sides) - 1
	b.WriteString("| |")
	for _, s := range t.sides {
		fmt.Fprintf(b, " %s |", s.name)
	}
	for _, s := range t.sides[:dbops] {
		fmt.Fprintf(b, " dbops / %s |", s.name)
	}
	for _, s := range t.sides[1:] {
		fmt.Fprintf(b, " processor, %s |", s.name)
	}
	if dbops > 1 {
		b.WriteString(" processor, ratio |")
	}
	numbers := len(t.sides) + 2*dbops
	if dbops > 1 {
		numbers++
	}
	fmt.Fprintf(b, "\n| --- |%s\n", strings.Repeat(" ---: |", numbers))
	for _, l := range t.lines {
		fmt.Fprintf(b, "| %s |", l.name)
		for i := range t.sides {
			fmt.Fprintf(b, " %.0f %s/s |", l.rate(i), l.unit)
		}
		for i := range dbops {
			fmt.Fprintf(b, " **%.2f** |", l.ratio(dbops, i))
		}
		for i := range t.sides[1:] {
			fmt.Fprintf(b, " %.1f %s |", l.cost(i+1), l.costUnit())
		}
		if dbops > 1 {
			fmt.Fprintf(b, " %.2f |", l.cost(dbops)/l.cost(1))
		}
		b.WriteString("\n")
	}
}
