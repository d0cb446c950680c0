package creds

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/creds"
	"dbops/internal/op"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

var columns = []component.Column{
	{Title: "CONTAINER", Min: 12, Max: 28},
	{Title: "STATE", Min: 16, Max: 26},
	{Title: "LOGIN", Min: 12, Max: 24, Leave: 1},
	{Title: "AGE", Right: true, Min: 4, Leave: 2},
	{Title: "SLOT A", Right: true, Leave: 3},
	{Title: "SLOT B", Right: true, Leave: 3},
	{Title: "ACCESS", Min: 6, Leave: 5},
	{Title: "DELIVERED TO", Min: 14, Max: 52, Leave: 4},
	{Title: "DATABASES", Min: 9, Max: 24, Leave: 6},
}

// order is how containers are ordered.
type order uint8

const (
	byName order = iota
	byAge
	orders
)

func (o order) String() string { return [...]string{"name", "age"}[o%orders] }

func (o order) next() order { return (o + 1) % orders }

// sorted is by name, or with the oldest credential first and those of unknown age before it.
func (o order) sorted(all []creds.Listed) []creds.Listed {
	if o == byName {
		return all
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b creds.Listed) int { return a.Created.Compare(b.Created) })
}

// rows are the containers. What is old is muted.
func (p Page) rows(s screen.Scene) []component.Row {
	known, _ := p.list.Value()
	out := make([]component.Row, 0, len(known.all))
	for _, l := range p.order.sorted(known.all) {
		places := make([]string, len(l.Places))
		for i, at := range l.Places {
			places[i] = at.Place
		}
		cells := []component.Cell{
			{Text: l.Name, Role: theme.Strong},
			p.state(known, l),
			{Text: cmp.Or(l.User, "-")},
			age(l, s),
			p.sessions(l, creds.SlotA), p.sessions(l, creds.SlotB),
			{Text: string(l.Access), Role: theme.Muted},
			{Text: cmp.Or(strings.Join(places, " "), "-"), Role: theme.Muted},
			{Text: strings.Join(l.Databases, ","), Role: theme.Muted},
		}
		if p.list.Err() != nil || s.Stale(p.list.At()) {
			for i := range cells {
				cells[i].Role = theme.Muted
			}
		}
		out = append(out, component.Row{Key: l.Name, Cells: cells})
	}
	return out
}

// age is that of the current credential.
func age(l creds.Listed, s screen.Scene) component.Cell {
	if l.Created.IsZero() {
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	return component.Cell{Text: text.Age(l.Age(s.Now))}
}

// sessions are those of a slot; the idle one should have none.
func (p Page) sessions(l creds.Listed, slot string) component.Cell {
	n := l.Sessions[slot]
	switch {
	case slot == l.Active:
		return component.Cell{Text: fmt.Sprintf("* %d", n), Role: theme.Strong}
	case n > 0:
		return component.Cell{Text: fmt.Sprintf("! %d", n), Role: theme.Warn}
	default:
		return component.Cell{Text: fmt.Sprint(n), Role: theme.Muted}
	}
}

// state is a container in two words: what keeps it from its database first.
func (p Page) state(known listed, l creds.Listed) component.Cell {
	marked := func(r theme.Role, s string) component.Cell {
		return component.Cell{Text: strings.TrimSpace(theme.Mark(r) + " " + s), Role: r}
	}
	if c, ok := known.of(l.Name); ok {
		word, role := c.Word()
		return marked(role, c.Verb()+" "+word)
	}
	t, at := p.tried(l)
	warnings := 0
	for _, f := range p.findings(l) {
		if f.Severity != op.Info {
			warnings++
		}
	}
	switch {
	case l.Revoked():
		return marked(theme.Warn, "revoked")
	case len(l.Places) > 0 && l.Places[0].Current == "" && l.Places[0].Trouble == "":
		return marked(theme.Warn, "no credential")
	case at && t.Works != nil && !*t.Works:
		return marked(theme.Danger, "login fails")
	case warnings > 0:
		return marked(theme.Warn, text.Count(warnings, "finding"))
	case at && t.Works != nil:
		return marked(theme.OK, "logs in")
	case p.tries.Loading():
		return marked(theme.Muted, "login being tried")
	default:
		return marked(theme.Muted, "not tried")
	}
}

// tried is what a login with the credential showed, if it is still that credential.
func (p Page) tried(l creds.Listed) (creds.Listed, bool) {
	all, _ := p.tries.Value()
	t, ok := all[l.Name]
	return t, ok && t.User == l.User && t.Created.Equal(l.Created)
}

// findings are those of a container: of the last look, and what only a login shows.
func (p Page) findings(l creds.Listed) []op.Finding {
	out := slices.Clone(l.Findings)
	if t, ok := p.tried(l); ok {
		for _, f := range t.Findings {
			if f.Check == "current-fails" || f.Check == "not-tried" {
				out = append([]op.Finding{f}, out...)
			}
		}
	}
	return out
}
