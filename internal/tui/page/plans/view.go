package plans

import (
	"fmt"
	"strings"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/plan"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// leastPlan is how many lines of the selected plan are shown below the list.
const leastPlan = 6

func (p Page) listHeight(s screen.Scene) int {
	return min(p.table.Lines(), max(4, s.Area.H-leastPlan-2))
}

// Click implements [screen.Clicker].
func (p Page) Click(_, y int, s screen.Scene) (next screen.Page, hit bool) {
	p.table, hit = p.table.Pick(y-1, p.listHeight(s)) // a line of text stands above it
	return p, hit
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	a, th := s.Area, s.Theme
	if a.Aloud {
		return strings.Join(append([]string{p.sum(s), p.table.View(th, a.W, a.H, true)}, p.selectedLines(s)...), "\n")
	}
	h := p.listHeight(s)
	lines := []string{" " + th.Paint(theme.Text, text.Cut(p.sum(s), a.W-2, th.Glyphs.Tail))}
	lines = append(lines, strings.Split(p.table.View(th, a.W, h, true), "\n")...)
	rest := p.selectedLines(s)
	if room := a.H - len(lines); len(rest) > room && room > 1 {
		more := " " + th.Glyphs.Down + " " + text.Count(len(rest)-room+1, "line") + " more: enter shows the whole plan"
		rest = append(rest[:room-1:room-1], th.Paint(theme.Muted, more))
	}
	return text.Box(append(lines, rest...), a.W, a.H, th.Glyphs.Tail)
}

// sum counts how the plans stand, and names those that are blocked or missing.
func (p Page) sum(s screen.Scene) string {
	ready, begun := 0, 0
	var blocked, failed []string
	for _, it := range p.each {
		made := it.made()
		switch {
		case it.plan.Err() != nil:
			failed = append(failed, it.key())
		case made == nil:
		case p.ready(it, s.Now):
			ready++
		case len(made.Blocked()) > 0:
			blocked = append(blocked, it.key())
		default:
			if _, ok := p.run(made); ok {
				begun++
			}
		}
	}
	out := fmt.Sprintf("%s, %d ready, %d begun", text.Count(len(p.each), "plan"), ready, begun)
	if len(blocked) > 0 {
		out += ", blocked: " + strings.Join(blocked, " ")
	}
	if len(failed) > 0 {
		out += ", no plan: " + strings.Join(failed, " ")
	}
	return text.Clean(out)
}

// selectedLines are the selected plan, or why there is none.
func (p Page) selectedLines(s screen.Scene) []string {
	i, ok := p.at()
	if !ok {
		return nil
	}
	it := p.each[i]
	d := component.NewDoc(s.Theme, s.Area.W)
	d.Heading("plan of " + it.key())
	if err := it.plan.Err(); err != nil {
		d.Mark(theme.Danger, it.want.Title+": "+err.Error())
		if hint := overview.Hint(err); hint != "" {
			d.Add(theme.Text, 2, hint)
		}
		return d.Lines()
	}
	if made := it.made(); made != nil {
		plan.Draw(d, made, plan.Approval(made, s), s.Now)
	}
	return d.Lines()
}

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	h := screen.Header{Title: []string{text.Count(len(p.each), "plan")}, Mode: screen.Mode{Word: "PLAN"}, Note: p.title, Cursor: -1}
	environments := p.environments()
	if len(environments) == 1 {
		h.Environment = environments[0]
	}
	var guarded []string
	for _, env := range environments {
		if s.Protected(env) {
			guarded = append(guarded, env)
		}
	}
	if len(environments) > 1 && len(guarded) > 0 {
		h.Facts = screen.Protected + " " + strings.Join(guarded, ", ") + " among them"
	}
	for _, it := range p.each {
		if it.plan.Loading() {
			h.Fresh.Loading = true
		}
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	i, ok := p.at()
	if !ok {
		return nil
	}
	cli := p.each[i].want.CLI
	return append(cli[:len(cli):len(cli)], "--plan")
}
