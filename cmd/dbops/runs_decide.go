package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

type decideOptions struct {
	changeFlags
	run, verb, reason string

	goesBack bool // a rollback follows at once, which lets clients in
}

// add adds the flags of a decision.
func (o *decideOptions) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.reason, "reason", "", "why, for the audit log")
	fs.BoolVar(&o.yes, "yes", false, "do not ask; a protected environment needs --confirm as well")
	fs.StringVar(&o.confirm, "confirm", "", "the instance's name, for a protected environment")
	addKeyFlag(cmd, &o.key)
}

func newRunsDecideCmd(c *cli) *cobra.Command {
	o := &decideOptions{}
	cmd := &cobra.Command{
		Use:   "decide RUN retry|undo|continue|abandon",
		Short: "Say how a run goes on that waits for a person",
		Long: `A run waits when a step failed or was cancelled, and at a gate. retry takes the step again; undo changes back what was
changed; continue passes a gate; abandon ends the run as it is.
` + changeStatuses,
		Example: `  dbops runs decide r1a2b3c4d5 retry
  dbops runs decide r1a2b3c4d5 undo --reason "the window closes"`,
		Args: takes("RUN", "retry|undo|continue|abandon"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.run, o.verb = args[0], args[1]
			return runRunsDecide(cmd.Context(), c, o)
		},
	}
	o.add(cmd)
	return cmd
}

func newRunsVerbCmd(c *cli, name string, verb state.Verb, short, long string) *cobra.Command {
	o := &decideOptions{verb: string(verb)}
	cmd := &cobra.Command{
		Use: name + " RUN", Short: short, Long: long + "\n" + changeStatuses, Args: takes("RUN"),
		Example: "  dbops runs " + name + " r1a2b3c4d5 --reason \"wrong instance\"",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.run = args[0]
			return runRunsDecide(cmd.Context(), c, o)
		},
	}
	o.add(cmd)
	return cmd
}

func runRunsDecide(ctx context.Context, c *cli, o *decideOptions) error {
	verbs := map[string]state.Verb{
		"retry": state.Retry, "undo": state.UndoRun, "continue": state.Continue, "abandon": state.Abandon, "cancel": state.Cancel,
	}
	verb, ok := verbs[o.verb]
	if !ok {
		return fault.Newf(fault.Usage, "read the arguments", "unknown decision %q", o.verb).Hint("want retry, undo, continue or abandon")
	}
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := e.Run(ctx, o.run)
	if err != nil {
		return err
	}
	if verb == state.UndoRun {
		if err := e.Undoable(ctx, r.ID); err != nil {
			return err
		}
	}
	if r, err = c.stopped(ctx, e, r, verb); err != nil {
		return err
	}
	// Its step is stopped first, where nobody does.
	stop := r.Interrupted() && len(r.Verbs) == 0 && (verb == state.UndoRun || verb == state.Abandon)
	if !stop {
		if err := op.Fits(r, verb); err != nil {
			return err
		}
	}
	who, err := a.Identity(ctx, r.Environment, r.Instance, c.sshKey(o.key))
	if err != nil {
		return err
	}
	if verb == state.UndoRun || verb == state.Abandon || verb == state.Continue {
		if err := c.sure(ctx, a, e, o, r, verb); err != nil {
			return err
		}
	}
	before, err := eventsOf(ctx, e, r)
	if err != nil {
		return err
	}
	if stop {
		if err := e.Tell(ctx, r.ID, state.Cancel, who, o.reason); err != nil {
			return err
		}
		if stopped, err := e.Attach(ctx, r.ID, 0, nil); err != nil || stopped.State.Ended() { // before anything was changed
			return c.decided(ctx, e, stopped, o, err)
		}
	}
	err = e.Tell(ctx, r.ID, verb, who, o.reason)
	if told, ok := errors.AsType[*op.ToldError](err); ok {
		fmt.Fprintf(c.err, "%s: following run %s\n", told, r.ID)
	} else if err != nil {
		return err
	}
	if verb == state.Cancel && !r.Interrupted() {
		return c.cancelled(ctx, e, r)
	}
	r, err = c.attach(ctx, e, r.ID, before)
	return c.decided(ctx, e, r, o, err)
}

// stopping is how long a decision waits for a step that was told to stop.
const stopping = 30 * time.Second

// stopped waits for a run that somebody has cancelled a moment ago, and now wants to decide about.
func (c *cli) stopped(ctx context.Context, e *op.Engine, r state.Run, verb state.Verb) (state.Run, error) {
	if verb == state.Cancel || op.Fits(r, verb) == nil || !r.Alive {
		return r, nil
	}
	told, err := e.Stopped(ctx, r.ID, 0)
	if fault.KindOf(err) != fault.Busy {
		return told, err
	}
	fmt.Fprintf(c.err, "its step %s was told to stop; waiting for that, up to %s\n", told.Step, stopping)
	return e.Stopped(ctx, r.ID, stopping)
}

