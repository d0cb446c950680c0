package fleet

import (
	"strings"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// layout is where the parts of the page go. All numbers are cells.
//
// Beneath the list stand the selected instance and, below it, what needs attention; where the screen is wide they stand side by side, and where
// it is wide but not tall both stand beside the list.
type layout struct {
	listW, listH       int
	attentionW         int
	attentionH         int
	previewW, previewH int // 0: no preview
	side               bool
	below              bool // the preview and what needs attention are beside each other
}

const (
	sideGap      = 3
	leastPreview = 7
	leastBelow   = 12 // lines that the preview and what needs attention have below a list that is longer than the screen
)

// plan divides the area: the list takes what it needs, attention what is left up to what it needs, the preview the rest.
func (p Page) plan(s screen.Scene) layout {
	a := s.Area
	if a.Wide() && a.Tall() {
		return p.planWide(s)
	}
	l := layout{listW: a.W}
	if a.Wide() {
		l.listW = a.W * 13 / 20
		l.previewW, l.previewH, l.side = a.W-l.listW-sideGap, a.H, true
	}
	l.attentionW = l.listW
	attention := p.attentionLines()
	blank := 0
	if a.Tall() {
		blank = 1
	}
	least := min(attention, max(2, a.H/3)) // attention gets at least a third when it needs it
	if attention > 0 {
		least += blank
	}
	l.listH = min(p.table.Lines(), max(3, a.H-least))
	rest := a.H - l.listH
	l.attentionH = min(attention, max(0, rest-blank))
	if !a.Compact() && !l.side && a.Tall() {
		if room := rest - 2*blank - leastPreview; room >= leastPreview { // what needs attention leaves room for the selected instance
			l.attentionH = min(attention, room)
		}
		if left := rest - l.attentionH - 2*blank; left >= leastPreview {
			l.previewW, l.previewH = a.W, left
		}
	}
	return l
}

// planWide gives the list the whole width, so that all its columns are there.
func (p Page) planWide(s screen.Scene) layout {
	a := s.Area
	l := layout{listW: a.W, below: true}
	l.previewW = a.W * 11 / 20
	l.attentionW = a.W - l.previewW - sideGap
	l.listH = min(p.table.Lines(), a.H-1-leastBelow)
	l.previewH = a.H - l.listH - 1
	l.attentionH = min(p.attentionLines(), l.previewH)
	return l
}

func (p Page) listHeight(s screen.Scene) int { return p.plan(s).listH }

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (next screen.Page, hit bool) {
	p = p.resync(s)
	if l := p.plan(s); x < l.listW {
		p.table, hit = p.table.Pick(y, l.listH)
	}
	return p, hit
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	p = p.resync(s)
	a, th := s.Area, s.Theme
	if s.Instances == nil {
		return text.Box(p.nothing(s), a.W, a.H, th.Glyphs.Tail)
	}
	if a.Aloud {
		lines := []string{counted(s.Instances)}
		if missing := p.watch.pending(); missing != "" && len(s.Instances) > 0 {
			lines = append(lines, missing)
		}
		if p.filter.Value() == "" {
			lines = append(lines, p.attention(s, a.W, p.attentionLines())...)
		}
		return strings.Join(append(lines, p.table.View(th, a.W, a.H, true)), "\n")
	}
	l := p.plan(s)
	lines := strings.Split(p.table.View(th, l.listW, l.listH, true), "\n")
	attention := p.attention(s, l.attentionW, l.attentionH)
	if l.below {
		lines = append(lines, "")
		lines = append(lines, beside(p.preview(s, l.previewW, l.previewH), attention, l.previewW, l.previewH, th.Glyphs.Tail)...)
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	gap := func() {
		if a.Tall() {
			lines = append(lines, "")
		}
	}
	if l.previewH > 0 && !l.side {
		gap()
		lines = append(lines, p.preview(s, l.previewW, l.previewH)...)
	}
	if l.attentionH > 0 {
		gap()
		lines = append(lines, attention...)
	}
	if l.side {
		lines = beside(lines, p.preview(s, l.previewW, l.previewH), l.listW, a.H, th.Glyphs.Tail)
	}
	return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
}

// beside puts two texts next to each other, the left one w wide, h lines in all.
func beside(left, right []string, w, h int, tail string) []string {
	out := make([]string, h)
	at := func(lines []string, y int) string {
		if y < len(lines) {
			return lines[y]
		}
		return ""
	}
	for y := range out {
		out[y] = text.Left(at(left, y), w, tail) + text.Spaces(sideGap) + at(right, y)
	}
	return out
}

// counted is how much there is, for the ear.
func counted(all []app.Instance) string {
	envs := map[string]bool{}
	for _, i := range all {
		envs[i.Environment] = true
	}
	return text.Count(len(envs), "environment") + ", " + text.Count(len(all), "instance")
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

// attentionLines is how many lines everything that is wrong takes.
func (p Page) attentionLines() int {
	if len(p.found) == 0 {
		return 0
	}
	n := 1 + len(p.found)
	for _, f := range p.found {
		if f.Hint != "" {
			n++
		}
	}
	return n
}

// attention lists what is wrong in h lines, the worst first, each in one line with what to do in a second.
func (p Page) attention(s screen.Scene, w, h int) []string {
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	if len(p.found) == 0 || h <= 0 {
		return nil
	}
	found := p.found[:min(h, len(p.found))] // no more can be seen
	nameW := 0
	for _, f := range found {
		nameW = max(nameW, text.Width(text.Clean(f.Environment+"/"+f.Name)))
	}
	nameW = min(nameW, 28)
	out := []string{component.Rule(th, "needs attention", w)}
	for _, f := range found {
		name := text.Left(text.Clean(f.Environment+"/"+f.Name), nameW, tail)
		room := w - nameW - 6
		edge := " "
		if f.Protected && !s.Area.Aloud {
			edge = th.Band(theme.BandProtected).Render("P")
		}
		out = append(out, edge+th.Paint(f.Role, theme.Mark(f.Role)+" "+name)+"  "+th.Paint(theme.Text, text.Cut(text.Clean(f.Text), room, tail)))
		if f.Hint != "" {
			out = append(out, text.Spaces(nameW+5)+th.Paint(theme.Muted, text.Cut("next: "+text.Clean(f.Hint), room, tail)))
		}
	}
	return cutLines(th, out, p.attentionLines(), h)
}

// cutList is the first h of lines; the last says how many there are besides.
func cutList(th theme.Theme, lines []string, h int) []string {
	return cutLines(th, lines, len(lines), h)
}

// cutLines is the first h of n lines, of which those that can be seen are drawn.
func cutLines(th theme.Theme, lines []string, n, h int) []string {
	if n <= h {
		return lines
	}
	if h <= 1 {
		return lines[:h]
	}
	more := " " + th.Glyphs.Down + " " + text.Count(n-h+1, "line") + " more"
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
	lines := []string{previewTitle(s.Theme, k, w)}
	blocks := append([]component.Block{overview.Failure(k, s.Now)}, overview.Now(k, s.Now)...)
	blocks = append(blocks, overview.Blocks(k, s.Now)...)
	for _, l := range component.Blocks(s.Theme, blocks, columns, w-1) {
		lines = append(lines, " "+l)
	}
	return cutList(s.Theme, lines, h)
}

// previewTitle says whose values follow, and of a protected environment that it is one.
func previewTitle(th theme.Theme, k overview.Known, w int) string {
	if !k.Protected {
		return component.Rule(th, k.Key(), w)
	}
	word := th.Band(theme.BandProtected).Render(" " + screen.Protected + " ")
	return word + component.Rule(th, k.Key(), w-text.Width(word))
}
