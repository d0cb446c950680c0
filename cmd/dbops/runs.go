package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/availability"
	"dbops/internal/backup"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/runbook"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

func newRunsCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "See, resume and steer what changes",
		Long: `A run is one execution of a plan: a journal of steps. It survives whatever happens to the process that works on it, and goes on
with dbops runs resume, or with a worker of a team.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newRunsListCmd(c), newRunsShowCmd(c), newRunsWatchCmd(c), newRunsResumeCmd(c), newRunsCarryCmd(c), newRunsDecideCmd(c),
		newRunsVerbCmd(c, "cancel", state.Cancel, "Stop the step that runs", `The step stops, and the run waits for a decision: retry, undo or abandon. Status 0 says that it was told to, or was stopped.`),
		newRunsVerbCmd(c, "retry", state.Retry, "Take the step again that failed", `The step is taken again. It looks before it acts, so nothing is done twice.`),
		newRunsVerbCmd(c, "continue", state.Continue, "Pass a gate", `The run goes on with the step after the gate.`),
		newRunsVerbCmd(c, "abandon", state.Abandon, "End a run as it is", `Nothing more is done, and nothing is changed back. The instance is free again. Status 0 says that it is, although the run is then failed.`),
		newRunsVerbCmd(c, "undo", state.UndoRun, "Change back what a run changed", `The steps that can be undone are, in reverse order. Of a run that somebody works on, type dbops runs cancel first:
