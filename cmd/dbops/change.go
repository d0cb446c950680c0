package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/runbook"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// changeFlags are those of every command that changes something.
type changeFlags struct {
	plan    bool
	out     string
	yes     bool
	confirm string
	detach  bool
	queue   string // of the workers that a run is left to; empty: the default
	key     string
}

const changeStatuses = `
Exit status: 0 done, or nothing to do; 1 failed; 2 usage or configuration; 3 blocked by a finding of the plan;
4 an approval or the confirmation is missing; 130 interrupted: dbops runs resume goes on.`

func (f *changeFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.plan, "plan", false, "show what would be done, and do nothing")
	fs.StringVar(&f.out, "out", "", "with --plan: save the plan to a file, for dbops apply")
	f.addRun(cmd)
}

// addRun adds the flags of running a plan.
func (f *changeFlags) addRun(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.yes, "yes", false, "do not ask; a protected environment needs --confirm as well")
	fs.StringVar(&f.confirm, "confirm", "", "the instance's name, for a protected environment")
	fs.BoolVar(&f.detach, "detach", false, "leave the run to the workers of a team, and return")
	addKeyFlag(cmd, &f.key)
}

func addKeyFlag(cmd *cobra.Command, key *string) {
	cmd.Flags().StringVar(key, "ssh-key", "", "be known by this SSH key (private, or public with the other half beside it or in the agent), by the allowed signers of dbops.yaml")
}

func (c *cli) sshKey(file string) sshsig.Key {
	if file == "" {
		return sshsig.Key{}
	}
	return sshsig.Key{File: file, AgentSocket: c.getenv("SSH_AUTH_SOCK")}
}

// change plans what somebody wants and, unless --plan stops there, runs it.
func (c *cli) change(ctx context.Context, f changeFlags, want app.Change) error {
	if c.capture != nil {
		*c.capture = append(*c.capture, want)
		return nil
	}
	if f.out != "" && !f.plan {
		return fault.Newf(fault.Usage, "read the flags", "--out needs --plan")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	want.Key = c.sshKey(f.key)
	if f.queue != "" {
		if _, err := a.Engine(ctx, app.EngineOptions{Queue: f.queue}); err != nil {
			return err
		}
		f.detach = !f.plan
	}
	p, err := a.PlanChange(ctx, want)
	if err != nil {
		return err
	}
	if f.plan {
		return c.planned(ctx, a, f, p)
	}
	if p.Nothing() && len(p.Blocked()) == 0 {
		return c.nothing(ctx, a, p)
	}
	if err := c.present(p); err != nil {
		return err
	}
	return c.run(ctx, a, f, p)
}

// present shows a plan before it is run: to a person, or as the first line of the JSON stream.
func (c *cli) present(p *op.Plan) error {
	if c.json() {
		return printJSON(c.out, planJSON{"dbops/plan-result/v1", p.Hash(), p})
	}
	c.showPlan(c.err, p)
	return nil
}

// planned ends a command with --plan.
func (c *cli) planned(ctx context.Context, a *app.App, f changeFlags, p *op.Plan) error {
	if c.json() {
		if err := printJSON(c.out, planJSON{"dbops/plan-result/v1", p.Hash(), p}); err != nil {
			return err
		}
	} else {
		c.showPlan(c.out, p)
	}
	if err := blocked(p); err != nil {
		return err
	}
	if f.out == "" || p.Nothing() {
		return nil
	}
	if err := op.Save(f.out, p); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "saved to %s: dbops apply %s\n", f.out, f.out)
	if p.Approvals == 0 {
		return nil
	}
	return c.request(ctx, a, p, p.Requester) // who made it a moment ago
}

// planJSON is dbops/plan-result/v1.
type planJSON struct {
	Schema string   `json:"schema"`
	Hash   string   `json:"hash"`
	Plan   *op.Plan `json:"plan"`
}

func blocked(p *op.Plan) error {
	b := p.Blocked()
	if len(b) == 0 {
		return nil
	}
	if i := slices.IndexFunc(b, func(f op.Finding) bool { return f.Passing }); i > 0 { // what is under way explains the others
		b[0] = b[i]
	}
	return fault.Newf(fault.Blocked, p.Title, "%s", b[0].Text).Hint("%s", b[0].Remedy)
}

