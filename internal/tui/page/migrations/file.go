package migrations

import (
	"cmp"
	"fmt"
	"strings"

	"dbops/internal/app"
	"dbops/internal/migrate/lint"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// aboutFile is a file with its findings, without its text.
func (p Page) aboutFile(d *component.Doc, set *app.MigrationSet, m *app.MigrationFile, s screen.Scene) {
	d.Heading(m.String())
	found, known, live := p.found(set, m, m.Up)
	errors, warnings := count(found)
	by := "by its text; l judges what is pending by the real tables"
	if live {
		by = "by the real tables, " + text.Age(s.Now.Sub(p.live.At())) + " ago"
	}
	switch {
	case p.live.Loading():
		d.Mark(theme.Pending, "being judged by the real tables")
	case p.lint.Loading() && !known:
		d.Mark(theme.Pending, "being judged: the first time it takes some seconds")
	case p.lint.Err() != nil && !known:
		failed(d, p.lint.Err())
	case known && m.Up == nil:
		d.Add(theme.Warn, 0, "! there is no up file")
	case known && errors+warnings == 0:
		d.Add(theme.OK, 0, "nothing found, "+by)
	case known:
		d.Add(theme.Muted, 0, "judged "+by)
	}
	for _, f := range found {
		if f.Severity != lint.Info || f.Allowed != "" {
			finding(d, f, 0)
		}
	}
	d.Blank()
	applied(d, m)
}

// applied is when a file was applied, and by whom.
func applied(d *component.Doc, m *app.MigrationFile) {
	a := m.Applied
	if a == nil {
		d.Fact(theme.Text, "state", m.State)
		return
	}
	d.Fact(theme.Text, "state", fmt.Sprintf("%s; last up %s: %s, took %s", m.State, text.Stamp(a.At), a.Outcome, took(a.Seconds)))
	by := a.Who
	if a.Commit != "" {
		by += ", commit " + a.Commit[:min(12, len(a.Commit))]
	}
	if a.Run != "" {
		by += ", run " + a.Run
	}
	d.Fact(theme.Text, "by", by)
	if a.Error != "" {
		d.Fact(theme.Danger, "because", "x "+a.Error)
	}
}

// severity is the role of a finding.
func severity(f lint.Finding) theme.Role {
	switch {
	case f.Allowed != "":
		return theme.Muted
	case f.Severity == lint.Error:
		return theme.Danger
	case f.Severity == lint.Warn:
		return theme.Warn
	default:
		return theme.Muted
	}
}

// finding is one, with whom it blocks, so many cells in. In front of its line that need not be named.
func finding(d *component.Doc, f lint.Finding, indent int) {
	role, title := severity(f), f.Title
	if indent == 0 && f.Line > 0 {
		title = fmt.Sprintf("line %d: %s", f.Line, title)
	}
	if f.Allowed != "" {
		title += " (allowed: " + f.Allowed + ")"
	}
	d.Add(role, indent, cmp.Or(theme.Mark(role), "-")+" "+title)
	if f.Allowed != "" {
		return
	}
	lock := f.Lock
	if lock != "" && f.Object != "" {
		lock += " on " + f.Object
	}
	for _, part := range []string{lock, f.Blocks, f.Seen} {
		if part != "" {
			d.Add(theme.Text, indent+2, part)
		}
	}
}

// drawFile draws the text of a file with its findings above their lines.
func (p Page) drawFile(d *component.Doc, set *app.MigrationSet, m *app.MigrationFile) {
	file := p.front(m)
	direction := map[bool]string{false: "up", true: "down"}[p.down]
	if file == nil {
		d.Heading(m.String() + ", " + direction)
		d.Add(theme.Warn, 0, "! there is no file for going "+direction)
		return
	}
	d.Heading(file.Base())
	applied(d, m)
	found, known, live := p.found(set, m, file)
	switch {
	case !known && p.lint.Loading():
		d.Mark(theme.Pending, "being judged")
	case !known:
		d.Add(theme.Muted, 0, "not judged")
	default:
		errors, warnings := count(found)
		d.Fact(theme.Text, "lint", fmt.Sprintf("%s, %s, %s", text.Count(errors, "error"), text.Count(warnings, "warning"),
			map[bool]string{true: "by the real tables", false: "by its text"}[live]))
	}
	d.Blank()
	for _, f := range found {
		if f.Line == 0 {
			explained(d, f, 0)
		}
	}
	tail := d.Theme.Paint(theme.Muted, " "+d.Theme.Glyphs.Side+" ")
	for i, l := range strings.Split(strings.TrimRight(file.SQL, "\n"), "\n") {
		for _, f := range found {
			if f.Line == i+1 {
				explained(d, f, gutter)
			}
		}
		d.Raw(d.Theme.Paint(theme.Muted, fmt.Sprintf("%4d", i+1)) + tail + d.Theme.Paint(theme.Text, text.Clean(strings.ReplaceAll(l, "\t", "    "))))
	}
}

// gutter is the room for numbers of lines.
const gutter = 7

// explained is a finding with why it is one, and the safe form.
func explained(d *component.Doc, f lint.Finding, indent int) {
	finding(d, f, indent)
	if f.Allowed != "" {
		return
	}
	d.Add(theme.Muted, indent+2, f.Why)
	if f.Since != "" {
		d.Add(theme.Muted, indent+2, f.Since)
	}
	for i, l := range strings.Split(f.Rewrite, "\n") {
		if l = strings.ReplaceAll(l, "\t", "    "); i == 0 && l != "" {
			l = "do: " + l
		}
		d.Add(theme.Text, indent+2, l)
	}
	d.Add(theme.Muted, indent+2, "rule "+f.Rule)
}
