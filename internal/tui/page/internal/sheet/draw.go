package sheet

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Top is what stands above the value: that it is being read for the first time, or why it could not be read and what to do.
func (p Sheet[T]) Top(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	if s.Area.Tall() {
		d.Raw("")
	}
	_, known := p.one.Value()
	err := p.one.Err()
	switch {
	case err != nil:
		d.Mark(theme.Danger, p.What+" could not be read: "+err.Error())
		if hint := overview.Hint(err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
		if known {
			d.Add(theme.Warn, 2, "what follows is "+text.Age(s.Now.Sub(p.one.At()))+" old")
		}
		d.Raw("")
	case !known && p.one.Loading():
		d.Mark(theme.Pending, "reading "+p.What)
	case !known:
		d.Add(theme.Muted, 0, p.What+" has not been read: r reads it")
	}
	return d.Lines()
}

// Lines are the top and, below it, lines of the value, muted where it could not be read anew.
func (p Sheet[T]) Lines(s screen.Scene, value func(v T) []string) []string {
	out := p.Top(s)
	v, known := p.one.Value()
	if !known {
		return out
	}
	return append(out, p.Aged(s, value(v))...)
}

// Aged mutes lines where the last reading failed.
func (p Sheet[T]) Aged(s screen.Scene, lines []string) []string {
	if p.one.Err() == nil {
		return lines
	}
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = s.Theme.Paint(theme.Muted, ansi.Strip(l))
	}
	return out
}

// View draws lines where they were scrolled to.
func (p Sheet[T]) View(s screen.Scene, lines []string) string {
	return p.scroll.View(s.Theme, lines, s.Area.W, s.Area.H)
}

// Move scrolls; ok is false when id is no move.
func (p Sheet[T]) Move(id string, s screen.Scene, lines []string) (next Sheet[T], ok bool) {
	step, ok := screen.Step(id, s.Area.H)
	if ok {
		p.scroll = p.scroll.By(step, len(lines), s.Area.H)
	}
	return p, ok
}

// Plain is lines as text, for the clipboard.
func Plain(lines []string) string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.TrimRight(ansi.Strip(l), " ")
	}
	return strings.Trim(strings.Join(out, "\n"), "\n")
}

// Columns is how many columns of facts fit.
func Columns(a screen.Area) int {
	switch {
	case a.Wide():
		return 3
	case !a.Compact():
		return 2
	}
	return 1
}

// Blocks are groups of facts in as many columns as fit.
func Blocks(s screen.Scene, blocks []component.Block) []string {
	out := component.Blocks(s.Theme, blocks, Columns(s.Area), s.Area.W-2)
	for i := range out {
		out[i] = " " + out[i]
	}
	return out
}
