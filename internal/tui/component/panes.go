package component

import (
	"strings"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Panes are a list and what is said of its selected row.
type Panes struct {
	ListW, ListH     int
	DetailW, DetailH int // 0: no room for it
	Beside           bool
}

const (
	wide     = 160
	tall     = 24
	between  = 3
	leastRow = 8 // of what is worth showing below a list
)

// Divide lays a list of so many lines out in w x h cells: what is said stands beside it where the screen is wide, below it where that is tall.
func Divide(lines, w, h int) Panes {
	if w >= wide {
		list := w * 3 / 5
		return Panes{ListW: list, ListH: h, DetailW: w - list - between, DetailH: h, Beside: true}
	}
	list := max(lines, 6)
	if h >= tall {
		list = min(list, h/2)
	}
	if h-list-1 < leastRow {
		return Panes{ListW: w, ListH: h}
	}
	return Panes{ListW: w, ListH: list, DetailW: w, DetailH: h - list - 1}
}

// View puts a list that is drawn together with the lines that are said of its row.
func (p Panes) View(th theme.Theme, list string, detail []string) string {
	if th.Aloud() {
		return strings.Join(append([]string{list, string(AloudAbout)}, detail...), "\n")
	}
	if p.DetailH == 0 {
		return list
	}
	if len(detail) > p.DetailH {
		detail = append(detail[:p.DetailH-1:p.DetailH-1], th.Paint(theme.Muted, " "+th.Glyphs.Down+" "+text.Count(len(detail)-p.DetailH+1, "line")+" more: enter"))
	}
	said := text.Box(detail, p.DetailW, p.DetailH, th.Glyphs.Tail)
	if !p.Beside {
		return list + "\n" + text.Spaces(p.ListW) + "\n" + said
	}
	left, right := strings.Split(list, "\n"), strings.Split(said, "\n")
	for i := range left {
		left[i] += text.Spaces(between) + right[i]
	}
	return strings.Join(left, "\n")
}
