package upgrade

import (
	"fmt"
	"strings"

	"dbops/internal/op"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	h := p.Sheet.Header()
	u, _ := p.Value()
	if st := standing(u); st.last != nil && st.last.Report != nil && !st.last.Report.ShutOut.IsZero() {
		h.Mode = screen.Mode{Word: "CLIENTS SHUT OUT", Risky: true}
	}
	return h
}

// readable is how wide text may run before it is hard to read.
const readable = 108

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	head := p.head(s)
	return text.Box(append(head, strings.Split(p.doc.View(s.Theme, p.body(s), s.Area.W, p.room(s)), "\n")...), s.Area.W, s.Area.H, s.Theme.Glyphs.Tail)
}

// head is the row of stages; below it a blank row, where there is room.
func (p Page) head(s screen.Scene) []string {
	u, _ := p.Value()
	st, shown, th := standing(u), p.shown(), s.Theme
	if s.Area.Aloud {
		return []string{aloudStages(st, shown)}
	}
	row := ""
	for gap := 3; gap > 0; gap-- {
		var all []string
		for i := range stages {
			sign, role := st.marks[i].draw(th.Glyphs)
			label := sign + " " + stageNames[i]
			if i == st.here {
				role = theme.Strong
			}
			if i == shown {
				label, role = "["+label+"]", theme.Focus
			}
			all = append(all, th.Paint(role, label))
		}
		if row = " " + strings.Join(all, text.Spaces(gap)); text.Width(row) < s.Area.W {
			break
		}
	}
	out := []string{row}
	if s.Area.Tall() {
		out = append([]string{""}, out...)
	}
	return append(out, "")
}

// room is the height below the row of stages.
func (p Page) room(s screen.Scene) int { return max(1, s.Area.H-len(p.head(s))) }

// body is the stage that is shown. What can wait stands beside the rest where the screen is wide, and else behind it.
func (p Page) body(s screen.Scene) []string {
	top := p.Top(screen.Scene{Now: s.Now, Theme: s.Theme, Area: screen.Area{W: s.Area.W}})
	u, known := p.Value()
	if !known && p.shown() != choose {
		return top
	}
	st, d := standing(u), component.NewDoc(s.Theme, min(s.Area.W, readable))
	side := d
	if s.Area.Wide() {
		side = component.NewDoc(s.Theme, s.Area.W-d.W)
	}
	if p.shown() > st.here+1 {
		d.Add(theme.Muted, 0, "It has not come so far: it stands at "+stageNames[st.here]+".")
	}
	switch p.shown() {
	case choose:
		p.choosing(d, side, s, st)
	case rehearse:
		p.rehearsing(d, side, st, s)
	case report:
		p.reporting(d, side, st)
	case run:
		p.running(d, side, st, s)
	case cutover:
		p.cutting(d, st, s)
	case observe:
		p.observing(d, side, st, s)
	case end:
		p.ending(d, side, st, s)
	case stages:
	}
	lines := d.Lines()
	if side != d {
		lines = beside(lines, side.Lines(), d.W)
	}
	return append(top, p.Aged(s, lines)...)
}

// beside puts lines to the right of others, which are at most w wide.
func beside(left, right []string, w int) []string {
	out := make([]string, max(len(left), len(right)))
	for i := range out {
		if i < len(left) {
			out[i] = left[i]
		}
		if i < len(right) {
			out[i] = text.Left(out[i], w, "") + right[i]
		}
	}
	return out
}

// stop says what happens if somebody leaves it there, and how they get back.
func stop(d *component.Doc, leave, back string) {
	d.Heading("if you stop here")
	d.Add(theme.Text, 0, leave)
	if back != "" {
		d.Add(theme.Text, 0, "Back: "+back)
	}
}

// saying is what a plan says of a way: what stands against it, how long, what it costs.
func saying(d *component.Doc, made *op.Plan) {
	blocks := made.Blocked()
	warns := 0
	for _, f := range made.Findings {
		if f.Severity == op.Warn {
			warns++
		}
	}
	for _, f := range blocks {
		d.Mark(theme.Danger, "block  "+f.Text)
		if f.Remedy != "" {
			d.Add(theme.Text, 4, "remedy: "+f.Remedy)
		}
	}
	switch {
	case len(blocks) == 0 && warns == 0:
		d.Add(theme.OK, 0, "ok  nothing stands in the way")
	case len(blocks) == 0:
		d.Mark(theme.Warn, text.Count(warns, "warning")+", which the plan shows; nothing blocks it")
	case warns > 0:
		d.Mark(theme.Warn, text.Count(warns, "warning")+" besides")
	}
	d.Fact(theme.Text, "shut out", strings.TrimSuffix(made.Downtime.Expected+": "+made.Downtime.Text, ": "))
	if made.Cost != "" {
		d.Fact(theme.Text, "cost", made.Cost)
	}
	if made.Back != "" {
		d.Fact(theme.Text, "way back", made.Back)
	}
}

// result is what a look came to, for a column.
func (l look) result() component.Cell {
	switch {
	case l.loading:
		return component.Cell{Text: "~ looking", Role: theme.Pending}
	case l.err != nil:
		return component.Cell{Text: "x failed", Role: theme.Danger}
	case l.plan == nil:
		return component.Cell{Text: "-", Role: theme.Muted}
	}
	if n := len(l.plan.Blocked()); n > 0 {
		return component.Cell{Text: "x " + text.Count(n, "block"), Role: theme.Danger}
	}
	n := 0
	for _, f := range l.plan.Findings {
		if f.Severity == op.Warn {
			n++
		}
	}
	if n > 0 {
		return component.Cell{Text: fmt.Sprintf("! %s", text.Count(n, "warning")), Role: theme.Warn}
	}
	return component.Cell{Text: "ok", Role: theme.OK}
}

// aloudStages says the stages, how each stands, and which is shown.
func aloudStages(st stands, shown stage) string {
	var all []string
	for i := range stages {
		said := stageNames[i]
		if word := [...]string{done: "done", going: "under way", waits: "waits for somebody", failed: "failed"}[st.marks[i]]; word != "" {
			said += " " + word
		}
		if i == shown {
			said += " (shown)"
		}
		all = append(all, said)
	}
	return "Stages: " + strings.Join(all, ", ")
}
