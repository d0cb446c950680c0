package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/availability"
	"dbops/internal/backup"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
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
	cmd.AddCommand(newRunsListCmd(c), newRunsShowCmd(c), newRunsWatchCmd(c), newRunsResumeCmd(c), newRunsDecideCmd(c),
		newRunsVerbCmd(c, "cancel", state.Cancel, "Stop the step that runs", `The step stops, and the run waits for a decision: retry, undo or abandon.`),
		newRunsVerbCmd(c, "retry", state.Retry, "Take the step again that failed", `The step is taken again. It looks before it acts, so nothing is done twice.`),
		newRunsVerbCmd(c, "continue", state.Continue, "Pass a gate", `The run goes on with the step after the gate.`),
		newRunsVerbCmd(c, "abandon", state.Abandon, "End a run as it is", `Nothing more is done, and nothing is changed back. The instance is free again.`),
		newRunsVerbCmd(c, "undo", state.UndoRun, "Change back what a run changed", `The steps that can be undone are, in reverse order. The run must wait for a decision: cancel it first if a step runs.`))
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
		Use: "show RUN", Short: "Show a run with its journal", Args: cobra.ExactArgs(1),
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
	var b bytes.Buffer
	fmt.Fprintf(&b, "RUN   %s  %s\n      %s/%s, %s, asked for by %s at %s\n", r.ID, r.Title, r.Environment, r.Instance, runWord(r), r.Requester,
		stamp(r.Created))
	if r.Actor != "" && r.Actor != r.Requester {
		fmt.Fprintf(&b, "      it goes by the word of %s\n", op.Actor{Name: r.Actor, Via: r.ActorVia})
	}
	if r.Problem != "" {
		fmt.Fprintf(&b, "      %s\n", oneBlock(r.Problem))
	}
	if hint := nextOf(r); hint != "" {
		fmt.Fprintf(&b, "      next: %s\n", hint)
	}
	b.WriteString("\n")
	printJournal(&b, steps)
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
	case len(r.Verbs) > 0:
		decide := fmt.Sprintf("dbops runs decide %s %s", r.ID, strings.Join(r.Verbs, "|"))
		if r.Hint != "" {
			return oneBlock(r.Hint) + "; then " + decide
		}
		return decide
	case r.Interrupted() || r.State == state.Queued && !r.Alive:
		return "dbops runs resume " + r.ID
	case r.State == state.Failed:
		return oneBlock(r.Hint)
	case !r.State.Ended():
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

// judged is a finding where a run was done and what it found is bad.
func judged(r state.Run, steps []state.Step) error {
	report, ok, err := backup.ReportOf(steps)
	if err != nil || !ok || report.Met {
		return err
	}
	return fault.Newf(fault.Findings, r.Title, "%s", report.Text).Hint("dbops runs show %s", r.ID)
}

func newRunsWatchCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "watch RUN", Short: "Follow a run that somebody works on", Args: cobra.ExactArgs(1),
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
	tell := func(v state.Event) { fmt.Fprintln(c.err, eventLine(v)) }
	if c.json() {
		tell = func(v state.Event) { _ = printJSON(c.out, eventJSON{"dbops/run-event/v1", r.ID, v}) }
	}
	r, err = e.Watch(ctx, r.ID, 0, tell)
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
		Use: "resume RUN", Short: "Go on with a run that was interrupted", Args: cobra.ExactArgs(1),
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
	if op.Idle(r) {
		who, err := a.Identity(ctx, r.Environment, r.Instance, c.sshKey(key))
		if err != nil {
			return err
		}
		if err := e.Resume(ctx, r.ID, who); err != nil {
			return err
		}
	}
	return c.follow(ctx, e, r.ID)
}

type decideOptions struct {
	changeFlags
	run, verb, reason string
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
		Args: cobra.ExactArgs(2),
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
		Use: name + " RUN", Short: short, Long: long + "\n" + changeStatuses, Args: cobra.ExactArgs(1),
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
	who, err := a.Identity(ctx, r.Environment, r.Instance, c.sshKey(o.key))
	if err != nil {
		return err
	}
	if verb == state.UndoRun || verb == state.Abandon || verb == state.Continue {
		if err := c.sure(ctx, e, o, r, verb); err != nil {
			return err
		}
	}
	if r.Interrupted() && len(r.Verbs) == 0 && verb != state.Cancel && verb != state.Retry { // its step is stopped first, where nobody does
		if err := e.Tell(ctx, r.ID, state.Cancel, who, o.reason); err != nil {
			return err
		}
		if r, err = e.Attach(ctx, r.ID, 0, nil); err != nil {
			return err
		}
	}
	if err := e.Tell(ctx, r.ID, verb, who, o.reason); err != nil {
		return err
	}
	if verb == state.Cancel {
		return c.cancelled(ctx, e, r)
	}
	return c.follow(ctx, e, r.ID)
}

// cancelled ends runs cancel: a run that nobody works on is stopped here.
func (c *cli) cancelled(ctx context.Context, e *op.Engine, r state.Run) error {
	if r.Interrupted() {
		return c.follow(ctx, e, r.ID)
	}
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
		_, err = fmt.Fprintf(c.out, "%s is told to stop its step; then decide: dbops runs show %s\n", r.ID, r.ID)
	}
	return err
}

// sure shows what a decision does, and gets the yes that the environment wants.
func (c *cli) sure(ctx context.Context, e *op.Engine, o *decideOptions, r state.Run, verb state.Verb) error {
	p, err := e.PlanOf(ctx, r.PlanHash)
	if err != nil {
		return err
	}
	steps, err := e.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	if !c.json() {
		fmt.Fprintf(c.err, "%s  %s of %s: %s\n", strings.ToUpper(string(verb)), r.ID, p.Target, p.Title)
		for _, line := range effects(p, steps, verb) {
			fmt.Fprintf(c.err, "  %s\n", line)
		}
	}
	if err := c.confirmed(ctx, &o.changeFlags, p); err != nil {
		return err
	}
	if p.Protected && o.confirm != p.Instance {
		return fault.Newf(fault.Unapproved, string(verb)+" "+r.ID, "the confirmed name %q is not %q", o.confirm, p.Instance).Hint("--confirm %s", p.Instance)
	}
	return nil
}

// effects are what a decision leads to, by the run's plan and journal.
func effects(p *op.Plan, steps []state.Step, verb state.Verb) (lines []string) {
	begun := map[string]bool{}
	for _, s := range steps {
		if s.Phase == state.Do {
			begun[s.Name] = true
		}
	}
	switch verb {
	case state.Abandon:
		return []string{"nothing more is done, and nothing is changed back"}
	case state.UndoRun:
		for i := len(p.Steps) - 1; i >= 0; i-- {
			if s := p.Steps[i]; begun[s.Name] && s.Undo != "" {
				lines = append(lines, s.Undo)
			}
		}
	default:
		for _, s := range p.Steps {
			if !begun[s.Name] && !s.Gate {
				lines = append(lines, s.Title)
			}
		}
	}
	if len(lines) == 0 {
		lines = []string{"nothing is changed"}
	}
	return lines
}
