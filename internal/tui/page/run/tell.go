package run

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// progressPace is how often at most the progress of a step is told, and how long clients are shut out.
const progressPace = 10 * time.Second

// recite are the steps as sentences.
func (p Page) recite(s screen.Scene) []string {
	l := p.steps(s.Theme, s.Area.W, s.Now)
	return append([]string{component.Rule(s.Theme, p.stepsTitle(l), s.Area.W)}, l.lines...)
}

// result is what the last step of a run that has ended came to: on the screen it stands in the log, which is not read out.
func (p Page) result(s screen.Scene) []string {
	if !p.view.Run.State.Ended() || p.view.Plan == nil || len(p.view.Plan.Steps) == 0 {
		return nil
	}
	last := p.view.Plan.Steps[len(p.view.Plan.Steps)-1].Name
	for _, e := range slices.Backward(p.events) {
		if e.Kind == op.EventDone && e.Step == last && e.Text != "" {
			d := component.NewDoc(s.Theme, s.Area.W)
			d.Fact(theme.Text, "result", e.Text)
			return d.Lines()
		}
	}
	return nil
}

// Tell implements [screen.Teller].
func (p Page) Tell(since screen.Told, s screen.Scene) (said []string, next screen.Told, wants bool) {
	if p.heard.IsZero() {
		return nil, since, false
	}
	next = since
	if !since.Any { // the page itself has said how it stands
		next = screen.Told{Any: true, Progress: s.Now}
		if n := len(p.events); n > 0 {
			next.Seq = p.events[n-1].Seq
		}
	}
	for i, e := range p.events {
		if e.Seq <= next.Seq {
			continue
		}
		if e.Kind == op.EventProgress {
			if s.Now.Sub(next.Progress) < progressPace {
				if i == len(p.events)-1 { // it is told when it is time, unless there is something newer
					break
				}
				next.Seq = e.Seq
				continue
			}
			next.Progress = s.Now
		}
		said, next.Seq = append(said, p.telling(i)), e.Seq
	}
	if shut := p.shutOut(); !shut.IsZero() && !p.view.Run.State.Ended() && s.Now.Sub(next.Progress) >= progressPace {
		said, next.Progress = append(said, "clients are shut out of "+p.view.Run.Instance+" for "+seconds(s.Now.Sub(shut))), s.Now
	}
	moment := p.moment(s.Now)
	if moment != next.Wants {
		next.Wants, wants = moment, moment != "" && !p.view.Run.State.Ended()
		if since.Any && moment != "" {
			said = append(said, p.stands(s)...)
		}
	}
	return said, next, wants
}

// idleFor is how long nobody has to work on a run before a person is asked: one that was just begun is picked up in less.
const idleFor = 10 * time.Second

// moment names that at which a person is wanted, or at which the run has ended; empty while it goes on.
func (p Page) moment(now time.Time) string {
	r := p.view.Run
	if r.State.Ended() || r.State == state.Gate || r.State == state.Parked || op.Idle(r) && now.Sub(r.Updated) >= idleFor {
		return string(r.State) + " " + r.Step
	}
	return ""
}

// stands is how the run stands, as the page would say it.
func (p Page) stands(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	p.standing(d, p.view.Run, s.Now, true)
	return d.Lines()
}

// telling is an event as a sentence.
func (p Page) telling(i int) string {
	e := p.events[i]
	step := e.Step
	if p.view.Plan != nil {
		if n := slices.IndexFunc(p.view.Plan.Steps, func(st op.StepInfo) bool { return st.Name == e.Step }); n >= 0 {
			step = fmt.Sprintf("step %d of %d, %s", n+1, len(p.view.Plan.Steps), cmp.Or(p.view.Plan.Steps[n].Title, e.Step))
		}
	}
	about := strings.TrimSuffix(": "+text.Clean(e.Text), ": ")
	switch e.Kind {
	case op.EventStep:
		return step + ": begins"
	case op.EventDone:
		return step + ": done" + p.after(i) + about
	case op.EventFailed:
		return step + ": failed" + p.after(i) + about
	case op.EventProgress:
		return cmp.Or(text.Clean(e.Text), step)
	case op.EventEnded:
		return "the run has ended" + about
	case op.EventParked, op.EventGate:
		return "it waits for a person" + about
	}
	return strings.TrimSuffix(strings.TrimSpace(e.Kind+" "+e.Step)+about, ": ")
}

// after is how long the step of an event took, by the event of its beginning.
func (p Page) after(i int) string {
	for _, e := range slices.Backward(p.events[:i]) {
		if e.Kind == op.EventStep && e.Step == p.events[i].Step {
			return " after " + span(p.events[i].At.Sub(e.At))
		}
	}
	return ""
}