// decided ends a decision about a run: it is well if what was asked for happened.
func (c *cli) decided(ctx context.Context, e *op.Engine, r state.Run, o *decideOptions, err error) error {
	if err != nil {
		return err
	}
	verb := state.Verb(o.verb)
	var text string
	switch {
	case verb == state.Abandon && r.State == state.Failed:
		text = "is ended as it is; nothing was changed back"
		steps, err := e.Journal(ctx, r.ID)
		if err != nil {
			return err
		}
		if out := shutOut(r, steps); out != "" && !o.goesBack {
			fmt.Fprintln(c.err, out)
		}
		if err := c.openParts(ctx, e, r); err != nil {
			return err
		}
	case (verb == state.Cancel || verb == state.Abandon || verb == state.UndoRun) && r.State == state.Cancelled:
		text = "is cancelled; nothing was changed"
	case verb == state.Cancel && r.State == state.Parked:
		text = fmt.Sprintf("is stopped; then decide: dbops runs decide %s %s", r.ID, strings.Join(r.Verbs, "|"))
	default:
		return c.concluded(ctx, e, r)
	}
	if c.json() {
		return c.printRun(ctx, e, r)
	}
	_, err = fmt.Fprintf(c.out, "%s %s\n", r.ID, text)
	return err
}

// openParts names the runs of an abandoned runbook that have not ended: they hold their instances.
func (c *cli) openParts(ctx context.Context, e *op.Engine, r state.Run) error {
	parts, err := e.Runs(ctx, state.RunFilter{PartOf: r.ID, Active: true, Limit: maxParts})
	for _, p := range parts {
		fmt.Fprintf(c.err, "! its part %s is open still, %s, and holds %s/%s: dbops runs show %s\n", p.ID, runWord(p), p.Environment, p.Instance, p.ID)
	}
	return err
}

// shutOut says of a run that shuts clients out how they get in again; empty: it does not.
func shutOut(r state.Run, steps []state.Step) string {
	since := upgrade.ShutOutSince(r.Kind, steps)
	if since.IsZero() {
		return ""
	}
	return fmt.Sprintf("! clients are shut out since %s, and stay so: dbops upgrade rollback -e %s %s lets them in again", stamp(since), r.Environment, r.Instance)
}

// printRun writes a run with its journal as JSON.
func (c *cli) printRun(ctx context.Context, e *op.Engine, r state.Run) error {
	steps, err := e.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	return printJSON(c.out, runJSON{"dbops/run/v1", r, journalJSON(steps)})
}

// cancelled ends runs cancel of a run that somebody works on, or that nobody has begun.
func (c *cli) cancelled(ctx context.Context, e *op.Engine, r state.Run) error {
	r, err := e.Run(ctx, r.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, runJSON{"dbops/run/v1", r, nil})
	}
	if r.State.Ended() {
		_, err = fmt.Fprintf(c.out, "%s is cancelled; nothing was changed\n", r.ID)
	} else {
		_, err = fmt.Fprintf(c.out, "%s is told to stop its step (%s); then decide: dbops runs show %s\n", r.ID, op.Sign(r), r.ID)
	}
	return err
}

// sure shows what a decision does, and gets the yes that the environment wants.
func (c *cli) sure(ctx context.Context, a *app.App, e *op.Engine, o *decideOptions, r state.Run, verb state.Verb) error {
	p, err := e.PlanOf(ctx, r.PlanHash)
	if err != nil {
		return err
	}
	steps, err := e.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	wrong := func() error {
		return fault.Newf(fault.Unapproved, string(verb)+" "+r.ID, "the confirmed name %q is not %q", o.confirm, p.Instance).Hint("--confirm %s", p.Instance)
	}
	if p.Protected && o.confirm != "" && o.confirm != p.Instance {
		return wrong()
	}
	if !c.json() {
		if verb == state.Continue {
			if err := c.showWaiting(ctx, c.err, e, r, steps); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.err, "%s  %s of %s: %s\n", strings.ToUpper(string(verb)), r.ID, p.Target, p.Title)
		for _, line := range op.Effects(p, steps, verb) {
			fmt.Fprintf(c.err, "  %s\n", line)
		}
		if out := shutOut(r, steps); out != "" && verb == state.Abandon && !o.goesBack {
			fmt.Fprintf(c.err, "  %s\n", out)
		}
	}
	if verb == state.Continue && r.Kind == certs.RotateKind {
		c.warnOfFolders(ctx, a, r.Environment, r.Instance)
	}
	if err := c.confirmed(ctx, &o.changeFlags, p); err != nil {
		return err
	}
	if p.Protected && o.confirm != p.Instance {
		return wrong()
	}
	return nil
}
