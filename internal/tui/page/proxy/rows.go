package proxy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"dbops/internal/proxy"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// order is how connections are ordered.
type order uint8

const (
	byArrival order = iota
	byTraffic
	byDatabase
	orders
)

func (o order) String() string { return [...]string{"arrival", "traffic", "database"}[o%orders] }

func (o order) next() order { return (o + 1) % orders }

// databaseRows are the URIs of an open proxy, or the databases that it would serve.
func databaseRows(env string, st sessions.State, s screen.Scene) []component.Row {
	var out []component.Row
	if len(st.URIs) > 0 {
		for _, u := range st.URIs {
			out = append(out, component.Row{Key: u.Database, Cells: []component.Cell{
				{Text: u.Database, Role: theme.Strong}, {Text: u.Instance}, {Text: u.Masked},
			}})
		}
		return out
	}
	for _, i := range s.Instances {
		if i.Environment != env {
			continue
		}
		for _, db := range i.Databases {
			out = append(out, component.Row{Key: db, Cells: []component.Cell{
				{Text: db, Role: theme.Strong}, {Text: i.Name}, {Text: "the proxy is not open", Role: theme.Muted},
			}})
		}
	}
	return out
}

// connectionRows are the clients of the proxy.
func connectionRows(st sessions.State, o order, s screen.Scene) []component.Row {
	all := slices.Clone(st.Connections)
	slices.SortStableFunc(all, func(a, b proxy.Connection) int {
		switch o {
		case byTraffic:
			return cmp.Compare(total(st.Rates[b.ID], b), total(st.Rates[a.ID], a))
		case byDatabase:
			return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.ID, b.ID))
		default:
			return 0
		}
	})
	out := make([]component.Row, len(all))
	for i, c := range all {
		r := st.Rates[c.ID]
		out[i] = component.Row{Key: strconv.FormatUint(c.ID, 10), Cells: []component.Cell{
			{Text: named(c), Role: theme.Strong},
			{Text: c.Client},
			{Text: c.Database},
			{Text: c.User},
			stateCell(c.State),
			{Text: text.Age(s.Now.Sub(c.Since))},
			{Text: text.Bytes(c.FromClient)},
			{Text: text.Bytes(c.ToClient)},
			rateCell(r.Sent),
			rateCell(r.Recv),
			{Text: text.Age(s.Now.Sub(c.LastActive)), Role: theme.Muted},
			{Text: strconv.FormatUint(c.ID, 10), Role: theme.Muted},
		}}
	}
	return out
}

// total orders by what moves now, then by what has moved.
func total(r sessions.Rate, c proxy.Connection) int64 {
	return (r.Sent+r.Recv)<<20 + (c.FromClient+c.ToClient)>>20
}

// named is a client's own name, or a dash for one that gave none.
func named(c proxy.Connection) string { return cmp.Or(c.Application, "-") }

func rateCell(n int64) component.Cell {
	if n == 0 {
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	return component.Cell{Text: text.Bytes(n)}
}

func stateCell(state string) component.Cell {
	switch state {
	case "active":
		return component.Cell{Text: state, Role: theme.OK}
	case "in transaction":
		return component.Cell{Text: theme.Mark(theme.Warn) + " " + state, Role: theme.Warn}
	case "failed transaction":
		return component.Cell{Text: theme.Mark(theme.Danger) + " " + state, Role: theme.Danger}
	case "starting":
		return component.Cell{Text: theme.Mark(theme.Pending) + " " + state, Role: theme.Pending}
	default:
		return component.Cell{Text: state, Role: theme.Muted}
	}
}

// eventLines are the last h events that end back lines before the newest.
func eventLines(st sessions.State, back, w, h int, s screen.Scene) []string {
	end := max(0, len(st.Events)-back)
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	out := make([]string, 0, h)
	for _, e := range st.Events[max(0, end-h):end] {
		role, mark := theme.Text, "  "
		if e.Failure {
			role, mark = theme.Danger, theme.Mark(theme.Danger)+" "
		}
		head := " " + th.Paint(theme.Muted, text.Clock(e.At)) + " "
		line := mark + text.Left(text.Clean(e.Kind), 8, tail) + " " + text.Clean(e.Text)
		out = append(out, head+th.Paint(role, text.Cut(line, w-10, tail)))
	}
	if len(out) == 0 {
		out = append(out, "  "+th.Paint(theme.Muted, "nothing has happened yet"))
	}
	return out
}

func errText(err error) string {
	if err == nil {
		return "it ended"
	}
	return err.Error()
}

func hint(err error) string {
	if err == nil {
		return ""
	}
	return overview.Hint(err)
}

// describe is a connection in a sentence, for the question before it is cut.
func describe(c proxy.Connection, s screen.Scene) string {
	return fmt.Sprintf("%s from %s on database %s as %s, %s, connected for %s.", named(c), c.Client, c.Database, c.User, c.State,
		text.Age(s.Now.Sub(c.Since)))
}

var errGone = errors.New("the connection has ended")
