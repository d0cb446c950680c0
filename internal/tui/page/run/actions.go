package run

import (
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
)

// resume is what is said to a run that was interrupted; it is no decision.
const resume state.Verb = "resume"

const (
	actLog    = "run.follow"
	actPane   = "run.pane"
	actCopy   = "run.copy"
	actTarget = "run.target"
	actVerb   = "run." // and the verb
)

// verbs are what can be said to a run, in the order in which they are offered.
var verbs = []struct {
	verb              state.Verb
	key, short, title string
}{
	{state.Continue, "c", "go on", "go on past the gate"},
	{resume, "c", "resume", "resume: have it worked on again"},
	{state.Retry, "t", "try again", "try the step again"},
	{state.Cancel, "x", "cancel", "cancel: stop its step where that is safe"},
	{state.UndoRun, "u", "undo", "undo what it changed"},
	{state.Abandon, "z", "abandon", "abandon: end it as it is"},
}

// unfit is why the run cannot be told a verb now; empty if it can.
func (p Page) unfit(v state.Verb, s screen.Scene) string {
	r := p.view.Run
	switch {
	case p.heard.IsZero():
		return "it is not known yet how it stands"
	case s.ReadOnly != "":
		return s.NoChange()
	case p.acting != "":
		return "it is being told to " + p.acting
	case v == resume:
		if !op.Idle(r) {
			return "nothing is interrupted"
		}
		return ""
	case v == state.UndoRun && p.view.Plan != nil && !slices.ContainsFunc(p.view.Plan.Steps, func(st op.StepInfo) bool { return st.Undo != "" }):
		return "none of its steps can be undone"
	case r.Interrupted() && len(r.Verbs) == 0 && (v == state.UndoRun || v == state.Abandon):
		return "" // its step is stopped first
	}
	if err := op.Fits(r, v); err != nil {
		return fault.Reason(err)
	}
	return ""
}

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	var out []screen.Action
	for _, v := range verbs {
		cli := []string{"dbops", "runs", "decide", p.id, string(v.verb)}
		if v.verb == resume || v.verb == state.Cancel {
			cli = []string{"dbops", "runs", string(v.verb), p.id}
		}
		out = append(out, screen.Action{ID: actVerb + string(v.verb), Title: v.title, Short: v.short, Key: screen.Keys(v.key), Write: true, CLI: cli, Off: p.unfit(v.verb, s)})
	}
	follow := ""
	if p.back == 0 && !p.held {
		follow = "it is followed"
	}
	other := "steps"
	if p.front == paneSteps {
		other = "log"
	}
	return append(append(
		out,
		screen.Action{ID: actLog, Title: "follow the run: its last step and the end of the log", Short: "follow", Key: screen.Keys("f"), Off: follow},
		screen.Action{ID: actPane, Title: "scroll the " + other + ": j, k and the other moves go there", Short: other, Key: screen.Keys("o")},
		screen.Action{ID: actCopy, Title: "copy the run's name", Short: "copy", Key: screen.Keys("y")},
		screen.Action{ID: actTarget, Title: "go to its instance", Short: "instance", Key: screen.Keys("i"), Off: p.noTarget(s)},
	), screen.Moves()...)
}

// move scrolls the part that the keys move.
func (p Page) move(step int, s screen.Scene) Page {
	if p.front == paneLog {
		p.back = min(max(0, p.back-step), max(0, len(p.events)-logLeast))
		return p
	}
	r := p.rooms(s, len(p.top(s)))
	l := p.steps(s.Theme, r.stepsW, s.Now)
	p.scroll = component.Scroll{Top: p.window(l, r.stepsH-1)}.By(step, len(l.lines), r.stepsH-1)
	p.held = true
	return p
}

func (p Page) noTarget(s screen.Scene) string {
	if _, ok := p.target(s); !ok {
		return "it is not configured here"
	}
	return ""
}

func (p Page) target(s screen.Scene) (app.Instance, bool) {
	i := slices.IndexFunc(s.Instances, func(i app.Instance) bool {
		return i.Environment == p.view.Run.Environment && i.Name == p.view.Run.Instance
	})
	if i < 0 {
		return app.Instance{}, false
	}
	return s.Instances[i], true
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		return p.move(step, s), screen.Out{}
	}
	switch id {
	case actLog:
		p.back, p.held = 0, false
	case actPane:
		p.front = paneLog + paneSteps - p.front
	case actCopy:
		return p, screen.Say(screen.Copy{What: "run", Text: p.id})
	case actTarget:
		at, _ := p.target(s)
		return p, screen.Say(screen.OpenTab{Instance: at, Tab: "Overview"})
	}
	for _, v := range verbs {
		if id == actVerb+string(v.verb) {
			return p, screen.Say(p.ask(v.verb))
		}
	}
	return p, screen.Out{}
}

// ask asks for the reason of a decision that the audit log should keep; what cannot be regretted is told at once.
func (p Page) ask(v state.Verb) tea.Msg {
	to := p.scope.ID
	switch v {
	case resume, state.Retry:
		return decideMsg{to, app.Decision{Verb: v}}
	default:
		run := p.view.Run
		return screen.Show{Dialog: dialog.NewForm(string(v)+" "+p.id, run.Environment, p.protected(), []dialog.Field{
			{Name: "reason", Label: "reason", Help: "why, for the audit log; it may stay empty"},
		}, func(a dialog.Answers) (tea.Msg, string) { return confirmMsg{to, v, a["reason"]}, "" })}
	}
}

func (p Page) protected() bool { return p.view.Plan == nil || p.view.Plan.Protected }

// sure tells what a decision leads to, and asks for the yes, or for the name.
func (p Page) sure(v state.Verb, reason string) screen.Dialog {
	run := p.view.Run
	body := []string{fmt.Sprintf("%s %s: %s.", v, p.id, run.Title)}
	if v != state.Cancel && p.view.Plan != nil {
		for _, e := range op.Effects(p.view.Plan, p.view.Steps, v) {
			body = append(body, "- "+e)
		}
	}
	d := decideMsg{p.scope.ID, app.Decision{Verb: v, Reason: reason, Confirm: run.Instance}}
	cli := []string{"dbops", "runs", "decide", p.id, string(v)}
	if v == state.Cancel {
		cli = []string{"dbops", "runs", "cancel", p.id}
		body = append(body, "Its step stops where that is safe; then the run waits for a decision.")
	}
	if reason != "" {
		cli = append(cli, "--reason", reason)
	}
	if p.protected() && v != state.Cancel {
		return dialog.NewTyped(string(v), run.Environment, run.Instance, body, cli, d)
	}
	return dialog.Confirm{
		Title: string(v), Environment: run.Environment, Protected: p.protected(), Alarm: v == state.Abandon || v == state.UndoRun,
		Body: body, CLI: cli, Yes: string(v), No: "leave it", Then: d,
	}
}