// request asks others for their approval.
func (c *cli) request(ctx context.Context, a *app.App, p *op.Plan, who op.Actor) error {
	engine, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		return err
	}
	approval, err := engine.Request(ctx, p, who)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, approvalJSON{"dbops/approval/v1", approval, p})
	}
	fmt.Fprintf(c.err, "approval %s asked for, by %s, until %s: somebody else runs dbops approvals approve %s\n",
		approval.ID, approval.Requester, stamp(approval.Expires), approval.ID)
	return nil
}

// nothing ends a command whose plan changes nothing, unless a run that has not ended may change that.
func (c *cli) nothing(ctx context.Context, a *app.App, p *op.Plan) error {
	engine, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		return err
	}
	active, err := engine.Runs(ctx, state.RunFilter{Environment: p.Environment, Instance: p.Instance, Active: true})
	if err != nil {
		return err
	}
	if len(active) > 0 {
		return fault.Newf(fault.Blocked, p.Title, "it is so now, and run %s has not ended: %s", active[0].ID, active[0].Title).Hint("dbops runs show %s", active[0].ID)
	}
	if c.json() {
		return printJSON(c.out, planJSON{"dbops/plan-result/v1", p.Hash(), p})
	}
	_, err = fmt.Fprintf(c.out, "nothing to do: %s\n", p.Title)
	return err
}

// run gets what the plan needs (an answer, a name, an approval), and follows its run to the end.
func (c *cli) run(ctx context.Context, a *app.App, f changeFlags, p *op.Plan) error {
	if err := blocked(p); err != nil {
		return err
	}
	engine, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		return err
	}
	if err := f.mayDetach(engine, p.Title); err != nil {
		return err
	}
	if r, err := engine.Run(ctx, p.RunID()); err == nil && r.State.Ended() {
		return c.wasRun(ctx, engine, r)
	}
	if err := a.MayRun(p); err != nil {
		return err
	}
	who, err := a.Identity(ctx, p.Environment, p.Instance, c.sshKey(f.key))
	if err != nil {
		return err
	}
	if err := c.approved(ctx, a, engine, p, who); err != nil {
		return err
	}
	if err := c.confirmed(ctx, &f, p); err != nil {
		return err
	}
	r, again, err := engine.Submit(ctx, p, op.SubmitOptions{Actor: who, Confirm: f.confirm})
	if err != nil {
		return err
	}
	before := int64(0)
	if again {
		if before, err = eventsOf(ctx, engine, r); err != nil {
			return err
		}
		if !c.json() {
			fmt.Fprintf(c.err, "this plan has a run already: %s, %s\n", r.ID, runWord(r))
		}
	}
	if f.detach {
		return c.detached(ctx, engine, r)
	}
	return c.follow(ctx, engine, r.ID, before)
}

// mayDetach refuses to leave a run to workers that nobody has.
func (f *changeFlags) mayDetach(engine *op.Engine, what string) error {
	if !f.detach || engine.Store().Team() {
		return nil
	}
	flag := "--detach"
	if f.queue != "" {
		flag = "--on"
	}
	return fault.Newf(fault.Usage, what, "%s leaves a run to the workers of a team, and the state is a file of one person, which has none", flag).
		Hint("nothing was begun: leave %s out; a team shares its state in PostgreSQL: state: postgres://... in dbops.yaml", flag)
}

// wasRun ends the second run of a plan, which changes nothing.
func (c *cli) wasRun(ctx context.Context, engine *op.Engine, r state.Run) error {
	if !c.json() {
		fmt.Fprintf(c.err, "this plan was run at %s: %s, %s. Nothing was done now; for the same change again make a new plan\n", stamp(r.Ended), r.ID, r.State)
	}
	return c.concluded(ctx, engine, r)
}

