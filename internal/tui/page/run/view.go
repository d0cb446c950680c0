package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/upgrade"
)

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	r := p.view.Run
	h := screen.Header{
		Environment: r.Environment, Title: []string{"run " + p.id}, Note: r.Title, Cursor: -1,
		Fresh: screen.Fresh{At: s.Now, Loading: p.heard.IsZero() && p.open},
	}
	if s.Area.Aloud && h.Fresh.Loading { // there is nothing yet that is as of now
		h.Fresh.At = time.Time{}
	}
	if r.Instance != "" {
		h.Title = []string{r.Instance, "run " + p.id}
	}
	if !p.heard.IsZero() {
		h.Mode = screen.Mode{Word: strings.ToUpper(word(r)), Risky: r.State == state.Parked || r.State == state.Gate}
		if !p.shutOut().IsZero() && !r.State.Ended() {
			h.Mode = screen.Mode{Word: "CLIENTS SHUT OUT", Risky: true}
		}
	}
	if !p.open && !r.State.Ended() {
		h.Fresh.At = p.heard
		if p.err != nil {
			h.Fresh.Err = fault.Reason(p.err)
		}
	}
	return h
}

// word is how a run stands.
func word(r state.Run) string {
	switch {
	case r.State == state.Gate:
		return "waits for a person"
	case r.Interrupted() && r.State != state.Parked:
		return "interrupted"
	}
	return string(r.State)
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return []string{"dbops", "runs", "watch", p.id} }

// shutOut is since when the run keeps clients out; zero: it does not.
func (p Page) shutOut() time.Time { return upgrade.ShutOutSince(p.view.Run.Kind, p.view.Steps) }

// logLeast is how many rows the log has at least, stepsLeast how many the steps have, with their titles.
const (
	logLeast   = 5
	stepsLeast = 5
)

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	a, tail := s.Area, s.Theme.Glyphs.Tail
	top := p.topCut(s)
	if p.heard.IsZero() {
		return text.Box(top, a.W, a.H, tail)
	}
	if a.Aloud {
		return strings.Join(slices.Concat(p.top(s), p.result(s), p.recite(s)), "\n")
	}
	r := p.rooms(s, len(top))
	steps := p.steps(s.Theme, r.stepsW, s.Now)
	upper := p.pane(s, p.stepsTitle(steps), paneSteps, p.window(steps, r.stepsH-1), steps.lines, r.stepsW, r.stepsH)
	title := "log"
	if p.back > 0 {
		title = fmt.Sprintf("log  %d later", p.back)
	}
	lower := p.pane(s, title, paneLog, 0, p.log(s, r.logW, r.logH-1), r.logW, r.logH)
	if !r.beside {
		return text.Box(append(append(top, upper...), lower...), a.W, a.H, tail)
	}
	for i := range upper {
		top = append(top, text.Left(upper[i], r.stepsW, tail)+text.Spaces(sideGap)+lower[i])
	}
	return text.Box(top, a.W, a.H, tail)
}

// topCut is the top as far as there is room for it.
func (p Page) topCut(s screen.Scene) []string {
	top := p.top(s)
	if most := max(2, s.Area.H-stepsLeast-logLeast); len(top) > most {
		top = append(top[:most-1:most-1], " "+s.Theme.Paint(theme.Muted, fmt.Sprintf("%s %s: %s", s.Theme.Glyphs.Down, text.Count(len(top)-most+1, "line"), text.Shell([]string{"dbops", "runs", "show", p.id}))))
	}
	return top
}

// Point implements [screen.Pointer].
func (p Page) Point(x, y int, s screen.Scene) screen.Page {
	top := len(p.topCut(s))
	if p.heard.IsZero() || y < top {
		return p
	}
	r := p.rooms(s, top)
	p.front = paneLog
	if r.beside && x < r.stepsW || !r.beside && y-top < r.stepsH {
		p.front = paneSteps
	}
	return p
}

// Click implements [screen.Clicker]: the keys move what was clicked on.
func (p Page) Click(x, y int, s screen.Scene) (screen.Page, bool) { return p.Point(x, y, s), false }

// rooms are how the screen is shared between the steps and the log.
type rooms struct {
	stepsW, stepsH, logW, logH int
	beside                     bool
}

const sideGap = 2

func (p Page) rooms(s screen.Scene, top int) rooms {
	a := s.Area
	left := a.H - top
	if a.Wide() {
		w := a.W * 11 / 20
		return rooms{stepsW: w, stepsH: left, logW: a.W - w - sideGap, logH: left, beside: true}
	}
	need := 1 + len(p.steps(s.Theme, a.W, s.Now).lines)
	if a.Tall() {
		need++
	}
	steps := max(min(need, left-logLeast), min(stepsLeast, left/2))
	return rooms{stepsW: a.W, stepsH: steps, logW: a.W, logH: left - steps}
}

// window is the first line of the steps that h rows show: what was scrolled to, or else so that the step that the run is at is among them.
func (p Page) window(l listed, h int) int {
	if p.held {
		return p.scroll.By(0, len(l.lines), h).Top
	}
	top := max(l.from-h/3, l.to-h)
	if l.to-l.from > h {
		top = l.from
	}
	return component.Scroll{Top: top}.By(0, len(l.lines), h).Top
}

