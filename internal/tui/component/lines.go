package component

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Scroll is a position in lines that may be longer and wider than the screen.
type Scroll struct{ Top, Left int }

// By moves down by step lines of n in a window of h.
func (s Scroll) By(step, n, h int) Scroll {
	s.Top = min(max(0, min(s.Top, n-h)+step), max(0, n-h))
	return s
}

// Aside moves right by step cells.
func (s Scroll) Aside(step int) Scroll {
	s.Left = min(max(0, s.Left+step), 4096)
	return s
}

// View draws the part of lines that a window of w x h shows, and says how much is above and below.
func (s Scroll) View(th theme.Theme, lines []string, w, h int) string {
	return s.ViewKeys(th, lines, w, h, "", "")
}

// ViewKeys is View, with the keys that lead to what is above and below.
func (s Scroll) ViewKeys(th theme.Theme, lines []string, w, h int, up, down string) string {
	if th.Aloud() {
		return strings.Join(lines, "\n")
	}
	s = s.By(0, len(lines), h)
	tail := th.Glyphs.Tail
	out := make([]string, 0, h)
	for _, l := range lines[min(s.Top, len(lines)):] {
		if len(out) == h {
			break
		}
		if s.Left > 0 {
			l = ansi.Cut(l, s.Left, s.Left+w)
		}
		out = append(out, l)
	}
	mark := func(y int, glyph string, n int, key string) {
		if n > 0 && y >= 0 && y < len(out) {
			more := " " + glyph + " " + text.Count(n, "line") + " "
			if key != "" {
				more += "more: " + key + " "
			}
			out[y] = text.Left(out[y], w-text.Width(more), tail) + th.Paint(theme.Muted, more)
		}
	}
	if h > 2 {
		mark(0, th.Glyphs.Up, s.Top, up)
		mark(h-1, th.Glyphs.Down, len(lines)-s.Top-h, down)
	}
	return text.Box(out, w, h, tail)
}

// Rule is a line across w cells with a title in it.
func Rule(th theme.Theme, title string, w int) string {
	if th.Aloud() {
		return caption(title)
	}
	r := th.Glyphs.Rule
	head := strings.Repeat(r, 2) + " "
	title = text.Cut(text.Clean(title), w-6, th.Glyphs.Tail)
	rest := max(0, w-text.Width(head)-text.Width(title)-1)
	return th.Paint(theme.Muted, head) + th.Paint(theme.Heading, title) + th.Paint(theme.Muted, " "+strings.Repeat(r, rest))
}
