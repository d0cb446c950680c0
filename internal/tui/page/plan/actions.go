package plan

import (
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/dialog"
	"dbops/internal/tui/page/internal/begin"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

const (
	actRun   = "plan.run"
	actAgain = "plan.again"
	actSave  = "plan.save"
	actCopy  = "plan.copy"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	loading := ""
	switch {
	case p.want.Made != nil:
		loading = "it is one of several: make it again there"
	case p.plan.Loading():
		loading = "the plan is being made"
	}
	run, save := p.unready(s), s.NoFiles()
	if made := p.Made(); save == "" && (made == nil || p.plan.Loading()) {
		save = "there is no plan yet"
	}
	short := "run it"
	if made := p.Made(); made != nil && made.Approvals > 0 && p.own(s) == nil {
		short = "ask for approval, or run it"
	}
	return append([]screen.Action{
		{ID: actRun, Title: "run this plan", Short: short, Key: screen.Keys("R"), Write: true, CLI: p.want.CLI, Off: run},
		{ID: actCopy, Title: "copy the command line", Short: "copy CLI", Key: screen.Keys("y")},
		{ID: actSave, Title: "save the plan to a file, for dbops apply", Short: "save", Key: screen.Keys("s"), Off: save},
		{ID: actAgain, Title: "make the plan again", Short: "plan again", Key: screen.Keys("r"), Off: loading, CLI: append(p.cli(), "--plan")},
	}, screen.Moves()...)
}

// cli is the command line that runs the same.
func (p Page) cli() []string { return p.want.CLI[:len(p.want.CLI):len(p.want.CLI)] }

// unready is why the plan cannot be run; empty if it can.
func (p Page) unready(s screen.Scene) string {
	made := p.Made()
	switch {
	case s.ReadOnly != "":
		return s.NoChange()
	case p.plan.Loading():
		return "the plan is being made"
	case made == nil || p.plan.Err() != nil:
		return "there is no plan"
	case len(made.Blocked()) > 0:
		return "it is blocked: " + made.Blocked()[0].Text
	case made.Nothing():
		return "there is nothing to do"
	case refused(p.own(s)):
		return "it was refused by " + By(*p.own(s)) + ": another plan has to be made"
	case !s.Now.Before(made.Expires):
		return "it has expired: make it again"
	case !p.begins.IsZero():
		return "it is being begun"
	}
	return ""
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		p.scroll = p.scroll.By(step, len(p.lines(s)), s.Area.H)
		return p, screen.Out{}
	}
	switch id {
	case actRun:
		return p, screen.Say(screen.Show{Dialog: begin.Ask(p.scope.ID, p.Made(), p.want.CLI, p.asking(s))})
	case actAgain:
		return p.read(s)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "command line", Text: text.Shell(p.want.CLI)})
	case actSave:
		made, to := p.Made(), p.scope.ID
		return p, screen.Say(screen.Show{Dialog: dialog.NewForm("Save the plan", made.Environment, made.Protected, []dialog.Field{
			{Name: "file", Label: "file", Value: "plan-" + made.RunID() + ".json", Need: true, Help: "dbops apply FILE runs it later, here or elsewhere, as it is"},
		}, func(a dialog.Answers) (tea.Msg, string) { return saveMsg{to, a["file"]}, "" })})
	}
	return p, screen.Out{}
}
