package approvals

import (
	"fmt"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/state"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/page/internal/begin"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

const (
	actApprove = "approval.approve"
	actRefuse  = "approval.refuse"
	actRun     = "approval.run"
	actTheRun  = "approval.run-open"
	actTarget  = "approval.target"
	actAgain   = "approval.refresh"
)

// unfit is why nothing can be said to the approval now; empty if it can.
func (p One) unfit(s screen.Scene) string {
	switch _, known := p.now.Value(); {
	case !known:
		return "it is not known yet"
	case s.ReadOnly != "":
		return s.NoChange()
	case p.acting != "":
		return "it is being told: " + p.acting
	}
	return ""
}

// closed is why it takes no votes; empty if it does.
func (p One) closed(s screen.Scene) string {
	w, _ := p.now.Value()
	a := w.Approval
	switch why := p.unfit(s); {
	case why != "":
		return why
	case s.NoVotes != "":
		return "nobody votes from here: " + s.NoVotes
	case a.State == state.Used:
		return "its plan was run: " + a.Run
	case a.State != state.Requested:
		return "it is " + string(a.State) + " already"
	case a.Expired || !s.Now.Before(a.Expires):
		return "it has expired: who wants the change makes the plan again"
	}
	return ""
}

// unready is why its plan cannot be run; empty if it can.
func (p One) unready(s screen.Scene) string {
	w, _ := p.now.Value()
	a := w.Approval
	switch why := p.unfit(s); {
	case why != "":
		return why
	case a.State == state.Requested:
		return fmt.Sprintf("%d of %s approved it", yes(a), text.Count(a.Required, "other"))
	case a.State == state.Used:
		return "it was run: " + a.Run
	case a.State != state.Approved:
		return "it is " + string(a.State)
	case a.Expired || !s.Now.Before(a.Expires):
		return "its approval has expired: make the plan again"
	case w.Plan == nil:
		return "its plan is of another version of dbops"
	}
	return ""
}

// Actions implements [screen.Page].
func (p One) Actions(s screen.Scene) []screen.Action {
	w, _ := p.now.Value()
	closed := p.closed(s)
	approve, noRun, noTarget, loading := closed, "", "", ""
	if closed == "" && w.Plan == nil {
		approve = "its plan is of another version of dbops: it can only be refused"
	}
	if w.Approval.Run == "" {
		noRun = "it was not run"
	}
	if _, ok := p.target(s); !ok {
		noTarget = "it is not configured here"
	}
	if p.now.Loading() {
		loading = "it is being read"
	}
	return append([]screen.Action{
		{ID: actApprove, Title: "approve: say yes to exactly this plan", Short: "approve", Key: screen.Keys("v"), Write: true, CLI: p.voteCLI(true, ""), Off: approve},
		{ID: actRefuse, Title: "refuse: say no", Short: "refuse", Key: screen.Keys("x"), Write: true, CLI: p.voteCLI(false, ""), Off: closed},
		{ID: actRun, Title: "run it, as it was approved", Short: "run it", Key: screen.Keys("R"), Write: true, CLI: p.runCLI(), Off: p.unready(s)},
		{ID: actTheRun, Title: "open its run", Short: "its run", Key: screen.Keys("enter"), CLI: []string{"dbops", "runs", "show", w.Approval.Run}, Off: noRun},
		{ID: actTarget, Title: "go to its instance", Short: "instance", Key: screen.Keys("i"), Off: noTarget},
		{ID: actAgain, Title: "read it now", Short: "refresh", Key: screen.Keys("r"), CLI: p.CLI(s), Off: loading},
		{ID: actCopy, Title: "copy the approval's name", Short: "copy name", Key: screen.Keys("y")},
	}, screen.Moves()...)
}

func (p One) voteCLI(approve bool, reason string) []string {
	cli := []string{"dbops", "approvals", verb(approve), p.id}
	if reason != "" {
		cli = append(cli, "--reason", reason)
	}
	return cli
}

func (p One) runCLI() []string {
	w, _ := p.now.Value()
	cli := []string{"dbops", "apply", p.id}
	if w.Plan != nil && w.Plan.Protected {
		cli = append(cli, "--confirm", w.Plan.Instance)
	}
	return cli
}

// Do implements [screen.Page].
func (p One) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		p.scroll = p.scroll.By(step, len(p.lines(s)), s.Area.H)
		return p, screen.Out{}
	}
	w, _ := p.now.Value()
	switch id {
	case actApprove, actRefuse:
		return p, screen.Say(screen.Show{Dialog: p.ask(id == actApprove, s)})
	case actRun:
		return p, screen.Say(screen.Show{Dialog: begin.Ask(p.scope.ID, w.Plan, p.runCLI(), "")})
	case actTheRun:
		return p, screen.Say(screen.OpenRun{ID: w.Approval.Run})
	case actTarget:
		at, _ := p.target(s)
		return p, screen.Say(screen.OpenTab{Instance: at, Tab: "Overview"})
	case actAgain:
		return p.read(s)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "approval", Text: p.id})
	}
	return p, screen.Out{}
}

// protected tells whether the name has to be typed; of a plan that cannot be read, what the configuration says.
func (p One) protected(s screen.Scene) bool {
	w, _ := p.now.Value()
	if w.Plan != nil {
		return w.Plan.Protected
	}
	return s.Protected(w.Approval.Environment)
}

// ask asks for the reason of a vote.
func (p One) ask(approve bool, s screen.Scene) screen.Dialog {
	w, _ := p.now.Value()
	to := p.scope.ID
	field := dialog.Field{Name: "reason", Label: "reason", Need: !approve, Help: "for the others and the audit log: what you looked at; it may stay empty"}
	if !approve {
		field.Help = "for who asked and the audit log: what has to be otherwise"
	}
	return dialog.NewForm(verb(approve)+" "+p.id, w.Approval.Environment, p.protected(s), []dialog.Field{field}, func(a dialog.Answers) (tea.Msg, string) {
		return wordMsg{to, approve, a["reason"]}, ""
	})
}

// sure tells what a vote means, and asks for the yes, or for the name.
func (p One) sure(m wordMsg, s screen.Scene) screen.Dialog {
	w, _ := p.now.Value()
	a := w.Approval
	body := []string{title(w) + "."}
	if m.approve {
		body = append(body, "Asked for by "+a.Requester+".", "Downtime: "+begin.Downtime(w.Plan)+".")
		if n := len(w.Plan.Findings); n > 0 {
			body = append(body, text.Count(n, "finding")+" in the plan: read them first.")
		}
		body = append(body, "Your name is written down with it. Who asked can run it then, once, until "+text.Stamp(a.Expires)+".")
	} else {
		body = append(body, a.Requester+" has to make another plan then. It cannot be taken back.")
	}
	cli := p.voteCLI(m.approve, m.reason)
	if m.approve && p.protected(s) {
		return dialog.NewTyped("approve "+p.id, a.Environment, a.Instance, body, cli, voteMsg(m))
	}
	return dialog.Confirm{
		Title: verb(m.approve) + " " + p.id, Environment: a.Environment, Protected: p.protected(s), Body: body, CLI: cli, Yes: verb(m.approve), No: "leave it",
		Then: voteMsg(m),
	}
}
