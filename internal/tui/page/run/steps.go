package run

import (
	"fmt"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// listed are the steps as lines, and which of these the run is at.
type listed struct {
	lines    []string
	from, to int // of the step that the run is at; to is behind it
	done, of int
}

// steps draws those of the plan with what became of each.
func (p Page) steps(th theme.Theme, w int, now time.Time) (l listed) {
	w = min(w, stepsMost)
	if p.view.Plan == nil {
		return l
	}
	last := map[string]state.Step{} // of each name and phase, the last attempt
	for _, st := range p.view.Steps {
		last[string(st.Phase)+" "+st.Name] = st
	}
	said := p.progress()
	l.of = len(p.view.Plan.Steps)
	for i, st := range p.view.Plan.Steps {
		do, begun := last[string(state.Do)+" "+st.Name]
		undo, undone := last[string(state.Undo)+" "+st.Name]
		mark, role, note := " ", theme.Muted, ""
		var more []string
		switch {
		case undone:
			mark, role, note = "<", theme.Warn, "undone"
			if undo.State != state.StepDone {
				note = "undoing: " + string(undo.State)
			}
			if undo.State == state.StepRunning {
				more = spoken(th, w, said[st.Name])
			}
		case !begun && st.Gate && p.view.Run.State == state.Gate && p.view.Run.Step == st.Name:
			mark, role, note = "!", theme.Warn, "waits for a person"
		case !begun && !st.Gate:
		case begun && do.State == state.StepDone, st.Gate && p.passed(i):
			mark, role, note = th.Glyphs.Done, theme.OK, took(do, now)
			l.done++
		case do.State == state.StepFailed:
			mark, role, note = "x", theme.Danger, "failed"
			if do.Attempt > 1 {
				note = fmt.Sprintf("failed, attempt %d", do.Attempt)
			}
		case begun && p.view.Run.Interrupted():
			mark, role, note = "!", theme.Warn, "interrupted"
		case begun:
			mark, role, note = "~", theme.Pending, took(do, now)
			more = spoken(th, w, said[st.Name])
			if t, ok := p.copies[st.Name]; ok {
				more = nil
				for _, line := range t.lines(th, w-stepIn-1, now) {
					more = append(more, text.Spaces(stepIn)+line)
				}
			}
		}
		at := st.Name == p.view.Run.Step || p.view.Run.State.Ended() && (begun || undone)
		if at {
			l.from = len(l.lines)
		}
		l.lines = append(l.lines, entry(th, role, fmt.Sprintf(" %s %2d  ", mark, i+1), st.Title, note, w)...)
		l.lines = append(l.lines, more...)
		if at {
			l.to = len(l.lines)
		}
	}
	return l
}

// stepsMost is how far from its step a note may stand.
const stepsMost = 120

// stepIn is where the title of a step begins.
const stepIn = 7

// entry is a step with its note at the right; a title that is longer goes on beneath.
func entry(th theme.Theme, role theme.Role, head, title, note string, w int) (out []string) {
	room := w - stepIn - 1
	if note != "" {
		room -= text.Width(note) + 2
	}
	for i, l := range text.Wrap(text.Clean(title), max(10, room)) {
		if i > 0 {
			out = append(out, text.Spaces(stepIn)+th.Paint(role, l))
			continue
		}
		out = append(out, text.Spread(th.Paint(role, head+l), th.Paint(role, note), w-1, th.Glyphs.Tail))
	}
	return out
}

// spoken is what a step said last, beneath it.
func spoken(th theme.Theme, w int, s string) (out []string) {
	for _, l := range text.Wrap(text.Clean(s), max(10, w-stepIn-1)) {
		out = append(out, text.Spaces(stepIn)+th.Paint(theme.Text, l))
	}
	return out
}

// passed tells whether a later step of the plan was begun.
func (p Page) passed(n int) bool {
	for _, st := range p.view.Plan.Steps[n+1:] {
		for _, done := range p.view.Steps {
			if done.Name == st.Name {
				return true
			}
		}
	}
	return p.view.Run.State == state.Done
}

// progress is what each step said last.
func (p Page) progress() map[string]string {
	out := map[string]string{}
	for _, e := range p.events {
		switch e.Kind {
		case op.EventProgress:
			out[e.Step] = e.Text
		case op.EventStep:
			delete(out, e.Step)
		}
	}
	return out
}

func took(st state.Step, now time.Time) string {
	switch {
	case st.Started.IsZero():
		return ""
	case st.Ended.IsZero():
		return span(now.Sub(st.Started))
	}
	return span(st.Ended.Sub(st.Started))
}

// span is a length of time, to the tenth of a second while it is short.
func span(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return text.Age(d)
}
