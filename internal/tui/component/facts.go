package component

import (
	"strings"

	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Fact is one labelled value. One without a label continues the value above it.
type Fact struct {
	Label, Value string
	Role         theme.Role
}

// Block is a group of facts under a title.
type Block struct {
	Title string
	Alarm bool // the title is drawn as danger
	Facts []Fact
	Wrap  bool // values run over several lines; else they are cut
}

const labelWidth = 12

// lines draws a block in a width of w.
func (b Block) lines(th theme.Theme, w int) []string {
	role := theme.Heading
	if b.Alarm {
		role = theme.Danger
	}
	out := []string{th.Paint(role, text.Cut(text.Clean(b.Title), w, th.Glyphs.Tail))}
	room := w - labelWidth - 2
	for _, f := range b.Facts {
		label, value := text.Clean(f.Label), text.Clean(f.Value)
		values := []string{text.Cut(value, room, th.Glyphs.Tail)}
		if b.Wrap && text.Width(value) > room {
			values = text.Wrap(value, room)
		}
		for i, v := range values {
			if i > 0 {
				label = ""
			}
			out = append(out, " "+th.Paint(theme.Muted, text.Left(label, labelWidth, th.Glyphs.Tail))+" "+th.Paint(f.Role, v))
		}
	}
	return out
}

// Blocks draws blocks in columns of equal width, filling the shortest next, with a blank line between two. Empty blocks are
// left out. The lines are at most w wide.
func Blocks(th theme.Theme, blocks []Block, columns, w int) []string {
	if th.Aloud() {
		return aloudBlocks(blocks)
	}
	columns = max(1, columns)
	const between = 3
	cw := (w - (columns-1)*between) / columns
	cols := make([][]string, columns)
	var drawn [][]string
	total := 0
	for _, b := range blocks {
		if len(b.Facts) > 0 {
			l := b.lines(th, cw)
			drawn = append(drawn, l)
			total += len(l) + 1
		}
	}
	// In reading order: a column is full when it has its share of all lines.
	at, used := 0, 0
	for _, l := range drawn {
		if at < columns-1 && used > 0 && used+len(l)/2 > total*(at+1)/columns {
			at++
		}
		if len(cols[at]) > 0 {
			cols[at] = append(cols[at], "")
		}
		cols[at] = append(cols[at], l...)
		used += len(l) + 1
	}
	return beside(cols, cw, between, th.Glyphs.Tail)
}

// beside puts columns of lines next to each other.
func beside(cols [][]string, cw, between int, tail string) []string {
	h := 0
	for _, c := range cols {
		h = max(h, len(c))
	}
	out := make([]string, h)
	for y := range out {
		var b strings.Builder
		for x, c := range cols {
			line := ""
			if y < len(c) {
				line = c[y]
			}
			if x < len(cols)-1 {
				line = text.Left(line, cw, tail) + text.Spaces(between)
			}
			b.WriteString(line)
		}
		out[y] = strings.TrimRight(b.String(), " ")
	}
	return out
}