func (p Page) stepsTitle(l listed) string { return fmt.Sprintf("steps  %d of %d done", l.done, l.of) }

// pane is a part of the page under its title, which says what is above and below, and which part the keys move.
func (p Page) pane(s screen.Scene, title string, which pane, from int, lines []string, w, h int) []string {
	g := s.Theme.Glyphs
	room := max(0, h-1)
	if above := from; above > 0 {
		title += fmt.Sprintf("  %s %d", g.Up, above)
	}
	if below := len(lines) - from - room; below > 0 {
		title += fmt.Sprintf("  %s %d", g.Down, below)
	}
	if p.front == which {
		title += "  [j k]"
	}
	out := []string{" " + component.Rule(s.Theme, title, w-2)}
	out = append(out, lines[min(from, len(lines)):min(from+room, len(lines))]...)
	for len(out) < h {
		out = append(out, "")
	}
	return out
}

// top is how the run stands.
func (p Page) top(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	if p.heard.IsZero() {
		if p.err != nil {
			d.Mark(theme.Danger, "run "+p.id+": "+p.err.Error())
			if hint := overview.Hint(p.err); hint != "" {
				d.Add(theme.Text, 2, hint)
			}
		} else {
			d.Mark(theme.Pending, "reading the run")
		}
		return d.Lines()
	}
	banner := p.banner(s)
	p.standing(d, p.view.Run, s.Now, len(banner) > 0 && !s.Area.Tall())
	lines := d.Lines()
	if s.Area.Tall() {
		lines = append(lines, "")
	}
	return append(banner, lines...)
}

// banner counts the seconds in which clients are shut out, across the screen.
func (p Page) banner(s screen.Scene) (out []string) {
	since, r := p.shutOut(), p.view.Run
	if since.IsZero() {
		return nil
	}
	th, w := s.Theme, s.Area.W
	line := fmt.Sprintf(" ! CLIENTS ARE SHUT OUT of %s for %s", r.Instance, seconds(s.Now.Sub(since)))
	after := "since " + text.Clock(since) + " UTC "
	if r.State.Ended() { // what came after it is not in its journal
		line, after = fmt.Sprintf(" ! it ended with clients shut out of %s", r.Instance), "since "+text.Stamp(since)+" "
	}
	out = append(out, th.Band(theme.BandMode).Render(text.Spread(text.Clean(line), after, w, th.Glyphs.Tail)))
	d := component.NewDoc(th, w)
	back := "dbops upgrade rollback -e " + r.Environment + " " + r.Instance
	if r.State.Ended() {
		d.Add(theme.Text, 2, back+" lets them in again, if that was not done since")
		return append(out, d.Lines()...)
	}
	if r.Kind == upgrade.RollbackKind { // what it goes back from is over
		return out
	}
	if p.view.Plan != nil && p.view.Plan.Downtime.Text != "" {
		d.Raw("  " + th.Paint(theme.Text, text.Cut(text.Clean("the plan said: "+p.view.Plan.Downtime.Text), w-4, th.Glyphs.Tail)))
	}
	d.Add(theme.Text, 2, "too long? cancel its step, then: "+back)
	return append(out, d.Lines()...)
}

// standing says how the run stands, and what it waits for; short leaves out what can be missed.
func (p Page) standing(d *component.Doc, r state.Run, now time.Time, short bool) {
	who := "asked for by " + r.Requester
	if r.Actor != "" && r.Actor != r.Requester {
		who += ", brought on by " + r.Actor
	}
	took := ""
	switch {
	case !r.Ended.IsZero() && !r.Started.IsZero():
		took = "took " + span(r.Ended.Sub(r.Started)) + "  "
	case r.State == state.Parked || r.State == state.Gate:
		took = "for " + span(now.Sub(r.Updated)) + "  "
	case !r.Started.IsZero():
		took = "for " + span(now.Sub(r.Started)) + "  "
	}
	role := map[state.RunState]theme.Role{state.Done: theme.OK, state.Failed: theme.Danger, state.Parked: theme.Warn, state.Gate: theme.Warn, state.Running: theme.Pending}[r.State]
	d.Mark(role, word(r)+"  "+took+who)
	switch {
	case r.State == state.Parked || r.State == state.Gate || r.State == state.Failed:
		if r.Problem != "" {
			d.Add(theme.Text, 2, strings.TrimSuffix("at "+r.Step+": "+r.Problem, ": "))
		}
		if r.Hint != "" {
			d.Add(theme.Text, 2, "next: "+r.Hint)
		}
		if len(r.Verbs) > 0 {
			d.Add(theme.Strong, 2, "it waits for somebody to say "+strings.Join(r.Verbs, ", "))
		}
	case r.Interrupted():
		d.Add(theme.Strong, 2, "nobody works on it: resume has it worked on again")
	case r.Alive && !r.State.Ended() && !short:
		d.Add(theme.Muted, 2, op.Sign(r)+"; it goes on without you")
	}
	if r.State.Ended() && p.view.Plan != nil && p.view.Plan.Back != "" && r.State == state.Done {
		d.Add(theme.Muted, 2, "the way back: "+upgrade.BackOf(p.view.Plan, r.ID, p.view.Steps))
	}
}
