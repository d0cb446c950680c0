package backup

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The results of a check.
const (
	OK       = "ok"
	Mismatch = "mismatch" // the drill fails
	Differs  = "differs"  // and that may be because the source has changed since
	Unknown  = "unknown"  // could not be checked
)

// Check is one thing that a drill compared.
type Check struct {
	Check    string `json:"check"` // "restore", "login", "database", "schema", "rows", "freshness"
	Database string `json:"database,omitempty"`
	Object   string `json:"object,omitempty"`
	Result   string `json:"result"`
	Text     string `json:"text"`
}

// summarizes tells whether others of all name what c counts.
func (c Check) summarizes(all []Check) bool {
	return c.Object == "" && slices.ContainsFunc(all, func(o Check) bool {
		return o.Object != "" && o.Check == c.Check && o.Database == c.Database && o.Result == c.Result
	})
}

// mostDifferences of one sort are named; the rest is counted.
const mostDifferences = 20

// comparison is what was restored, beside the source before and after the moment that was restored.
type comparison struct {
	before, after, restored *reading
	// bracketed tells that the moment lies between the two: then whatever did not change on the source has to be the same.
	bracketed bool
}

func (c comparison) checks() (out []Check) {
	for _, name := range slices.Sorted(maps.Keys(c.before.Databases)) {
		a, b, r := c.before.Databases[name], c.after.Databases[name], c.restored.Databases[name]
		say := func(check, result, format string, args ...any) {
			out = append(out, Check{Check: check, Database: name, Result: result, Text: fmt.Sprintf(format, args...)})
		}
		switch {
		case a.Problem != "":
			say("database", Mismatch, "it could not be read on the source, so that nothing is known: %s", a.Problem)
		case b == nil || b.Problem != "":
			say("database", Mismatch, "it could not be read on the source a second time: %s", problem(b))
		case r == nil || r.Problem != "":
			say("database", c.worst(), "it cannot be read in what was restored: %s", problem(r))
		default:
			out = append(out, c.schema(name, a, b, r)...)
			out = append(out, c.rows(name, a, b, r)...)
		}
	}
	return out
}

func problem(d *dbReading) string {
	if d == nil {
		return "it is not there"
	}
	return d.Problem
}

// worst is what a difference means that the source did not make between the readings.
func (c comparison) worst() string {
	if c.bracketed {
		return Mismatch
	}
	return Differs
}

func (c comparison) schema(name string, a, b, r *dbReading) (out []Check) {
	objects := map[string]bool{}
	for _, d := range []*dbReading{a, b, r} {
		for o := range d.Objects {
			objects[o] = true
		}
	}
	for _, o := range slices.Sorted(maps.Keys(objects)) {
		was, is, got := a.Objects[o], b.Objects[o], r.Objects[o]
		if got == was || got == is {
			continue
		}
		result := c.worst()
		text := "it is defined otherwise than on the source"
		switch {
		case got == "":
			text = "it is missing"
		case was == "" && is == "":
			text = "it is not on the source"
		}
		if was != is { // changed while the drill ran, perhaps more than once
			result, text = Differs, text+", where it was changed meanwhile"
		}
		out = append(out, Check{Check: "schema", Database: name, Object: o, Result: result, Text: text})
	}
	return summed(out, Check{Check: "schema", Database: name, Result: OK, Text: fmt.Sprintf("%d objects compared", len(objects))})
}

func (c comparison) rows(name string, a, b, r *dbReading) (out []Check) {
	exact, estimated, unread := 0, 0, 0
	for _, t := range slices.Sorted(maps.Keys(a.Tables)) {
		was, is, got := a.Tables[t], b.Tables[t], r.Tables[t]
		if is == nil || got == nil {
			continue // the schema says so
		}
		result, text := c.count(was, is, got)
		switch {
		case result == Unknown:
			unread++
		case was.Exact && is.Exact && got.Exact:
			exact++
		default:
			estimated++
		}
		if result != OK {
			out = append(out, Check{Check: "rows", Database: name, Object: t, Result: result, Text: text})
		}
	}
	text := fmt.Sprintf("%d tables counted exactly, %d estimated from their size", exact, estimated)
	if unread > 0 {
		text += fmt.Sprintf(", %d not counted", unread)
	}
	if unread > 0 && exact+estimated == 0 {
		out = append(out, Check{Check: "rows", Database: name, Result: Mismatch, Text: "no table could be counted: nothing is known about the data"})
	}
	return summed(out, Check{Check: "rows", Database: name, Result: OK, Text: text})
}

// count compares the rows of one table: what was not inserted or deleted on the source between the readings is in both.
func (c comparison) count(was, is, got *count) (result, text string) {
	for _, n := range []*count{was, is, got} {
		if n.Problem != "" {
			return Unknown, "it was not counted: " + n.Problem
		}
	}
	if got.Unlogged && got.Rows == 0 {
		return OK, "it is unlogged, and so empty after every recovery"
	}
	churn := is.Writes - was.Writes
	low, high := min(is.Rows, was.Rows-max(churn, 0)), max(is.Rows, was.Rows+max(churn, 0))
	about := ""
	if !was.Exact || !is.Exact || !got.Exact {
		low, high, about = low-low/10, high+high/10+1, "about "
	}
	if got.Rows >= low && got.Rows <= high {
		return OK, ""
	}
	text = fmt.Sprintf("%s%d rows, and on the source %d before and %d after", about, got.Rows, was.Rows, is.Rows)
	if churn < 0 { // the statistics were reset: how much came and went is not known
		return Differs, text
	}
	return c.worst(), text
}

// summed puts the summary before the differences, of which the first are named.
func summed(differences []Check, summary Check) []Check {
	if slices.ContainsFunc(differences, func(d Check) bool { return d.Result == Mismatch }) {
		summary.Result = Mismatch
	} else if slices.ContainsFunc(differences, func(d Check) bool { return d.Result == Differs }) {
		summary.Result = Differs
	}
	if n := len(differences); n > 0 {
		summary.Text += fmt.Sprintf("; %d not as expected", n)
	}
	slices.SortStableFunc(differences, func(a, b Check) int { return strings.Compare(rank(a.Result), rank(b.Result)) })
	if n := len(differences) - mostDifferences; n > 0 {
		differences = append(differences[:mostDifferences:mostDifferences], Check{
			Check: summary.Check, Database: summary.Database, Result: Unknown, Text: fmt.Sprintf("and %d more", n),
		})
	}
	return append([]Check{summary}, differences...)
}

func rank(result string) string {
	return map[string]string{Mismatch: "0", Differs: "1", Unknown: "2"}[result]
}
