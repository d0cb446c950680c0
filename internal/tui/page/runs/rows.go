package runs

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// columns of all runs; the state, the target and what it is never leave.
func columns() []component.Column {
	return []component.Column{
		{Title: "STATE", Min: 14, Max: 16},
		{Title: "RUN", Min: 11, Leave: 2},
		{Title: "TARGET", Min: 14, Max: 30},
		{Title: "WHAT", Min: 24, Max: 60},
		{Title: "STEP", Min: 10, Max: 24, Leave: 4},
		{Title: "BY", Min: 10, Max: 28, Leave: 3},
		{Title: "BEGAN", Right: true, Min: 5},
		{Title: "TOOK", Right: true, Min: 5, Leave: 1},
	}
}

var orders = []string{"time", "target", "state", "who"}

// sorted puts runs in an order; those that have not ended come first in that of time.
func sorted(all []state.Run, order int) []state.Run {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b state.Run) int {
		first := 0
		switch order {
		case 0:
			first = cmp.Compare(rank(a), rank(b))
		case 1:
			first = strings.Compare(Target(a), Target(b))
		case 2:
			first = cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(string(a.State), string(b.State)))
		case 3:
			first = strings.Compare(a.Requester, b.Requester)
		}
		return cmp.Or(first, b.Created.Compare(a.Created), strings.Compare(b.ID, a.ID))
	})
	return all
}

// rank is 0 for what waits for a person, 1 for what goes on, 2 for what has ended.
func rank(r state.Run) int {
	switch {
	case r.State.Ended():
		return 2
	case Waits(r):
		return 0
	}
	return 1
}

// Waits tells whether a run goes on only when a person says so.
func Waits(r state.Run) bool {
	return r.State == state.Parked || r.State == state.Gate || r.Interrupted()
}

// Target is what a run changes.
func Target(r state.Run) string { return overview.Key(r.Environment, r.Instance) }

// State is how a run stands, in a word with its mark.
func State(r state.Run) component.Cell {
	word, role := string(r.State), theme.Text
	switch {
	case r.State == state.Gate:
		word, role = "gate", theme.Warn
	case r.State == state.Parked:
		role = theme.Warn
	case r.Interrupted():
		word, role = "interrupted", theme.Warn
	case r.State == state.Running || r.State == state.Undoing || r.State == state.Queued:
		role = theme.Pending
	case r.State == state.Failed:
		role = theme.Danger
	case r.State == state.Done:
		role = theme.OK
	case r.State == state.Undone || r.State == state.Cancelled:
		role = theme.Muted
	}
	mark := theme.Mark(role)
	if mark == "" {
		mark = " "
	}
	return component.Cell{Text: mark + " " + word, Role: role}
}

func row(r state.Run, now time.Time) component.Row {
	rest, strong := theme.Text, theme.Strong
	if r.State.Ended() {
		rest, strong = theme.Muted, theme.Text
	}
	step := component.Cell{Text: r.Step, Role: rest}
	if r.State == state.Done || r.Step == "" {
		step = component.Cell{Text: "-", Role: theme.Muted}
	}
	return component.Row{Key: r.ID, Cells: []component.Cell{
		State(r),
		{Text: r.ID, Role: rest},
		{Text: Target(r), Role: strong},
		{Text: r.Title, Role: strong},
		step,
		{Text: listing.Who(r.Requester), Role: rest},
		{Text: text.Age(now.Sub(r.Created)), Role: rest},
		{Text: took(r, now), Role: rest},
	}}
}

// took is how long a run took, or has been at it.
func took(r state.Run, now time.Time) string {
	switch {
	case r.Started.IsZero():
		return "-"
	case r.Ended.IsZero():
		return text.Age(now.Sub(r.Started))
	}
	return text.Age(r.Ended.Sub(r.Started))
}