undo then waits, up to half a minute, until its step has stopped. One that was interrupted is stopped here.`))
	return cmd
}

type runsListOptions struct {
	env, instance string
	active        bool
}

func newRunsListCmd(c *cli) *cobra.Command {
	o := &runsListOptions{}
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: cobra.NoArgs,
		Example: "  dbops runs list --active\n  dbops runs list -e prod -o json",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runRunsList(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, false)
	cmd.Flags().StringVar(&o.instance, "instance", "", "only of this instance")
	cmd.Flags().BoolVar(&o.active, "active", false, "only those that have not ended")
	return cmd
}

// engine opens the app and its engine. The caller closes the app.
func (c *cli) engine(ctx context.Context) (*app.App, *op.Engine, error) {
	a, err := c.app()
	if err != nil {
		return nil, nil, err
	}
	e, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		_ = a.Close()
		return nil, nil, err
	}
	return a, e, nil
}

func runRunsList(ctx context.Context, c *cli, o *runsListOptions) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := e.Runs(ctx, state.RunFilter{Environment: o.env, Instance: o.instance, Active: o.active})
	if err != nil {
		return err
	}
	if len(all) == 0 { // runs outlive what dbops.yaml names
		if err := known(a, o.env, o.instance); err != nil {
			return err
		}
	}
	if c.json() {
		if all == nil {
			all = []state.Run{}
		}
		return printJSON(c.out, struct {
			Schema string      `json:"schema"`
			Runs   []state.Run `json:"runs"`
		}{"dbops/runs/v1", all})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.out, "no runs")
		return err
	}
	rows := make([][]string, len(all))
	for i, r := range all {
		rows[i] = []string{r.ID, r.Environment + "/" + r.Instance, runWord(r), r.Step, r.Title, stamp(r.Created), r.Requester}
	}
	return printTable(c.out, []string{"RUN", "INSTANCE", "STATE", "STEP", "WHAT", "SINCE", "BY"}, rows)
}

// known returns an error for an environment, or an instance of one or of any, that dbops.yaml does not name.
func known(a *app.App, env, instance string) error {
	all, err := a.Instances(env)
	if err != nil || instance == "" || slices.ContainsFunc(all, func(i app.Instance) bool { return i.Name == instance }) {
		return err
	}
	if env != "" {
		_, err := a.Target(env, instance)
		return err
	}
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = one.Environment + "/" + one.Name
	}
	return fault.Newf(fault.Usage, "", "there is no instance %q in dbops.yaml", instance).Hint("there are: %s", strings.Join(names, ", "))
}

// runWord is the state of a run as a person reads it.
func runWord(r state.Run) string {
	switch {
	case r.State == state.Parked || r.State == state.Gate:
		return "! " + string(r.State)
	case r.Interrupted():
		return "! interrupted"
	case r.State == state.Failed:
		return "x failed"
	default:
		return string(r.State)
	}
}

func newRunsShowCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "show RUN", Short: "Show a run with its journal", Args: takes("RUN"),
		Example: "  dbops runs show r1a2b3c4d5",
		RunE:    func(cmd *cobra.Command, args []string) error { return runRunsShow(cmd.Context(), c, args[0]) },
	}
}

// runJSON is dbops/run/v1.
type runJSON struct {
	Schema string `json:"schema"`
	state.Run
	Steps []stepJSON `json:"steps,omitempty"`
}

type stepJSON struct {
	state.Step
	Output json.RawMessage `json:"output,omitempty"`
}

func journalJSON(steps []state.Step) []stepJSON {
	out := make([]stepJSON, len(steps))
	for i, s := range steps {
		out[i] = stepJSON{s, s.Output}
	}
	return out
}

func runRunsShow(ctx context.Context, c *cli, id string) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := e.Run(ctx, id)
	if err != nil {
		return err
	}
	steps, err := e.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, runJSON{"dbops/run/v1", r, journalJSON(steps)})
	}
	parts, err := e.Runs(ctx, state.RunFilter{PartOf: r.ID, Limit: maxParts})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "RUN   %s  %s\n      %s/%s, %s, asked for by %s at %s\n", r.ID, r.Title, r.Environment, r.Instance, runWord(r), r.Requester,
		stamp(r.Created))
	if r.Actor != "" && r.Actor != r.Requester {
		fmt.Fprintf(&b, "      it goes by the word of %s\n", op.Actor{Name: r.Actor, Via: r.ActorVia})
	}
	if r.State == state.Running || r.State == state.Undoing {
		if sign := op.Sign(r); sign != "" {
			fmt.Fprintf(&b, "      %s\n", sign)
		}
	}
	if r.Problem != "" {
		fmt.Fprintf(&b, "      %s\n", oneBlock(r.Problem))
	}
	if hint := nextOf(r); hint != "" {
		fmt.Fprintf(&b, "      next: %s\n", hint)
	}
	if r.PartOf != "" {
		fmt.Fprintf(&b, "      it is a part of run %s, step %s: dbops runs show %s\n", r.PartOf, partStep(r), r.PartOf)
	}
	b.WriteString("\n")
	printJournal(&b, steps)
	printParts(&b, parts)
	if err := c.showWaiting(ctx, &b, e, r, steps); err != nil {
		return err
	}
	printEnd(&b, r, steps)
	if r.State == state.Done {
		c.printBack(ctx, &b, e, r)
	}
	_, err = b.WriteTo(c.out)
	return err
}

// nextOf is what to do about a run.
func nextOf(r state.Run) string {
	switch {
	case r.State == state.Gate:
		return gateHint(r)
	case len(r.Verbs) > 0:
		decide := fmt.Sprintf("dbops runs decide %s %s", r.ID, strings.Join(r.Verbs, "|"))
		if r.Hint != "" {
			decide = oneBlock(r.Hint) + "; then " + decide
		}
		return decide + upgrade.GoesBack(r)
	case r.Interrupted() && r.Kind == upgrade.RollbackKind: // which nothing undoes
		return fmt.Sprintf("dbops upgrade rollback -e %s %s, or dbops runs resume %s, goes on", r.Environment, r.Instance, r.ID)
	case r.Interrupted() && (r.Kind == upgrade.RunKind || r.Kind == upgrade.InPlaceKind): // undo is no way back once clients are switched
		return fmt.Sprintf("dbops runs resume %s goes on; dbops upgrade rollback -e %s %s goes back", r.ID, r.Environment, r.Instance)
	case r.Interrupted() && (r.Kind == upgrade.CleanupKind || r.Kind == runbook.Kind):
		return fmt.Sprintf("dbops runs resume %s goes on; dbops runs abandon %s leaves what was done", r.ID, r.ID)
	case r.Interrupted():
		return fmt.Sprintf("dbops runs resume %s goes on; dbops runs undo %s changes back, and abandon leaves, what was done", r.ID, r.ID)
	case r.State == state.Queued && !r.Alive:
		return "dbops runs resume " + r.ID
	case r.State == state.Failed:
		return oneBlock(r.Hint)
	case !r.State.Ended():
		if silent, left := r.Silent(); silent {
			return fmt.Sprintf("if that process is dead, in %s: dbops runs resume %s, or undo, or abandon", left.Round(time.Second), r.ID)
		}
		return "dbops runs watch " + r.ID
	}
	return ""
}

func printJournal(w io.Writer, steps []state.Step) {
	for _, s := range steps {
		mark, took := "->", ""
		switch s.State {
		case state.StepDone:
			mark = "ok"
		case state.StepFailed:
			mark = "x "
		case state.StepRunning:
		}
		if !s.Ended.IsZero() {
			took = s.Ended.Sub(s.Started).Round(time.Millisecond).String()
		}
		name := s.Name
		if s.Phase == state.Undo {
			name = "undo " + name
		}
		if s.Attempt > 1 {
			name = fmt.Sprintf("%s (attempt %d)", name, s.Attempt)
		}
		fmt.Fprintf(w, "  %s  %s  %-28s %s\n", stamp(s.Started), mark, name, took)
		if s.Problem != "" {
			fmt.Fprintf(w, "                %s\n", oneBlock(s.Problem))
		}
	}
}

// showWaiting shows the plans that a runbook's run waits to run, and what they lack.
func (c *cli) showWaiting(ctx context.Context, w io.Writer, e *op.Engine, r state.Run, steps []state.Step) error {
	for _, hash := range runbook.Waiting(r, steps) {
		p, err := e.PlanOf(ctx, hash)
		if err != nil {
			return err
		}
		fmt.Fprintln(w, "\n  it waits to run this plan:")
		c.showPlan(w, p)
		if p.Approvals == 0 {
			continue
		}
		all, err := e.Approvals(ctx, hash)
		if err != nil {
			return err
		}
		if len(all) > 0 {
			fmt.Fprintf(w, "      approval  %s: %s\n", all[0].ID, all[0].State)
		}
	}
	return nil
}

// maxParts is more runs than a runbook has.
const maxParts = 10_000

// partStep is the step of the run that a run is a part of.
func partStep(r state.Run) string {
	step, _, _ := strings.Cut(r.PartStep, ".")
	return step
}

// printParts lists the runs of which a run consists, the first one first.
func printParts(w io.Writer, parts []state.Run) {
	for _, p := range slices.Backward(parts) {
		fmt.Fprintf(w, "  part  %s  %s: %s, %s\n", p.ID, partStep(p), p.Title, runWord(p))
	}
}

// printEnd tells what a run that ended achieved.
func printEnd(w io.Writer, r state.Run, steps []state.Step) {
	if r.State != state.Done && r.State != state.Undone {
		return
	}
	fmt.Fprintf(w, "%s: %s, %s\n", r.ID, r.Title, r.State)
	for _, s := range steps {
		if s.Phase != state.Do || s.State != state.StepDone {
			continue
		}
		if isAvailability(r.Kind) && s.Name == availability.ReportStep {
			if report, err := availability.ReadReport(s.Output); err == nil { // the journal shows what cannot be read
				fmt.Fprintln(w, report.String())
			}
		}
	}
	if report, ok, err := backup.ReportOf(steps); err == nil && ok {
		printDrill(w, report)
	}
}

func isAvailability(kind string) bool {
	return kind == availability.SetKind || kind == availability.FailoverKind
}

func newRunsWatchCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "watch RUN", Short: "Follow a run that somebody works on", Args: takes("RUN"),
		Long:    "Follow a run without working on it. Ctrl-C ends the watching, not the run.\n" + changeStatuses,
		Example: "  dbops runs watch r1a2b3c4d5",
		RunE:    func(cmd *cobra.Command, args []string) error { return runRunsWatch(cmd.Context(), c, args[0]) },
	}
}

func runRunsWatch(ctx context.Context, c *cli, id string) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := e.Run(ctx, id)
	if err != nil {
		return err
	}
	return c.watch(ctx, e, r, 0)
}

// watch follows a run of which some events are known.
func (c *cli) watch(ctx context.Context, e *op.Engine, r state.Run, before int64) error {
	tell, told := c.teller(r.ID)
	r, err := e.Watch(ctx, r.ID, before, tell)
	told(r)
	if err != nil {
		return err
	}
	if r.State == state.Queued || r.Interrupted() && r.State != state.Parked && r.State != state.Gate {
		return fault.Newf(fault.Interrupted, "watch run "+r.ID, "nobody works on it").Hint("dbops runs resume %s", r.ID)
	}
	return c.concluded(ctx, e, r)
}

func newRunsResumeCmd(c *cli) *cobra.Command {
	key := ""
	cmd := &cobra.Command{
		Use: "resume RUN", Short: "Go on with a run that was interrupted", Args: takes("RUN"),
		Long: `Go on where a run's journal ends. A step in which its process died is taken again: it looks before it acts. The run uses the
credentials of the process that works on it, and the audit log has your name on what it does from then on.
` + changeStatuses,
		Example: "  dbops runs resume r1a2b3c4d5",
		RunE:    func(cmd *cobra.Command, args []string) error { return runRunsResume(cmd.Context(), c, args[0], key) },
	}
	addKeyFlag(cmd, &key)
	return cmd
}

func runRunsResume(ctx context.Context, c *cli, id, key string) error {
	a, e, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	r, err := e.Run(ctx, id)
	if err != nil {
		return err
	}
	before, err := eventsOf(ctx, e, r)
	if err != nil {
		return err
	}
	if op.Idle(r) {
		who, err := a.Identity(ctx, r.Environment, r.Instance, c.sshKey(key))
		if err != nil {
			return err
		}
		if err := e.Resume(ctx, r.ID, who); err != nil {
			return err
		}
	}
	return c.follow(ctx, e, r.ID, before)
}

// eventsOf is how many events a run has.
func eventsOf(ctx context.Context, e *op.Engine, r state.Run) (last int64, err error) {
	all, err := e.Events(ctx, r.ID, 0)
	if len(all) > 0 {
		last = all[len(all)-1].Seq
	}
	return last, err
}