// approved asks for the approval of a plan that needs one and has none.
func (c *cli) approved(ctx context.Context, a *app.App, engine *op.Engine, p *op.Plan, who op.Actor) error {
	if p.Approvals == 0 {
		return nil
	}
	if _, err := engine.Run(ctx, p.RunID()); err == nil {
		return nil // it was approved, and has a run
	}
	approval, err := engine.Request(ctx, p, who)
	if err != nil {
		return err
	}
	if approval.State == state.Requested {
		if err := c.request(ctx, a, p, who); err != nil {
			return err
		}
		return fault.Newf(fault.Unapproved, p.Title, "it needs the approval of somebody else").Hint("when it is approved: dbops apply %s", approval.ID)
	}
	return nil
}

// confirmed asks for the name, or a yes.
func (c *cli) confirmed(ctx context.Context, f *changeFlags, p *op.Plan) error {
	want, question := "yes", "Type yes to go on: "
	if p.Protected {
		want, question = p.Instance, fmt.Sprintf("%s is PROTECTED. Type the instance's name to go on: ", p.Environment)
		if f.confirm != "" {
			return nil // Submit compares
		}
	} else if f.yes || f.confirm == p.Instance {
		return nil
	}
	if !terminal(c.in) || !terminal(c.err) {
		hint := "--yes"
		if p.Protected {
			hint = "--confirm " + p.Instance
		}
		return fault.Newf(fault.Unapproved, p.Title, "nobody is there to confirm it").Hint("in a script give %s", hint)
	}
	fmt.Fprint(c.err, question)
	answer, err := readLine(ctx, c.in)
	if err != nil {
		return fault.New(fault.Interrupted, p.Title, err).Hint("nothing was changed")
	}
	if answer != want {
		return fault.Newf(fault.Unapproved, p.Title, "%q is not %q", answer, want).Hint("nothing was changed")
	}
	if p.Protected {
		f.confirm = answer
	}
	return nil
}

