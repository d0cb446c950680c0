package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

func newUpgradeRollbackCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	reason := ""
	cmd := &cobra.Command{
		Use: "rollback -e ENV INSTANCE", Short: "Return to the old instance",
		Long: `Before clients were switched the run is undone: what it made is removed, and writers are let in again. Afterwards writers are kept out of the new
instance, what they wrote there is brought back where the old one follows it (an upgrade with --catch-up), and clients are switched back. Where
nothing brings writes back, --lose-writes has to say that they may be lost; the plan says what they are. The new instance is then kept, closed.

It can be had until "dbops upgrade cleanup". Typed again it goes on with a rollback that was interrupted or parked; --plan says with what. --detach and
--out are for a rollback that is a run of its own, after the switch.
` + changeStatuses,
		Example: "  dbops upgrade rollback -e staging main --plan\n  dbops upgrade rollback -e staging main --yes\n  dbops upgrade rollback -e prod billing --confirm billing --lose-writes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUpgradeRollback(cmd.Context(), c, o, args[0], reason)
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().BoolVar(&o.loseWrites, "lose-writes", false, "go back though what was written since the switch is lost")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the audit log")
	o.add(cmd)
	return cmd
}

func runUpgradeRollback(ctx context.Context, c *cli, o *upgradeOptions, instance, reason string) error {
	if err := rollbackFlags(ctx, c, o); err != nil {
		return err
	}
	back, found, err := openRollback(ctx, c, o.env, instance)
	anew := back.State == state.Parked && o.loseWrites // which is another plan
	if err == nil && found && !anew {
		err = o.onlyNew("go on with run " + back.ID)
	}
	switch {
	case err != nil:
		return err
	case found && o.plan:
		return c.planOn(ctx, back, anew)
	case found && back.State != state.Parked: // it was killed, or waits, or somebody works on it
		return runRunsResume(ctx, c, back.ID, o.key)
	case found:
		d := &decideOptions{run: back.ID, verb: string(state.Retry), reason: reason}
		if anew {
			d.verb = string(state.Abandon)
		}
		d.yes, d.confirm, d.key, d.goesBack = o.yes, o.confirm, o.key, anew
		if err := runRunsDecide(ctx, c, d); !anew || fault.KindOf(err) != fault.Failed && err != nil {
			return err
		}
	}
	run, err := lastUpgrade(ctx, c, o.env, instance)
	if err != nil {
		return err
	}
	if !run.State.Ended() {
		switched, err := beyondSwitch(ctx, c, run, o.loseWrites)
		if err != nil {
			return err
		}
		if !switched {
			if err := o.onlyNew("take run " + run.ID + " back"); err != nil {
				return err
			}
		}
		if run.State == state.Undoing && o.plan {
			return c.planUndo(ctx, run, resume, false)
		}
		if run.State == state.Undoing { // it was killed, or somebody else works on it
			return runRunsResume(ctx, c, run.ID, o.key)
		}
		verb := state.UndoRun
		if run.State == state.Parked && !slices.Contains(run.Verbs, string(state.UndoRun)) && slices.Contains(run.Verbs, string(state.Retry)) && !switched {
			verb = state.Retry // of an undo that failed half-way
		}
		if switched { // from here on it is an operation of its own, which says what it costs
			verb = state.Abandon
		}
		if o.plan && o.out != "" { // what is planned then depends on how it is ended
			return fault.Newf(fault.Usage, "read the flags", "--out has nothing to save before run %s has ended", run.ID).Hint("leave --out out")
		}
		if o.plan {
			return c.planUndo(ctx, run, verb, switched)
		}
		if switched {
			if err := mayGoBack(ctx, c, o, instance, run); err != nil {
				return err
			}
		}
		d := &decideOptions{run: run.ID, verb: string(verb), reason: reason}
		d.yes, d.confirm, d.key, d.goesBack = o.yes, o.confirm, o.key, switched
		err = stopFirst(runRunsDecide(ctx, c, d), run)
		if !switched || fault.KindOf(err) != fault.Failed && err != nil {
			return err
		}
	}
	return c.change(ctx, o.changeFlags, app.Change{
		Environment: o.env, Instance: instance, Kind: upgrade.RollbackKind, Request: upgrade.RollbackRequest{Run: run.ID, LoseWrites: o.loseWrites},
	})
}

// rollbackFlags refuses what no way back can mean, before anything is done.
func rollbackFlags(ctx context.Context, c *cli, o *upgradeOptions) error {
	if o.out != "" && !o.plan {
		return fault.Newf(fault.Usage, "read the flags", "--out needs --plan")
	}
	if !o.detach {
		return nil
	}
	a, engine, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	return o.mayDetach(engine, "go back")
}

// onlyNew refuses the flags of a new run where one that is there is worked on.
func (o *upgradeOptions) onlyNew(what string) error {
	for _, f := range []struct {
		flag  string
		given bool
	}{{"--detach", o.detach}, {"--out", o.out != ""}} {
		if f.given {
			return fault.Newf(fault.Usage, what, "%s is for a new run, and this one is there: it is worked on here, and saves no plan", f.flag).Hint("nothing was changed: leave %s out", f.flag)
		}
	}
	return nil
}

