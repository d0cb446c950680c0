package fleet

import (
	"strings"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// layout is where the parts of the page go. All numbers are cells.
type layout struct {
	listW, listH      int
	attentionH        int
	previewW          int // 0: no preview
	previewH          int // beneath the list; 0 when it is beside it
	previewSideBySide bool
}

const sideGap = 3

// plan divides the area: the list takes what it needs, attention what is left up to what it needs, the preview the rest.
func (p Page) plan(s screen.Scene, attention int) layout {
	a := s.Area
	l := layout{listW: a.W}
	if a.Wide() {
		l.listW = a.W * 13 / 20
		l.previewW, l.previewSideBySide = a.W-l.listW-sideGap, true
	}
	blank := 0
	if a.Tall() {
		blank = 1
	}
	need := p.table.Lines()
	least := min(attention, max(2, a.H/3)) // attention gets at least a third when it needs it
	if attention > 0 {
		least += blank
	}
	l.listH = min(need, max(3, a.H-least))
	rest := a.H - l.listH
	l.attentionH = min(attention, max(0, rest-blank))
	if !a.Compact() && !l.previewSideBySide && a.Tall() {
		if left := rest - l.attentionH - 2*blank; left >= 6 {
			l.previewW, l.previewH = a.W, left
		}
	}
	return l
}

func (p Page) listHeight(s screen.Scene) int {
	return p.plan(s, len(p.attention(s, s.Area.W))).listH
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	p = p.sync(s)
	a, th := s.Area, s.Theme
	if s.Instances == nil {
		return text.Box(p.nothing(s), a.W, a.H, th.Glyphs.Tail)
	}
	l := p.plan(s, len(p.attention(s, s.Area.W)))
	if a.Wide() {
		l = p.plan(s, len(p.attention(s, l.listW)))
	}
	lines := strings.Split(p.table.View(th, l.listW, l.listH, true), "\n")
	gap := func() {
		if a.Tall() {
			lines = append(lines, "")
		}
	}
	if l.previewH > 0 {
		gap()
		lines = append(lines, p.preview(s, l.previewW, l.previewH)...)
	}
	if l.attentionH > 0 {
		gap()
		lines = append(lines, cutList(th, p.attention(s, l.listW), l.attentionH)...)
	}
	if !l.previewSideBySide {
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	side := p.preview(s, l.previewW, a.H)
	out := make([]string, a.H)
	for y := range out {
		left, right := "", ""
		if y < len(lines) {
			left = lines[y]
		}
		if y < len(side) {
			right = side[y]
		}
		out[y] = text.Left(left, l.listW, th.Glyphs.Tail) + text.Spaces(sideGap) + right
	}
	return text.Box(out, a.W, a.H, th.Glyphs.Tail)
}

// nothing is what stands here before the instances are known, or when they cannot be.
func (p Page) nothing(s screen.Scene) []string {
	th := s.Theme
	if s.LoadErr == nil {
		return []string{"", "  " + th.Paint(theme.Muted, "reading the configuration")}
	}
	out := []string{"", "  " + th.Paint(theme.Danger, "x the configuration cannot be read"), ""}
	for _, l := range text.Wrap(text.Clean(s.LoadErr.Error()), s.Area.W-4) {
		out = append(out, "  "+l)
	}
	if h := overview.Hint(s.LoadErr); h != "" {
		out = append(out, "")
		for _, l := range text.Wrap("next: "+text.Clean(h), s.Area.W-4) {
			out = append(out, "  "+th.Paint(theme.Muted, l))
		}
	}
	return out
}

// attention lists what is wrong, the worst first, each in one line with what to do in a second.
func (p Page) attention(s screen.Scene, w int) []string {
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	found := overview.Findings(p.all(s), s.Now)
	if len(found) == 0 {
		return nil
	}
	nameW := 0
	for _, f := range found {
		nameW = max(nameW, text.Width(text.Clean(f.Environment+"/"+f.Name)))
	}
	nameW = min(nameW, 28)
	out := []string{component.Rule(th, "needs attention", w)}
	for _, f := range found {
		name := text.Left(text.Clean(f.Environment+"/"+f.Name), nameW, tail)
		room := w - nameW - 6
		out = append(out, " "+th.Paint(f.Role, theme.Mark(f.Role)+" "+name)+"  "+th.Paint(theme.Text, text.Cut(text.Clean(f.Text), room, tail)))
		if f.Hint != "" {
			out = append(out, text.Spaces(nameW+5)+th.Paint(theme.Muted, text.Cut("next: "+text.Clean(f.Hint), room, tail)))
		}
	}
	return out
}

// cutList is the first h of lines; the last says how many there are besides.
func cutList(th theme.Theme, lines []string, h int) []string {
	if len(lines) <= h {
		return lines
	}
	if h <= 1 {
		return lines[:h]
	}
	more := " " + th.Glyphs.Down + " " + text.Count(len(lines)-h+1, "line") + " more"
	return append(append([]string{}, lines[:h-1]...), th.Paint(theme.Muted, more))
}

// preview is what the instance page would show of the selected instance.
func (p Page) preview(s screen.Scene, w, h int) []string {
	k, ok := p.selected(s)
	if !ok {
		return nil
	}
	columns := 1
	if w >= screen.NormalWidth {
		columns = 2
	}
	lines := []string{component.Rule(s.Theme, k.Key(), w)}
	blocks := append([]component.Block{overview.Failure(k, s.Now)}, overview.Blocks(k, s.Now)...)
	for _, l := range component.Blocks(s.Theme, blocks, columns, w-1) {
		lines = append(lines, " "+l)
	}
	return cutList(s.Theme, lines, h)
}
