package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

func sprintf(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func newUpgradeCutoverCmd(c *cli) *cobra.Command {
	o := &decideOptions{verb: string(state.Continue)}
	env := ""
	cmd := &cobra.Command{
		Use: "cutover -e ENV INSTANCE", Short: "Pass the gate: shut writers out, bring the rest, switch clients",
		Long: `Give the word that the upgrade of an instance waits for at its gate, and work on it to its end.
` + changeStatuses,
		Example: "  dbops upgrade cutover -e staging main --yes\n  dbops upgrade cutover -e prod billing --confirm billing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := lastUpgrade(cmd.Context(), c, env, args[0])
			if err != nil {
				return err
			}
			if run.State != state.Gate {
				return fault.Newf(fault.Blocked, "cut over "+env+"/"+args[0], "run %s does not wait at its gate, it is %s", run.ID, runWord(run)).
					Hint("dbops upgrade status -e %s %s", env, args[0])
			}
			o.run = run.ID
			return runRunsDecide(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &env, true)
	o.add(cmd)
	return cmd
}

func lastUpgrade(ctx context.Context, c *cli, env, instance string) (state.Run, error) {
	a, err := c.app()
	if err != nil {
		return state.Run{}, err
	}
	defer a.Close()
	return a.LastUpgrade(ctx, env, instance)
}

func newUpgradeRollbackCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	reason := ""
	cmd := &cobra.Command{
		Use: "rollback -e ENV INSTANCE", Short: "Return to the old instance",
		Long: `Before clients were switched the run is undone: what it made is removed, and writers are let in again. Afterwards writers are kept out of the new
instance, what they wrote there is brought back where the old one follows it (an upgrade with --catch-up), and clients are switched back. Where
nothing brings writes back, --lose-writes has to say that they may be lost; the plan says what they are. The new instance is then kept, closed.

It can be had until "dbops upgrade cleanup".
` + changeStatuses,
		Example: "  dbops upgrade rollback -e staging main --yes\n  dbops upgrade rollback -e prod billing --confirm billing --lose-writes", Args: cobra.ExactArgs(1),
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
	back, found, err := openRollback(ctx, c, o.env, instance)
	switch {
	case err != nil:
		return err
	case found && back.State != state.Parked && !o.plan: // it was killed, or waits, or somebody works on it
		return runRunsResume(ctx, c, back.ID, o.key)
	case found && !o.plan:
		d := &decideOptions{run: back.ID, verb: string(state.Retry), reason: reason}
		if o.loseWrites { // which is another plan
			d.verb = string(state.Abandon)
		}
		d.yes, d.confirm, d.key = o.yes, o.confirm, o.key
		if err := runRunsDecide(ctx, c, d); !o.loseWrites || fault.KindOf(err) != fault.Failed && err != nil {
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
		if o.plan {
			_, err := fmt.Fprintf(c.out, "run %s is %s: it would be told to %s%s\n", run.ID, runWord(run), verb, map[bool]string{true: ", and then be taken back", false: ""}[switched])
			return err
		}
		if switched {
			if err := mayGoBack(ctx, c, o, instance, run); err != nil {
				return err
			}
		}
		d := &decideOptions{run: run.ID, verb: string(verb), reason: reason}
		d.yes, d.confirm, d.key = o.yes, o.confirm, o.key
		err = runRunsDecide(ctx, c, d)
		if !switched || fault.KindOf(err) != fault.Failed && err != nil {
			return err
		}
	}
	return c.change(ctx, o.changeFlags, app.Change{
		Environment: o.env, Instance: instance, Kind: upgrade.RollbackKind, Request: upgrade.RollbackRequest{Run: run.ID, LoseWrites: o.loseWrites},
	})
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

func newUpgradeCleanupCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use: "cleanup -e ENV INSTANCE", Short: "Give the way back up",
		Long: `End the replication to the old instance, if there is one. The old instance is kept, protected and closed to clients; --remove-source removes it, after a
last backup where the cloud keeps one without its instance (rds). Before that, look at dbops upgrade report and at your clients.
` + changeStatuses,
		Example: "  dbops upgrade cleanup -e staging main --yes\n  dbops upgrade cleanup -e staging billing --remove-source", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := lastUpgrade(cmd.Context(), c, o.env, args[0])
			if err != nil {
				return err
			}
			return c.change(cmd.Context(), o.changeFlags, app.Change{
				Environment: o.env, Instance: args[0], Kind: upgrade.CleanupKind, Request: upgrade.CleanupRequest{Run: run.ID, Remove: o.removeSource},
			})
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().BoolVar(&o.removeSource, "remove-source", false, "remove the old instance, too")
	o.add(cmd)
	return cmd
}

func newUpgradeStatusCmd(c *cli) *cobra.Command {
	env := ""
	cmd := &cobra.Command{
		Use: "status -e ENV INSTANCE", Short: "The upgrades of an instance, newest first, and how far they are",
		Example: "  dbops upgrade status -e staging main", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return runUpgradeStatus(cmd.Context(), c, env, args[0]) },
	}
	environmentFlag(cmd, &env, true)
	return cmd
}

// upgradeStatusJSON is dbops/upgrade-status/v1.
type upgradeStatusJSON struct {
	Schema      string           `json:"schema"`
	Environment string           `json:"environment"`
	Instance    string           `json:"instance"`
	Upgrades    []upgradeRunJSON `json:"upgrades"`
}

type upgradeRunJSON struct {
	Run      state.Run       `json:"run"`
	Progress string          `json:"progress,omitempty"` // the last word of the step that it is at
	Report   *upgrade.Report `json:"report,omitempty"`   // of all but rollbacks and cleanups
}

func runUpgradeStatus(ctx context.Context, c *cli, env, instance string) error {
	a, engine, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Upgrades(ctx, env, instance)
	if err != nil {
		return err
	}
	out := upgradeStatusJSON{"dbops/upgrade-status/v1", env, instance, []upgradeRunJSON{}}
	for _, r := range all {
		one := upgradeRunJSON{Run: r}
		if r.Kind != upgrade.RollbackKind && r.Kind != upgrade.CleanupKind {
			if one.Report, err = a.UpgradeReport(ctx, r.ID); err != nil {
				return err
			}
		}
		if !r.State.Ended() {
			if one.Progress, err = lastWord(ctx, engine, r); err != nil {
				return err
			}
		}
		out.Upgrades = append(out.Upgrades, one)
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(c.out, "%s/%s was never upgraded: dbops upgrade plan -e %s %s --to MAJOR\n", env, instance, env, instance)
		return err
	}
	rows := make([][]string, len(all))
	for i, u := range out.Upgrades {
		down := "-"
		switch {
		case u.Report == nil:
		case !u.Report.ShutOut.IsZero():
			down = "! since " + stamp(u.Report.ShutOut)
		case u.Report.Forecast != nil: // nobody was shut out by a rehearsal
			down = fmt.Sprintf("forecast %s to %s", u.Report.Forecast.Low, u.Report.Forecast.High)
		case u.Report.Downtime != nil && u.Report.Kind != upgrade.RehearseKind:
			down = u.Report.Downtime.Took.String()
		}
		rows[i] = []string{u.Run.ID, strings.TrimPrefix(u.Run.Kind, "upgrade."), runWord(u.Run), cmp.Or(u.Run.Step, "-"), stamp(u.Run.Created), down, cmp.Or(u.Progress, u.Run.Problem, u.Run.Title)}
	}
	return printTable(c.out, []string{"RUN", "WHAT", "STATE", "STEP", "CREATED", "SHUT OUT", ""}, rows)
}

// lastWord is the last thing that a run told.
func lastWord(ctx context.Context, engine *op.Engine, r state.Run) (string, error) {
	events, err := engine.Events(ctx, r.ID, 0)
	if err != nil || len(events) == 0 {
		return "", err
	}
	slices.SortFunc(events, func(a, b state.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	return oneBlock(events[len(events)-1].Text), nil
}

func newUpgradeReportCmd(c *cli) *cobra.Command {
	format, file := "", ""
	cmd := &cobra.Command{
		Use: "report RUN", Short: "What an upgrade or a rehearsal did, compared and measured",
		Long: `Print the report of a run: at its end, or how far it is. With --out the format follows the file's name: .html, .md or .json.`,
		Example: `  dbops upgrade report r1a2b3c4d5
  dbops upgrade report r1a2b3c4d5 --out report.html`, Args: takes("RUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUpgradeReport(cmd.Context(), c, args[0], format, file)
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "markdown (the default), html or json")
	cmd.Flags().StringVar(&file, "out", "", "write it to this file")
	return cmd
}

func runUpgradeReport(ctx context.Context, c *cli, run, format, file string) error {
	if format == "" {
		format = map[string]string{".html": "html", ".htm": "html", ".json": "json"}[strings.ToLower(filepath.Ext(file))]
	}
	if format == "" && c.json() {
		format = "json"
	}
	write := map[string]func(*upgrade.Report, io.Writer) error{
		"": (*upgrade.Report).Markdown, "markdown": (*upgrade.Report).Markdown, "md": (*upgrade.Report).Markdown, "html": (*upgrade.Report).HTML,
		"json": func(r *upgrade.Report, w io.Writer) error { return printJSON(w, r) },
	}[format]
	if write == nil {
		return fault.Newf(fault.Usage, "read the flags", "there is no format %s", format).Hint("choose markdown, html or json")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	report, err := a.UpgradeReport(ctx, run)
	if err != nil {
		return err
	}
	if file == "" {
		return write(report, c.out)
	}
	var b bytes.Buffer
	if err := write(report, &b); err != nil {
		return err
	}
	if err := renameio.WriteFile(file, b.Bytes(), 0o644, renameio.WithTempDir(filepath.Dir(file))); err != nil {
		return fault.New(fault.Usage, "write the report to "+file, err)
	}
	fmt.Fprintf(c.err, "written to %s\n", file)
	return nil
}

// printUpgraded is what an upgrade or its rehearsal came to, in a line.
func printUpgraded(ctx context.Context, w io.Writer, engine *op.Engine, r state.Run, steps []state.Step) {
	p, err := engine.PlanOf(ctx, r.PlanHash)
	if err != nil {
		return // of another version
	}
	if report, err := upgrade.ReportOf(p, r, steps); err == nil {
		fmt.Fprintf(w, "%s: dbops upgrade report %s --out report.html\n", oneBlock(report.Verdict()), r.ID)
	}
}
