package backup

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func rows(n int64, change ...func(*count)) *count {
	c := &count{Rows: n, Exact: true}
	for _, f := range change {
		f(c)
	}
	return c
}

func about(c *count)    { c.Exact = false }
func unlogged(c *count) { c.Unlogged = true }
func writes(n int64) func(*count) {
	return func(c *count) { c.Writes = n }
}
func failing(c *count) { c.Problem = "the login may not read it" }

func TestRowsAreComparedAsStrictlyAsIsTrue(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after, restored *count
		past                    bool
		want                    string
	}{
		"nothing happened":                     {rows(10), rows(10), rows(10), false, OK},
		"a row is missing":                     {rows(10), rows(10), rows(9), false, Mismatch},
		"a row is too many":                    {rows(10), rows(10), rows(11), false, Mismatch},
		"a row is missing, of the past":        {rows(10), rows(10), rows(9), true, Differs},
		"it grew meanwhile":                    {rows(10), rows(20, writes(10)), rows(15), false, OK},
		"it grew meanwhile, from less":         {rows(10), rows(20), rows(9), false, Mismatch},
		"a queue: as many came as went":        {rows(10), rows(10, writes(8)), rows(13), false, OK},
		"a queue: more than ever came":         {rows(10), rows(10, writes(8)), rows(19), false, Mismatch},
		"it was truncated":                     {rows(1000), rows(0), rows(1000), false, OK},
		"the statistics were reset":            {rows(10, writes(50)), rows(20, writes(2)), rows(35), false, Differs},
		"an estimate, a little off":            {rows(1000, about), rows(1000, about), rows(1060, about), false, OK},
		"an estimate, far off":                 {rows(1000, about), rows(1000, about), rows(500, about), false, Mismatch},
		"it became too large to count":         {rows(1000), rows(1010, about, writes(10)), rows(1005), false, OK},
		"an unlogged table is empty":           {rows(10, unlogged), rows(10, unlogged), rows(0, unlogged), false, OK},
		"a table that is no unlogged is empty": {rows(10), rows(10), rows(0), false, Mismatch},
		"one that may not be read":             {rows(10), rows(10), rows(0, failing), false, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, text := (comparison{bracketed: !c.past}).count(c.before, c.after, c.restored); got != c.want {
				t.Errorf("%s (%s), want %s", got, text, c.want)
			}
		})
	}
}

func readingOf(objects map[string]string, tables map[string]*count) *reading {
	return &reading{Databases: map[string]*dbReading{"shop": {Objects: objects, Tables: tables}}}
}

func results(all []Check) (out []string) {
	for _, c := range all {
		out = append(out, strings.Join(strings.Fields(c.Check+" "+c.Object+" "+c.Result), " "))
	}
	return out
}

