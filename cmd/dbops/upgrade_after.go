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
	"time"

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
		Long: `Give the word that the upgrade of an instance waits for at its gate, and work on it to its end. Where somebody else has given it, watch.
` + changeStatuses,
		Example: "  dbops upgrade cutover -e staging main --yes\n  dbops upgrade cutover -e prod billing --confirm billing", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runUpgradeCutover(cmd.Context(), c, o, env, args[0])
		},
	}
	environmentFlag(cmd, &env, true)
	o.add(cmd)
	return cmd
}

func runUpgradeCutover(ctx context.Context, c *cli, o *decideOptions, env, instance string) error {
	run, err := lastUpgrade(ctx, c, env, instance)
	if err != nil {
		return err
	}
	var refused error
	if run.State == state.Gate {
		o.run = run.ID
		if refused = runRunsDecide(ctx, c, o); fault.KindOf(refused) != fault.Usage && fault.KindOf(refused) != fault.Busy {
			return refused
		}
	} else {
		refused = fault.Newf(fault.Blocked, "cut over "+env+"/"+instance, "run %s does not wait at its gate, it is %s", run.ID, runWord(run)).
			Hint("dbops upgrade status -e %s %s", env, instance)
	}
	return watchCutover(ctx, c, run, refused)
}

// watchCutover follows a run that was led through its gate by somebody else; any other was refused.
func watchCutover(ctx context.Context, c *cli, seen state.Run, refused error) error {
	a, engine, err := c.engine(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	run, err := engine.Run(ctx, seen.ID)
	if err != nil {
		return err
	}
	done := seen.State == state.Gate && run.State == state.Done
	if !done && (!run.Alive || run.State != state.Running) {
		return refused
	}
	p, err := engine.PlanOf(ctx, run.PlanHash)
	if err != nil {
		return err
	}
	gate := slices.IndexFunc(p.Steps, func(s op.StepInfo) bool { return s.Gate })
	steps, err := engine.Journal(ctx, run.ID)
	if err != nil {
		return err
	}
	past := slices.ContainsFunc(steps, func(s state.Step) bool {
		return slices.IndexFunc(p.Steps, func(i op.StepInfo) bool { return i.Name == s.Name }) > gate
	})
	if gate < 0 || !past && run.Step != p.Steps[gate].Name {
		return refused
	}
	before, err := eventsOf(ctx, engine, run)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.err, "%s has cut over already: watching run %s\n", cmp.Or(run.Actor, "somebody"), run.ID)
	return c.watch(ctx, engine, run, before)
}

func lastUpgrade(ctx context.Context, c *cli, env, instance string) (state.Run, error) {
	a, err := c.app()
	if err != nil {
		return state.Run{}, err
	}
	defer a.Close()
	return a.LastUpgrade(ctx, env, instance)
}

func upgradeToClean(ctx context.Context, c *cli, env, instance string) (state.Run, error) {
	a, err := c.app()
	if err != nil {
		return state.Run{}, err
	}
	defer a.Close()
	return a.UpgradeToClean(ctx, env, instance)
}

func newUpgradeCleanupCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use: "cleanup -e ENV INSTANCE", Short: "Give the way back up, or remove what a rollback left",
		Long: `End the replication to the old instance, if there is one. The old instance is kept, protected and closed to clients; --remove-source removes it, after a
last backup where the cloud keeps one without its instance (rds). Before that, look at dbops upgrade report and at your clients.

After a rollback clients use the old instance, which is not touched: then the new one, which the rollback left, is removed, after a last backup where
the cloud keeps one without its instance. dbops upgrade status says whether it is there still. One that was there before (--into) stays.
` + changeStatuses,
		Example: "  dbops upgrade cleanup -e staging main --yes\n  dbops upgrade cleanup -e staging billing --remove-source", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			run, err := upgradeToClean(cmd.Context(), c, o.env, args[0])
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
	// ShutOut is since when a run that has not ended, a rollback too, keeps clients out.
	ShutOut time.Time `json:"shut_out_since,omitzero"`
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
			steps, err := engine.Journal(ctx, r.ID)
			if err != nil {
				return err
			}
			one.ShutOut = upgrade.ShutOutSince(r.Kind, steps)
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
		down, about := "-", cmp.Or(u.Progress, u.Run.Problem, u.Run.Title)
		if u.Report != nil && u.Report.Stays != 0 {
			about = u.Report.Caution
		}
		switch {
		case !u.ShutOut.IsZero():
			down = "! since " + stamp(u.ShutOut)
		case u.Report == nil:
		case !u.Report.ShutOut.IsZero():
			down = "! since " + stamp(u.Report.ShutOut)
		case u.Report.Forecast != nil: // nobody was shut out by a rehearsal
			down = fmt.Sprintf("forecast %s to %s", u.Report.Forecast.Low, u.Report.Forecast.High)
		case u.Report.Downtime != nil && u.Report.Kind != upgrade.RehearseKind:
			down = u.Report.Downtime.Took.String()
		}
		rows[i] = []string{u.Run.ID, strings.TrimPrefix(u.Run.Kind, "upgrade."), runWord(u.Run), cmp.Or(u.Run.Step, "-"), stamp(u.Run.Created), down, about}
	}
	if err := printTable(c.out, []string{"RUN", "WHAT", "STATE", "STEP", "CREATED", "SHUT OUT", ""}, rows); err != nil {
		return err
	}
	return printRemnants(c.out, out)
}

// printRemnants names the new instances that rollbacks left, which cost until they are removed.
func printRemnants(w io.Writer, st upgradeStatusJSON) error {
	var b bytes.Buffer
	for _, u := range st.Upgrades {
		if u.Report == nil || u.Report.Remnant == "" {
			continue
		}
		text, next := u.Report.Costs(st.Environment, st.Instance)
		fmt.Fprintf(&b, "\n! %s\n  next: %s\n", text, next)
	}
	_, err := b.WriteTo(w)
	return err
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
