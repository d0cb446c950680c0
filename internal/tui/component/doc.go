package component

import (
	"strings"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Doc is a text of lines that wrap, under headings, in a width: what a page that is read from top to bottom is drawn with.
type Doc struct {
	Theme theme.Theme
	W     int // the width; a line begins one cell in and is at most W wide

	lines []string
}

// NewDoc returns an empty text.
func NewDoc(th theme.Theme, w int) *Doc { return &Doc{Theme: th, W: w} }

// Lines are what was written.
func (d *Doc) Lines() []string { return d.lines }

// Raw adds lines that are drawn already.
func (d *Doc) Raw(lines ...string) {
	for _, l := range lines {
		d.lines = append(d.lines, " "+l)
	}
}

// Heading begins a part, behind a blank line.
func (d *Doc) Heading(title string) {
	if len(d.lines) > 0 {
		d.lines = append(d.lines, "")
	}
	d.Raw(Rule(d.Theme, title, d.W-2))
}

// Add wraps a text in a role behind an indentation of so many cells; its further lines stand two cells further in.
func (d *Doc) Add(role theme.Role, indent int, s string) {
	if d.Theme.Aloud() {
		d.Raw(Words(text.Clean(s)))
		return
	}
	for i, l := range text.Wrap(text.Clean(s), max(10, d.W-indent-4)) {
		in := indent
		if i > 0 {
			in += 2
		}
		d.Raw(text.Spaces(in) + d.Theme.Paint(role, l))
	}
}

// Mark adds a text behind the sign of its role, which says the same without colour.
func (d *Doc) Mark(role theme.Role, s string) {
	mark := theme.Mark(role)
	if mark == "" {
		mark = "-"
		if d.Theme.Aloud() {
			mark = ""
		}
	}
	d.Add(role, 0, mark+" "+s)
}

// Fact adds a labelled value.
func (d *Doc) Fact(role theme.Role, label, value string) {
	if d.Theme.Aloud() {
		d.Raw(Fact{Label: label, Value: value}.aloud())
		return
	}
	for i, l := range text.Wrap(text.Clean(value), max(10, d.W-labelWidth-4)) {
		if i > 0 {
			label = ""
		}
		d.Raw(d.Theme.Paint(theme.Muted, text.Left(text.Clean(label), labelWidth, d.Theme.Glyphs.Tail)) + " " + d.Theme.Paint(role, l))
	}
}

// Change adds a setting with what it is and what it will be; label and from are the widths of the first two.
func (d *Doc) Change(setting, was, will string, label, from int) {
	if d.Theme.Aloud() {
		d.Raw(aloudChange(setting, was, will))
		return
	}
	tail := d.Theme.Glyphs.Tail
	head := d.Theme.Paint(theme.Muted, text.Left(text.Clean(setting), label, tail)) + "  " +
		d.Theme.Paint(theme.Text, text.Left(text.Clean(was), from, tail)) + " " + d.Theme.Paint(theme.Muted, "->") + " "
	for i, l := range text.Wrap(text.Clean(will), max(10, d.W-label-from-8)) {
		if i > 0 {
			head = text.Spaces(label + from + 6)
		}
		d.Raw(head + d.Theme.Paint(theme.Strong, l))
	}
}

// Blank adds an empty line, unless one is there.
func (d *Doc) Blank() {
	if n := len(d.lines); n > 0 && strings.TrimSpace(d.lines[n-1]) != "" {
		d.lines = append(d.lines, "")
	}
}
