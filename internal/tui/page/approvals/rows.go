package approvals

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// columns of all approvals; the state, the target and what it is never leave.
func columns() []component.Column {
	return []component.Column{
		{Title: "STATE", Min: 11, Max: 12},
		{Title: "APPROVAL", Min: 8, Max: 12, Leave: 2},
		{Title: "TARGET", Min: 14, Max: 30},
		{Title: "WHAT", Min: 22, Max: 60},
		{Title: "BY", Min: 12, Max: 30, Leave: 1},
		{Title: "VOTES", Min: 6, Leave: 4},
		{Title: "ASKED", Right: true, Min: 5, Leave: 3},
		{Title: "LEFT", Right: true, Min: 5},
	}
}

var orders = []string{"time", "target", "who"}

// sorted puts approvals in an order; those that wait come first in that of time, then those that can be run.
func sorted(all []app.Waiting, order int) []app.Waiting {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b app.Waiting) int {
		first := cmp.Compare(rank(a.Approval), rank(b.Approval))
		switch order {
		case 1:
			first = strings.Compare(target(a.Approval), target(b.Approval))
		case 2:
			first = strings.Compare(a.Approval.Requester, b.Approval.Requester)
		}
		return cmp.Or(first, b.Approval.Requested.Compare(a.Approval.Requested), strings.Compare(a.Approval.ID, b.Approval.ID))
	})
	return all
}

func rank(a state.Approval) int {
	switch {
	case a.Expired || a.State == state.Used || a.State == state.Refused:
		return 2
	case a.State == state.Approved:
		return 1
	}
	return 0
}

func target(a state.Approval) string { return overview.Key(a.Environment, a.Instance) }

// standing is how an approval stands, in a word with its mark.
func standing(a state.Approval) component.Cell {
	word, role := string(a.State), theme.Muted
	switch {
	case a.Expired && a.State != state.Used && a.State != state.Refused:
		word = "expired"
	case a.State == state.Requested:
		word, role = "waits", theme.Warn
	case a.State == state.Approved:
		role = theme.OK
	case a.State == state.Refused:
		role = theme.Danger
	}
	mark := theme.Mark(role)
	if mark == "" {
		mark = " "
	}
	return component.Cell{Text: mark + " " + word, Role: role}
}

// yes counts those who approved.
func yes(a state.Approval) (n int) {
	for _, v := range a.Votes {
		if v.Verdict == "approve" {
			n++
		}
	}
	return n
}

// title is what the plan of an approval does.
func title(w app.Waiting) string {
	if w.Plan != nil {
		return w.Plan.Title
	}
	return w.Approval.Kind
}

// left is how long an approval is good for.
func left(a state.Approval, now time.Time) string {
	if rank(a) == 2 {
		return "-"
	}
	return text.Age(a.Expires.Sub(now))
}

func row(w app.Waiting, now time.Time) component.Row {
	a := w.Approval
	rest, strong := theme.Text, theme.Strong
	if rank(a) == 2 {
		rest, strong = theme.Muted, theme.Text
	}
	return component.Row{Key: a.ID, Cells: []component.Cell{
		standing(a),
		{Text: a.ID, Role: rest},
		{Text: target(a), Role: strong},
		{Text: title(w), Role: strong},
		{Text: listing.Who(a.Requester), Role: rest},
		{Text: fmt.Sprintf("%d of %d", yes(a), a.Required), Role: rest},
		{Text: text.Age(now.Sub(a.Requested)), Role: rest},
		{Text: left(a, now), Role: rest},
	}}
}
