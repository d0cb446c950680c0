package sessions

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/live"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// order is how sessions are ordered.
type order uint8

const (
	byTrouble order = iota
	byAge
	byUser
	byState
	orders
)

func (o order) String() string { return [...]string{"trouble", "age", "user", "state"}[o%orders] }

func (o order) next() order { return (o + 1) % orders }

var sessionColumns = []component.Column{
	{Title: "PID", Right: true, Min: 5},
	{Title: "USER", Min: 14, Max: 20, Leave: 1},
	{Title: "STATE", Min: 12, Max: 20},
	{Title: "LOCKS", Min: 13, Max: 28},
	{Title: "TX", Right: true, Min: 5, Leave: 3},
	{Title: "FOR", Right: true, Min: 5, Leave: 2},
	{Title: "APPLICATION", Min: 12, Max: 20, Leave: 4},
	{Title: "DATABASE", Min: 8, Max: 16, Leave: 6},
	{Title: "CLIENT", Min: 15, Max: 22, Leave: 8},
	{Title: "WAITS ON", Min: 14, Max: 24, Leave: 7},
	{Title: "STATEMENT", Min: 16},
}

var lockColumns = []component.Column{
	{Title: "SESSION", Min: 10, Max: 20},
	{Title: "USER", Min: 8, Max: 20, Leave: 2},
	{Title: "STATE", Min: 12, Max: 20, Leave: 3},
	{Title: "WAITS FOR", Min: 26, Max: 44},
	{Title: "FOR", Right: true, Min: 5},
	{Title: "TX", Right: true, Min: 5, Leave: 4},
	{Title: "APPLICATION", Min: 12, Max: 20, Leave: 5},
	{Title: "STATEMENT", Min: 16, Leave: 1},
}

// keyOf tells a session from the next one of its number.
func keyOf(s live.Session) string { return fmt.Sprintf("%d@%d", s.PID, s.Started.UnixMicro()) }

func pid(s live.Session) string { return strconv.Itoa(s.PID) }

// fill puts what was read into the lists.
func (p Page) fill(s screen.Scene) Page {
	a, ok := p.Value()
	if !ok {
		return p
	}
	p.byKey = map[string]live.Session{}
	var rows []component.Row
	for _, one := range p.ordered(a.Sessions) {
		key := keyOf(one)
		p.byKey[key] = one
		rows = append(rows, component.Row{Key: key, Cells: []component.Cell{
			{Text: pid(one)},
			{Text: dash(one.User), Role: theme.Strong},
			state(one), locks(one),
			{Text: age(one.InTransaction)},
			{Text: age(since(one))},
			{Text: dash(one.Application)},
			{Text: dash(one.Database)},
			{Text: dash(one.Client)},
			waitsOn(one), statement(one),
		}})
	}
	p.sessions = p.sessions.WithRows(rows)
	var tree []component.Row
	for _, t := range a.Forest() {
		tree = p.branch(s, tree, t, 0)
	}
	p.locks = p.locks.WithRows(tree)
	return p.refilter()
}

func (p Page) ordered(all []live.Session) []live.Session {
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(x, y live.Session) int {
		switch p.order {
		case byAge:
			return cmp.Compare(oldest(y), oldest(x))
		case byUser:
			return cmp.Compare(x.User, y.User)
		case byState:
			return cmp.Compare(x.State, y.State)
		default:
			return 0 // as they come
		}
	})
	return all
}

func oldest(s live.Session) live.Span {
	if s.InTransaction != nil {
		return *s.InTransaction
	}
	return -1
}

// branch adds a session and, below it, those that wait for it.
func (p Page) branch(s screen.Scene, rows []component.Row, t live.Tree, depth int) []component.Row {
	one := t.Session
	key := keyOf(one)
	p.byKey[key] = one
	name, waits := pid(one), component.Cell{Text: fmt.Sprintf("%s %s, blocks %d", theme.Mark(theme.Warn), strings.TrimPrefix(state(one).Text, "! "), one.Blocks), Role: theme.Warn}
	if depth > 0 {
		name = strings.Repeat("  ", depth-1) + s.Theme.Glyphs.BottomLeft + " " + name
	}
	if one.PID == live.Prepared {
		name = "prepared transaction"
	}
	waited := "-"
	more := ""
	if n := len(one.BlockedBy) - 1; n > 0 {
		more = fmt.Sprintf(" +%d", n)
	}
	if w := one.Waits; w != nil {
		waits, waited = component.Cell{Text: w.Object + ": " + strings.TrimSuffix(w.Mode, "Lock") + more}, age(w.For)
	}
	rows = append(rows, component.Row{Key: key, Cells: []component.Cell{
		{Text: name, Role: theme.Strong}, {Text: dash(one.User)}, state(one), waits, {Text: waited}, {Text: age(one.InTransaction)}, {Text: dash(one.Application)}, statement(one),
	}})
	for _, w := range t.Waiting {
		rows = p.branch(s, rows, w, depth+1)
	}
	return rows
}

func dash(s string) string { return cmp.Or(s, "-") }

func age(s *live.Span) string {
	if s == nil {
		return "-"
	}
	return text.Age(s.Duration())
}

// since is how long a session has done what it does.
func since(s live.Session) *live.Span {
	if s.Active() {
		return s.Statement
	}
	return s.InState
}

func state(s live.Session) component.Cell {
	switch {
	case s.Hidden():
		return component.Cell{Text: "not seen", Role: theme.Muted}
	case strings.HasPrefix(s.State, "idle in transaction"):
		word := "idle in tx"
		if strings.HasSuffix(s.State, "(aborted)") {
			word += ", failed"
		}
		return component.Cell{Text: theme.Mark(theme.Warn) + " " + word, Role: theme.Warn}
	case s.Active():
		return component.Cell{Text: s.State, Role: theme.OK}
	default:
		return component.Cell{Text: dash(s.State), Role: theme.Muted}
	}
}

func locks(s live.Session) component.Cell {
	switch n := len(s.BlockedBy); {
	case n == 1:
		return component.Cell{Text: fmt.Sprintf("%s by %d", theme.Mark(theme.Danger), s.BlockedBy[0]), Role: theme.Danger}
	case n > 1:
		return component.Cell{Text: fmt.Sprintf("%s by %d +%d", theme.Mark(theme.Danger), s.BlockedBy[0], n-1), Role: theme.Danger}
	case s.Blocks > 0:
		return component.Cell{Text: fmt.Sprintf("%s blocks %d", theme.Mark(theme.Warn), s.Blocks), Role: theme.Warn}
	}
	return component.Cell{Text: "-", Role: theme.Muted}
}

func waitsOn(s live.Session) component.Cell {
	if !s.Active() || s.WaitEvent == "" {
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	return component.Cell{Text: s.WaitType + " " + s.WaitEvent}
}

// statement is what runs; what has run is muted.
func statement(s live.Session) component.Cell {
	c := component.Cell{Text: dash(strings.Join(strings.Fields(s.Query), " "))}
	if !s.Active() {
		c.Role = theme.Muted
	}
	return c
}