// stopFirst says how the way back goes on that was refused because somebody works on the run.
func stopFirst(err error, run state.Run) error {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind == fault.Usage && run.Alive && run.State == state.Running {
		return f.Hint("dbops runs cancel %s stops its step; then dbops upgrade rollback -e %s %s", run.ID, run.Environment, run.Instance)
	}
	return err
}

// openRollback is a rollback of an instance that has not ended.
func openRollback(ctx context.Context, c *cli, env, instance string) (r state.Run, found bool, err error) {
	a, err := c.app()
	if err != nil {
		return r, false, err
	}
	defer a.Close()
	all, err := a.Upgrades(ctx, env, instance)
	for _, one := range all {
		if one.Kind == upgrade.RollbackKind && !one.State.Ended() {
			return one, true, err
		}
	}
	return r, false, err
}

// mayGoBack refuses to abandon a run that could not be taken back then: with the plan of that, which says why.
func mayGoBack(ctx context.Context, c *cli, o *upgradeOptions, instance string, run state.Run) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	p, err := a.PlanChange(ctx, app.Change{
		Environment: o.env, Instance: instance, Kind: upgrade.RollbackKind, Request: upgrade.RollbackRequest{Run: run.ID, LoseWrites: o.loseWrites}, Key: c.sshKey(o.key),
	})
	if err != nil {
		return err
	}
	for _, f := range p.Blocked() {
		if f.Check == "lost-writes" {
			if err := c.present(p); err != nil {
				return err
			}
			return fault.Newf(fault.Blocked, p.Title, "%s: %s", f.Text, f.Evidence).Hint("%s; nothing was changed", f.Remedy)
		}
	}
	return nil
}

// beyondSwitch tells whether a run has switched clients, or some of them.
func beyondSwitch(ctx context.Context, c *cli, run state.Run, some bool) (bool, error) {
	a, err := c.app()
	if err != nil {
		return false, err
	}
	defer a.Close()
	report, err := a.UpgradeReport(ctx, run.ID)
	if err != nil {
		return false, err
	}
	return report.Switched(some), nil
}

// undoPlanJSON is dbops/undo-plan/v1.
type undoPlanJSON struct {
	Schema  string    `json:"schema"`
	Run     state.Run `json:"run"`
	Verb    string    `json:"verb"` // what it would be told
	Then    string    `json:"then,omitempty"`
	Effects []string  `json:"effects"` // in order
}

// resume is what a run is told that was interrupted, or that somebody works on.
const resume state.Verb = "resume"

// planUndo shows what a run that has not ended would be told, and what that leads to.
func (c *cli) planUndo(ctx context.Context, run state.Run, verb state.Verb, switched bool) error {
	return c.planTold(ctx, run, verb, switched, func(p *op.Plan, steps []state.Step) []string {
		if switched {
			return op.Effects(p, steps, verb)
		}
		return op.Effects(p, undoneYet(steps), state.UndoRun)
	})
}

// planOn shows how a rollback goes on, or begins anew.
func (c *cli) planOn(ctx context.Context, run state.Run, anew bool) error {
	verb := resume
	switch {
	case anew:
		verb = state.Abandon
	case run.State == state.Parked:
		verb = state.Retry
	}
	return c.planTold(ctx, run, verb, anew, func(p *op.Plan, steps []state.Step) []string {
		if anew {
			return op.Effects(p, steps, verb)
		}
		return ahead(p, steps)
	})
}

// ahead are the steps that are not done.
func ahead(p *op.Plan, steps []state.Step) (lines []string) {
	for _, s := range p.Steps {
		if !slices.ContainsFunc(steps, func(j state.Step) bool { return j.Phase == state.Do && j.Name == s.Name && j.State == state.StepDone }) {
			lines = append(lines, s.Title)
		}
	}
	return lines
}

// planTold shows what a run would be told, what that leads to, and whether it is taken back then by another one.
func (c *cli) planTold(ctx context.Context, run state.Run, verb state.Verb, then bool, effects func(*op.Plan, []state.Step) []string) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	p, err := e.PlanOf(ctx, run.PlanHash)
	if err != nil {
		return err
	}
	steps, err := e.Journal(ctx, run.ID)
	if err != nil {
		return err
	}
	out := undoPlanJSON{Schema: "dbops/undo-plan/v1", Run: run, Verb: string(verb), Effects: effects(p, steps)}
	if then {
		out.Then = upgrade.RollbackKind
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "run %s is %s: it would be told to %s%s\n", run.ID, runWord(run), verb, map[bool]string{true: ", and then be taken back", false: ""}[then])
	for _, line := range out.Effects {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	_, err = b.WriteTo(c.out)
	return err
}

// undoneYet leaves out of a journal what was undone already.
func undoneYet(steps []state.Step) []state.Step {
	return slices.DeleteFunc(slices.Clone(steps), func(s state.Step) bool {
		return slices.ContainsFunc(steps, func(u state.Step) bool { return u.Phase == state.Undo && u.Name == s.Name && u.State == state.StepDone })
	})
}