func TestWhatDiffersIsNamed(t *testing.T) {
	t.Parallel()
	item := map[string]*count{"public.item": rows(3)}
	source := readingOf(map[string]string{"relation public.item": "1", "index public.item_pkey": "2"}, item)
	many := map[string]string{}
	for i := range 30 {
		many[fmt.Sprintf("relation public.t%02d", i)] = "1"
	}
	for name, c := range map[string]struct {
		comparison
		want []string
	}{
		"nothing": {comparison{source, source, source, true}, []string{"schema ok", "rows ok"}},
		"an index is missing": {
			comparison{source, source, readingOf(map[string]string{"relation public.item": "1"}, item), true},
			[]string{"schema mismatch", "schema index public.item_pkey mismatch", "rows ok"},
		},
		"a table is defined otherwise, and one is too many": {
			comparison{source, source, readingOf(map[string]string{"relation public.item": "9", "index public.item_pkey": "2", "relation public.x": "1"}, item), true},
			[]string{"schema mismatch", "schema relation public.item mismatch", "schema relation public.x mismatch", "rows ok"},
		},
		"the same, of the past": {
			comparison{source, source, readingOf(map[string]string{"relation public.item": "9", "index public.item_pkey": "2"}, item), false},
			[]string{"schema differs", "schema relation public.item differs", "rows ok"},
		},
		"the source was changed meanwhile, and had it": {
			comparison{readingOf(map[string]string{"relation public.item": "0", "index public.item_pkey": "2"}, item), source, source, true},
			[]string{"schema ok", "rows ok"},
		},
		"the source was changed meanwhile, perhaps twice": {
			comparison{readingOf(map[string]string{"relation public.item": "0", "index public.item_pkey": "2"}, item), source, readingOf(map[string]string{"relation public.item": "5", "index public.item_pkey": "2"}, item), true},
			[]string{"schema differs", "schema relation public.item differs", "rows ok"},
		},
		"a database is missing": {comparison{source, source, &reading{}, true}, []string{"database mismatch"}},
		"the source cannot be read": {
			comparison{&reading{Databases: map[string]*dbReading{"shop": {Problem: "no"}}}, source, source, true}, []string{"database mismatch"},
		},
		"nothing could be counted": {
			comparison{source, source, readingOf(source.Databases["shop"].Objects, map[string]*count{"public.item": rows(0, failing)}), true},
			[]string{"schema ok", "rows mismatch", "rows mismatch", "rows public.item unknown"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := results(c.checks()); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := (comparison{readingOf(many, nil), readingOf(many, nil), readingOf(nil, nil), true}).checks(); len(got) != 1+mostDifferences+1+1 || got[mostDifferences+1].Text != "and 10 more" {
		t.Errorf("%d checks: %+v", len(got), got[len(got)-2:])
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	point := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration) commits { return commits{byCommit, point.Add(d)} }
	for name, c := range map[string]struct {
		source, restored commits
		want             string
	}{
		"nothing is known":                         {commits{Method: byWord}, commits{Method: byWord}, Unknown},
		"a little before":                          {commits{Method: byWord}, at(-time.Second), OK},
		"long before, and nothing says otherwise":  {commits{Method: byWord}, at(-time.Hour), OK},
		"after the moment":                         {commits{Method: byWord}, at(time.Minute), Mismatch},
		"as new as the source":                     {at(-time.Minute), at(-time.Minute), OK},
		"older than the source was":                {at(-time.Minute), at(-time.Hour), Mismatch},
		"the source is newer than the moment only": {at(time.Minute), at(-time.Hour), OK},
	} {
		if got := freshness(point, c.source, c.restored); got.Result != c.want || got.Text == "" {
			t.Errorf("%s: got %+v, want %s", name, got, c.want)
		}
	}
}

func TestADrillIsJudged(t *testing.T) {
	t.Parallel()
	ok := DrillReport{RPO: Span(time.Minute), RTO: Span(10 * time.Minute), Targets: Targets{RPO: Span(5 * time.Minute), RTO: Span(time.Hour)}}
	for name, c := range map[string]struct {
		change func(*DrillReport)
		want   string
	}{
		"passed":         {func(*DrillReport) {}, "passed: usable after 10m0s, at most 1m0s lost"},
		"no targets":     {func(r *DrillReport) { r.Targets = Targets{} }, "passed"},
		"too slow":       {func(r *DrillReport) { r.RTO = Span(2 * time.Hour) }, "failed: it took 2h0m0s, and 1h0m0s is the target"},
		"too much lost":  {func(r *DrillReport) { r.RPO = Span(6 * time.Minute) }, "failed: 6m0s could have been lost, and 5m0s is the target"},
		"a mismatch":     {func(r *DrillReport) { r.Checks = []Check{{"rows", "shop", "public.item", Mismatch, "gone"}} }, "failed: rows shop public.item: gone"},
		"never answered": {func(r *DrillReport) { r.RTO, r.Checks = 0, []Check{{Check: "login", Result: Mismatch, Text: "no"}} }, "failed: login: no"},
		"a difference": {func(r *DrillReport) {
			r.Checks = []Check{{Check: "rows", Result: Differs}, {Check: "rows", Result: Unknown}}
		}, "passed"},
	} {
		r := ok
		c.change(&r)
		if r.judge(); !strings.HasPrefix(r.Text, c.want) || r.Met != strings.HasPrefix(c.want, "passed") {
			t.Errorf("%s: got %v, %q", name, r.Met, r.Text)
		}
	}
}

func TestASpanIsSecondsInJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Targets{RPO: Span(1500 * time.Millisecond)})
	if err != nil || string(b) != `{"rpo_seconds":1.5}` {
		t.Errorf("got %s, %v", b, err)
	}
	var back Targets
	if err := json.Unmarshal(b, &back); err != nil || back.RPO != Span(1500*time.Millisecond) || json.Unmarshal([]byte(`{"rpo_seconds":"x"}`), &back) == nil {
		t.Errorf("got %+v, %v", back, err)
	}
}