// readLine reads a line, unless ctx ends first.
func readLine(ctx context.Context, in io.Reader) (string, error) {
	type read struct {
		line string
		err  error
	}
	lines := make(chan read, 1)
	go func() { // ends with the process if nobody answers
		line, err := bufio.NewReader(in).ReadString('\n')
		lines <- read{strings.TrimSpace(line), err}
	}()
	select {
	case r := <-lines:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (c *cli) detached(ctx context.Context, engine *op.Engine, r state.Run) error {
	served, err := engine.HandOver(ctx, r.ID)
	if err != nil {
		return err
	}
	if !served {
		fmt.Fprintf(c.err, "no worker serves the queue %s now: the run begins when one does\n", r.Queue)
	}
	if c.json() {
		return printJSON(c.out, runJSON{"dbops/run/v1", r, nil})
	}
	_, err = fmt.Fprintf(c.out, "%s: left to the workers; dbops runs watch %s\n", r.ID, r.ID)
	return err
}

// follow works on a run of which some events are known, or watches it, until it ends or waits for a person.
func (c *cli) follow(ctx context.Context, engine *op.Engine, id string, before int64) error {
	r, err := c.attach(ctx, engine, id, before)
	if err != nil {
		return err
	}
	return c.concluded(ctx, engine, r)
}

// attach brings a run on and shows what is new of it.
func (c *cli) attach(ctx context.Context, engine *op.Engine, id string, before int64) (state.Run, error) {
	if !c.json() && before > 0 {
		fmt.Fprintf(c.err, "%d lines went before: dbops runs show %s\n", before, id)
	}
	tell, told := c.teller(id)
	r, err := engine.Attach(ctx, id, before, tell)
	told(r)
	return r, err
}

// teller shows the events of a run. What a run ends or waits with is left to the error that says so at the end: told, with the run as it is then,
// shows what no error will say.
func (c *cli) teller(id string) (tell func(state.Event), told func(state.Run)) {
	if c.json() {
		return func(e state.Event) { _ = printJSON(c.out, eventJSON{"dbops/run-event/v1", id, e}) }, func(state.Run) {}
	}
	var held []state.Event // a failure, and what it led to
	show := func(problem string) {
		for _, e := range held {
			if problem != "" {
				e.Text = orText(strings.TrimSuffix(strings.TrimSuffix(e.Text, problem), ": "), map[string]string{op.EventFailed: "failed", op.EventParked: "parked"}[e.Kind])
			}
			fmt.Fprintln(c.err, eventLine(e))
		}
		held = nil
	}
	tell = func(e state.Event) {
		follows := len(held) > 0 && (e.Kind == op.EventParked || e.Kind == op.EventEnded) && strings.HasSuffix(e.Text, held[0].Text)
		if !follows {
			show("")
		}
		if held = append(held, e); !follows && e.Kind != op.EventFailed {
			show("")
		}
	}
	return tell, func(r state.Run) {
		if r.State != state.Parked && r.State != state.Failed {
			r.Problem = ""
		}
		show(r.Problem)
	}
}

// eventJSON is dbops/run-event/v1.
type eventJSON struct {
	Schema string `json:"schema"`
	Run    string `json:"run"`
	state.Event
}

func eventLine(e state.Event) string {
	mark := map[string]string{
		op.EventDone: "  ok", op.EventFailed: "  x", op.EventStep: "->", op.EventProgress: "  ..", op.EventParked: "!!", op.EventGate: "??",
	}[e.Kind]
	if mark == "" {
		mark = "  --"
	}
	return fmt.Sprintf("%s %-4s %s", e.At.Local().Format("15:04:05"), mark, oneBlock(strings.TrimSpace(e.Step+"  "+e.Text)))
}

// concluded shows how a run ended, or what it waits for.
func (c *cli) concluded(ctx context.Context, engine *op.Engine, r state.Run) error {
	if c.json() {
		if err := c.printRun(ctx, engine, r); err != nil {
			return err
		}
	}
	steps, err := engine.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	if err := runError(r); err != nil {
		return err
	}
	if !c.json() {
		var b bytes.Buffer
		printEnd(&b, r, steps)
		if r.State == state.Done {
			printUpgraded(ctx, &b, engine, r, steps)
			c.printBack(ctx, &b, engine, r)
		}
		if _, err := b.WriteTo(c.out); err != nil {
			return err
		}
	}
	return app.Judged(r, steps)
}

// runError is the error of a run that is not done.
func runError(r state.Run) error {
	what := "run " + r.ID + ": " + r.Title
	switch r.State {
	case state.Done, state.Undone:
		return nil
	case state.Gate:
		return fault.Newf(fault.Unapproved, what, "it waits: %s", r.Problem).Hint("%s", gateHint(r))
	case state.Parked:
		hint := fmt.Sprintf("dbops runs decide %s %s", r.ID, strings.Join(r.Verbs, "|"))
		if r.Hint != "" {
			hint = r.Hint + "; then " + hint
		}
		return fault.Newf(fault.Failed, what, "step %s: %s", r.Step, r.Problem).Hint("%s", hint+upgrade.GoesBack(r))
	case state.Cancelled:
		return fault.Newf(fault.Failed, what, "%s; nothing was changed", orText(r.Problem, "cancelled"))
	default:
		return fault.Newf(fault.Failed, what, "%s", orText(r.Problem, string(r.State))).Hint("%s", orText(r.Hint, "dbops runs show "+r.ID))
	}
}

// gateHint says how a run goes on that waits at its gate.
func gateHint(r state.Run) string {
	if r.Kind == upgrade.RunKind || r.Kind == upgrade.InPlaceKind {
		return fmt.Sprintf("dbops upgrade cutover -e %[1]s %[2]s goes on; dbops upgrade rollback -e %[1]s %[2]s takes it back", r.Environment, r.Instance)
	}
	if r.Kind == runbook.Kind {
		return fmt.Sprintf("dbops runs decide %s continue goes on; abandon ends the runbook here, and what is done stays", r.ID)
	}
	return fmt.Sprintf("dbops runs decide %s continue, or undo, or abandon", r.ID)
}

func orText(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

// stamp is a moment as people compare and paste it: local, with its offset. --at takes it.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05Z07:00") }

// printBack tells how to get back from what a run did.
func (c *cli) printBack(ctx context.Context, w io.Writer, engine *op.Engine, r state.Run) {
	p, err := engine.PlanOf(ctx, r.PlanHash)
	if err != nil || p.Back == "" { // of another version: it is not known
		return
	}
	steps, err := engine.Journal(ctx, r.ID)
	if err != nil {
		steps = nil // what the plan says is said without it
	}
	fmt.Fprintf(w, "back: %s\n", oneBlock(upgrade.BackOf(p, r.ID, steps)))
}
