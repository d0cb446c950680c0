package component

import (
	"fmt"
	"strings"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

const (
	gap  = 2 // between columns
	edge = 1 // after the last column
)

// gutter is before the first column: the mark of the selection; in a table with edges the edge and the row's mark, too.
func (t Table) gutter() int {
	if t.Edges {
		return 4
	}
	return 2
}

// View draws the table in exactly w x h cells. Without focus the selection keeps its '>' and loses its reverse.
func (t Table) View(th theme.Theme, w, h int, focus bool) string {
	if h <= 0 {
		return ""
	}
	if th.Aloud() {
		return strings.Join(t.aloud(focus), "\n")
	}
	tail := th.Glyphs.Tail
	widths := t.widths(w - edge)
	lines := []string{th.Paint(theme.Heading, text.Left(t.title(widths, tail), w, tail))}
	if len(t.shown) == 0 {
		lines = append(lines, text.Spaces(t.gutter())+th.Paint(theme.Muted, text.Cut(t.Empty, w-t.gutter(), tail)))
		return text.Box(lines, w, h, tail)
	}
	room := h - 1
	if len(t.shown) > room && room > 2 {
		room-- // for the line that says how much there is besides
	}
	from := t.offset(room)
	for i := from; i < len(t.shown) && len(lines) <= room; i++ {
		r := t.shown[i]
		switch {
		case i == from && r.Heading == nil && r.Key != t.key && t.heading(i) != nil: // it has scrolled away, and must not be missed
			lines = append(lines, t.heading(i).view(th, w))
		case r.Heading != nil:
			lines = append(lines, r.Heading.view(th, w))
		default:
			lines = append(lines, t.row(th, r, widths, w, focus))
		}
	}
	if room < h-1 {
		lines = append(lines, text.Left(th.Paint(theme.Muted, t.besides(th.Glyphs, from, from+room)), w, tail))
	}
	for len(lines) < h {
		lines = append(lines, text.Spaces(w))
	}
	return strings.Join(lines[:h], "\n") // each is w wide already
}

// Pick selects the row that a table drawn h cells high shows at line y; hit is false without one there.
func (t Table) Pick(y, h int) (next Table, hit bool) {
	room := h - 1
	if len(t.shown) > room && room > 2 {
		room--
	}
	from := t.offset(room)
	i := from + y - 1
	if y < 1 || y > room || i >= len(t.shown) || t.shown[i].Heading != nil {
		return t, false
	}
	if i == from && t.shown[i].Key != t.key && t.heading(i) != nil { // a heading is drawn over it
		return t, false
	}
	t.key = t.shown[i].Key
	return t, true
}

// besides counts the rows that are not among the lines from..to.
func (t Table) besides(g theme.Glyphs, from, to int) string {
	count := func(rows []Row) (n int) {
		for _, r := range rows {
			if r.Heading == nil {
				n++
			}
		}
		return n
	}
	out := ""
	if n := count(t.shown[:from]); n > 0 {
		out += fmt.Sprintf("  %s %d above", g.Up, n)
	}
	if n := count(t.shown[min(to, len(t.shown)):]); n > 0 {
		out += fmt.Sprintf("  %s %d more", g.Down, n)
	}
	return out
}

// heading is the nearest one above line i.
func (t Table) heading(i int) *Heading {
	for ; i >= 0; i-- {
		if t.shown[i].Heading != nil {
			return t.shown[i].Heading
		}
	}
	return nil
}

// offset is the first line to draw so that the selection is on one of h lines, and not under the heading that stays on top.
// It depends on nothing that was drawn before.
func (t Table) offset(h int) int {
	if len(t.shown) <= h || h <= 0 {
		return 0
	}
	at := max(0, t.index())
	from := min(max(0, at-h/2), len(t.shown)-h)
	if from == at && h > 1 { // the selection would be under the heading that stays on top
		from = max(0, from-1)
	}
	return from
}

func (h *Heading) view(th theme.Theme, w int) string {
	tail := th.Glyphs.Tail
	label := " " + strings.TrimSpace(text.Clean(h.Word)+"  "+text.Clean(h.Name)) + " "
	label = text.Cut(label, w, tail)
	rest := w - text.Width(label)
	out := th.Band(h.Band).Render(label)
	if note := text.Clean(h.Note); note != "" && rest > 6 {
		note = text.Cut("  "+note, rest, tail)
		out += th.Paint(theme.Muted, note)
		rest -= text.Width(note)
	}
	return out + text.Spaces(rest)
}

func (t Table) title(widths []int, tail string) string {
	var b strings.Builder
	b.WriteString(text.Spaces(t.gutter()))
	t.each(widths, func(i int, first bool) {
		if !first {
			b.WriteString(text.Spaces(gap))
		}
		b.WriteString(place(t.Columns[i].Title, widths[i], t.Columns[i].Right, tail))
	})
	return b.String()
}

func (t Table) row(th theme.Theme, r Row, widths []int, w int, focus bool) string {
	tail := th.Glyphs.Tail
	selected := r.Key == t.key
	var b strings.Builder
	edge := ""
	if t.Edges {
		if edge = text.Left(text.Clean(r.Edge), 1, ""); r.Edge != "" {
			edge = th.Band(r.Band).Render(edge)
		}
		b.WriteString(sign(r.Marked, "*") + sign(selected, ">") + " ")
	} else {
		b.WriteString(sign(selected, ">") + " ")
	}
	t.each(widths, func(i int, first bool) {
		if !first {
			b.WriteString(text.Spaces(gap))
		}
		var c Cell
		if i < len(r.Cells) {
			c = r.Cells[i]
		}
		s := place(text.Clean(c.Text), widths[i], t.Columns[i].Right, tail)
		if !selected || !focus { // inner styles would end the reverse
			s = th.Paint(c.Role, s)
		}
		b.WriteString(s)
	})
	line := b.String()
	if room, used := w-min(1, len(edge)), t.width(widths); used > room {
		line = text.Left(line, room, tail)
	} else {
		line += text.Spaces(room - used)
	}
	if selected && focus {
		line = th.Selected.Render(line)
	}
	return edge + line
}

// width is that of a row before it is filled up, without its edge.
func (t Table) width(widths []int) int {
	n := t.gutter() - gap
	if t.Edges {
		n--
	}
	for _, w := range widths {
		if w > 0 {
			n += w + gap
		}
	}
	return n
}

func sign(there bool, s string) string {
	if there {
		return s
	}
	return " "
}

// each calls f for the columns that are there.
func (t Table) each(widths []int, f func(i int, first bool)) {
	first := true
	for i, w := range widths {
		if w > 0 {
			f(i, first)
			first = false
		}
	}
}

func place(s string, w int, right bool, tail string) string {
	if right {
		return text.Right(s, w, tail)
	}
	return text.Left(s, w, tail)
}

// widths gives each column its cells in a width of w; 0 leaves it out. Columns first shrink to their least, then leave by rank.
func (t Table) widths(w int) []int {
	least, most := make([]int, len(t.Columns)), make([]int, len(t.Columns))
	for i, c := range t.Columns {
		least[i] = max(c.Min, text.Width(c.Title))
		most[i] = least[i]
		for _, r := range t.rows {
			if i < len(r.Cells) {
				most[i] = max(most[i], text.Width(text.Clean(r.Cells[i].Text)))
			}
		}
		if c.Max > 0 {
			most[i] = max(least[i], min(most[i], c.Max))
		}
	}
	gone := make([]bool, len(t.Columns))
	sum := func(ws []int) int {
		n := t.gutter() - gap
		for i, c := range ws {
			if !gone[i] {
				n += c + gap
			}
		}
		return n
	}
	for sum(least) > w {
		worst := -1
		for i, c := range t.Columns {
			if !gone[i] && c.Leave > 0 && (worst < 0 || c.Leave > t.Columns[worst].Leave) {
				worst = i
			}
		}
		if worst < 0 {
			break
		}
		gone[worst] = true
	}
	out := make([]int, len(t.Columns))
	spare := w - sum(least)
	for rank := 0; rank <= t.lastRank(); rank++ { // what never leaves grows first
		for i, c := range t.Columns {
			if gone[i] || c.Leave != rank {
				continue
			}
			grow := min(max(0, spare), most[i]-least[i])
			out[i] = least[i] + grow
			spare -= grow
		}
	}
	return out
}

func (t Table) lastRank() int {
	rank := 0
	for _, c := range t.Columns {
		rank = max(rank, c.Leave)
	}
	return rank
}
