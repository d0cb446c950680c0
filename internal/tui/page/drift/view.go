package drift

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	room "dbops/internal/drift"
	"dbops/internal/tui/component"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	above := p.above(s)
	if _, ok := p.Value(); !ok {
		return p.Sheet.View(s, above)
	}
	return p.List(s, above, p.list.Table, p.below(s))
}

// Click implements [screen.Clicker].
func (p Page) Click(_, y int, s screen.Scene) (next screen.Page, hit bool) {
	p.list.Table, hit = sheet.Pick(p.list.Table, y, s, len(p.above(s)), len(p.below(s)))
	return p, hit
}

// sync puts what is known into the list.
func (p Page) sync() Page {
	p.list = p.list.Rows(p.rows(), "everything that is declared is so")
	return p
}

// above says how it stands as a whole.
func (p Page) above(s screen.Scene) []string {
	return p.Lines(s, func(v *room.Report) []string {
		d := component.NewDoc(s.Theme, s.Area.W)
		for _, i := range v.Instances {
			if i.Problem != "" {
				d.Mark(theme.Warn, "not all of it could be looked at: "+i.Problem)
				if i.Hint != "" {
					d.Add(theme.Text, 2, "next: "+i.Hint)
				}
			}
		}
		role := theme.OK
		switch {
		case v.Count(room.Drifted) > 0:
			role = theme.Danger
		case v.Count(room.Unknown) > 0:
			role = theme.Warn
		case v.Count(room.Pending) > 0:
			role = theme.Pending
		}
		counts := fmt.Sprintf("%d drifted, %d pending, %d unknown, %d in sync with dbops.yaml",
			v.Count(room.Drifted), v.Count(room.Pending), v.Count(room.Unknown), v.Count(room.InSync))
		d.Add(role, 0, strings.TrimSpace(theme.Mark(role)+" "+counts))
		if len(v.Rows) == 0 {
			d.Add(theme.Muted, 0, "dbops.yaml declares no settings of "+p.At.Name+" (docs/drift.md)")
		}
		d.Raw("")
		return d.Lines()
	})
}

// below says why the selected setting is as it is, and what to do.
func (p Page) below(s screen.Scene) []string {
	r, ok := p.selected()
	if !ok {
		return nil
	}
	d := component.NewDoc(s.Theme, s.Area.W)
	d.Raw("")
	d.Raw(component.Rule(s.Theme, r.Setting, s.Area.W-2))
	word := status(r.Status)
	d.Fact(word.Role, "is", word.Text)
	for _, f := range []component.Fact{
		{Label: "declared", Value: cmp.Or(r.Declared, "-")},
		{Label: "live", Value: cmp.Or(r.Live, "-")},
		{Label: "last applied", Value: cmp.Or(r.LastApplied, "-")},
		{Label: "why", Value: r.Detail},
		{Label: "next", Value: r.Remedy},
	} {
		d.Fact(theme.Text, f.Label, f.Value)
	}
	return d.Lines()
}

// plain is the whole of it as lines, for the clipboard.
func (p Page) plain(s screen.Scene) []string {
	return append(append(p.above(s), strings.Split(p.list.View(s.Theme, s.Area.W, p.list.Lines(), false), "\n")...), p.below(s)...)
}

// status is a word with its mark.
func status(st room.Status) component.Cell {
	switch st {
	case room.Drifted:
		return component.Cell{Text: "x drifted", Role: theme.Danger}
	case room.Pending:
		return component.Cell{Text: "~ pending", Role: theme.Pending}
	case room.Unknown:
		return component.Cell{Text: "! unknown", Role: theme.Warn}
	case room.InSync:
		return component.Cell{Text: "in sync", Role: theme.OK}
	case room.Unmanaged:
		return component.Cell{Text: "undeclared", Role: theme.Muted}
	}
	return component.Cell{Text: text.Clean(string(st))}
}

// rows are the settings, those that differ first.
func (p Page) rows() (out []component.Row) {
	v, ok := p.Value()
	if !ok {
		return nil
	}
	for _, st := range []room.Status{room.Drifted, room.Unknown, room.Pending, room.InSync, room.Unmanaged} {
		if !p.all && (st == room.InSync || st == room.Unmanaged) {
			continue
		}
		for _, r := range v.Rows {
			if r.Status == st {
				out = append(out, component.Row{Key: r.Setting, Cells: []component.Cell{
					{Text: r.Setting, Role: theme.Strong},
					status(st),
					{Text: cmp.Or(r.Declared, "-")},
					{Text: cmp.Or(r.Live, "-")},
					{Text: cmp.Or(r.LastApplied, "-"), Role: theme.Muted},
					{Text: r.Detail},
				}})
			}
		}
	}
	if p.list.Order() == 1 {
		slices.SortStableFunc(out, func(a, b component.Row) int { return strings.Compare(a.Key, b.Key) })
	}
	return out
}
