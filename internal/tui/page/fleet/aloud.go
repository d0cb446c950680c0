package fleet

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/theme"
)

// The parts that are read seldom, and come after the status.
const (
	partAges  = "credentials"
	partDrift = "drift"
)

// pending says which parts are not there yet, as who listens cannot see that a column is empty; empty if all are.
func (w watch) pending() string {
	var reads, given []string
	part := func(name string, answered, loading, began bool) {
		switch {
		case answered:
		case loading || !began:
			reads = append(reads, name)
		default:
			given = append(given, name)
		}
	}
	part(partAges, answered(w.ages), w.ages.Loading(), !w.ages.Began().IsZero())
	part(partDrift, answered(w.drift), w.drift.Loading(), !w.drift.Began().IsZero())
	switch {
	case len(reads) > 0:
		return "still being read: " + strings.Join(reads, " and ")
	case len(given) > 0:
		return "not read: " + strings.Join(given, " and ") + "; r reads all anew"
	}
	return ""
}

func answered[T any](o reading.One[T]) bool { return !o.At().IsZero() || o.Err() != nil }

// mostTold is how many findings are told by themselves.
const mostTold = 10

// tell says what the first answer of a part has brought that needs attention, where the page was read out without it.
func (p Page) tell(part string, err error, before []overview.Finding, s screen.Scene) (out screen.Out) {
	if !s.Area.Aloud || p.done.IsZero() && p.err == nil {
		return out
	}
	if err != nil {
		return screen.Say(screen.Notice{Text: "not read: " + part, Err: err})
	}
	var fresh []overview.Finding
	for _, f := range p.found {
		if !slices.Contains(before, f) {
			fresh = append(fresh, f)
		}
	}
	if len(fresh) == 0 {
		return out
	}
	out = out.And(screen.Notice{Text: part + ": read, and needs attention:"})
	for _, f := range fresh[:min(mostTold, len(fresh))] {
		line := component.Words(theme.Mark(f.Role)+" "+overview.Key(f.Environment, f.Name)) + ", " + f.Text
		if f.Hint != "" {
			line += "; next: " + f.Hint
		}
		out = out.And(screen.Notice{Text: line})
	}
	if more := len(fresh) - mostTold; more > 0 {
		out = out.And(screen.Notice{Text: fmt.Sprintf("and %d more: enter reads the page", more)})
	}
	return out
}
