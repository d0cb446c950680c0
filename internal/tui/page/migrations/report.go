package migrations

import (
	"fmt"
	"strings"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// drawHistory draws who did what to a set's database, the newest first.
func drawHistory(d *component.Doc, set *app.MigrationSet) {
	d.Heading("HISTORY OF " + set.Name)
	if len(set.History) == 0 {
		d.Add(theme.Muted, 0, "dbops has migrated nothing here yet")
	}
	if set.Assumed {
		d.Add(theme.Muted, 0, "another tool applied versions of which the history knows nothing")
	}
	if set.Foreign {
		d.Mark(theme.Warn, "another tool has changed the version since")
	}
	for _, h := range set.History {
		role, mark := theme.Text, "  "
		if h.Outcome != "ok" {
			role, mark = theme.Danger, theme.Mark(theme.Danger)+" "
		}
		name := h.Name
		if !strings.Contains(name, fmt.Sprint(h.Version)) {
			name = strings.TrimSpace(fmt.Sprint(h.Version) + " " + name)
		}
		if h.Outcome != "ok" {
			name += ": " + h.Outcome
		}
		line := fmt.Sprintf("%s%s  %-8s %s  %s  by %s", mark, text.Stamp(h.At), h.Direction, name, took(h.Seconds), h.Who)
		if h.Commit != "" {
			line += ", commit " + h.Commit[:min(8, len(h.Commit))]
		}
		d.Add(role, 0, line)
		for _, more := range []string{h.Reason, h.Error} {
			if more != "" {
				d.Add(theme.Muted, 4, more)
			}
		}
	}
}

// drawLeft draws what a migration that ended half-way left, and the ways out.
func (p Page) drawLeft(d *component.Doc, set *app.MigrationSet) {
	d.Heading("REPAIR OF " + set.Name)
	failed(d, p.left.Err())
	l, ok := p.left.Value()
	if !ok {
		if p.left.Loading() {
			d.Mark(theme.Pending, "comparing the database with what its files make; nothing is changed")
		}
		return
	}
	f := l.facts
	if !f.Dirty && len(f.Changed) == 0 && len(f.Invalid) == 0 {
		d.Add(theme.OK, 0, "nothing to repair: version "+version(f.Version))
		return
	}
	if f.Held != "" {
		d.Mark(theme.Pending, "running: "+f.Held)
	}
	if c := f.Cut; c != nil {
		d.Mark(theme.Danger, fmt.Sprintf("%s, %s: %d of %d statements done, begun %s by %s", c.Name, c.Direction, c.Done, c.Statements, c.Started, c.Who))
		for _, part := range []struct{ word, what string }{{"not done: ", c.Next}, {"because: ", c.Error}} {
			if part.what != "" {
				d.Add(theme.Text, 2, part.word+part.what)
			}
		}
		if !c.CanResume {
			d.Add(theme.Warn, 2, "! the file does not begin with the statements that are done any more: it cannot be resumed")
		}
	}
	for _, v := range f.Versions {
		is := fmt.Sprintf("if it has version %s (%s): ", version(&v.Version), v.Means)
		switch {
		case !v.Compared:
			d.Add(theme.Muted, 0, is+"not compared, "+v.Why)
		case len(v.Differs) == 0:
			d.Add(theme.OK, 0, is+"the schema is exactly that")
		default:
			d.Add(theme.Text, 0, is+"the schema differs")
			for _, line := range v.Differs {
				d.Add(theme.Muted, 2, line)
			}
		}
	}
	for _, i := range f.Invalid {
		d.Mark(theme.Warn, "index "+i+" is not valid: it slows writes and serves no query")
	}
	if len(f.Changed) > 0 {
		d.Mark(theme.Warn, "changed since they were applied: "+strings.Join(f.Changed, ", "))
	}
	d.Heading("WAYS OUT")
	for _, w := range l.ways {
		d.Add(theme.Text, 0, w)
	}
	d.Add(theme.Muted, 0, "m plans one of them")
}
