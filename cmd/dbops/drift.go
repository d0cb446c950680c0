package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/drift"
	"dbops/internal/fault"
)

type driftOptions struct {
	changeFlags
	env, instance string
	all, fix      bool
	settings      []string
	overwrite     []string
}

func newDriftCmd(c *cli) *cobra.Command {
	o := &driftOptions{}
	cmd := &cobra.Command{
		Use:   "drift [INSTANCE]",
		Short: "Compare what is declared with what is live",
		Long: `Compare the settings that dbops.yaml declares with the live ones, and with what dbops last applied: a change in the console is told from a
declaration that was not applied yet. --fix sets one instance back, as a plan like any other; what somebody changed in the console is only
overwritten if --overwrite names it.

Exit status: 0 as declared; 1 something could not be looked at; 2 usage or configuration; 5 drift; 130 interrupted, what was looked at is
shown. With --fix as for every change.`,
		Example: `  dbops drift
  dbops drift -e prod -o json
  dbops drift -e staging main --fix
  dbops drift -e prod billing --fix --overwrite deletion_protection --confirm billing`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.instance = args[0]
			}
			return runDrift(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	fs := cmd.Flags()
	fs.BoolVar(&o.all, "all", false, "show also what is in sync, and what nobody declares")
	fs.BoolVar(&o.fix, "fix", false, "set one instance back to what is declared")
	fs.StringSliceVar(&o.settings, "setting", nil, "with --fix: only this setting (may be repeated)")
	fs.StringSliceVar(&o.overwrite, "overwrite", nil, "with --fix: set this although somebody changed it in the console (may be repeated)")
	o.add(cmd)
	return cmd
}

func runDrift(ctx context.Context, c *cli, o *driftOptions) error {
	if o.fix {
		if o.env == "" || o.instance == "" {
			return fault.Newf(fault.Usage, "read the flags", "--fix is for one instance").Hint("dbops drift -e ENV INSTANCE --fix")
		}
		return c.change(ctx, o.changeFlags, app.Change{
			Environment: o.env, Instance: o.instance, Kind: drift.FixKind, Request: drift.FixRequest{Settings: o.settings, Overwrite: o.overwrite},
		})
	}
	if len(o.settings)+len(o.overwrite) > 0 || o.plan {
		return fault.Newf(fault.Usage, "read the flags", "--setting, --overwrite and --plan need --fix")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	r, cut := a.Drift(ctx, o.env, o.instance, o.all)
	c.looking.wipe()
	if r == nil {
		return cut
	}
	if c.json() {
		err = printJSON(c.out, r)
	} else {
		err = c.printDrift(r, o.all)
	}
	if err != nil {
		return err
	}
	if c.getenv("GITHUB_ACTIONS") == "true" {
		if err := c.annotate(r); err != nil {
			return err
		}
	}
	if cut != nil {
		return cutShort(cut, r.Instances, func(l drift.Looked) error { return l.Err })
	}
	return r.Err()
}

func (c *cli) printDrift(r *drift.Report, all bool) error {
	var rows [][]string
	for _, row := range r.Rows {
		if !all && row.Status == drift.InSync {
			continue
		}
		rows = append(rows, []string{row.Environment, row.Instance, row.Setting, driftWord(row.Status), orText(row.Declared, "-"), orText(row.Live, "-"), orText(row.LastApplied, "-"), oneBlock(row.Detail)})
	}
	if len(rows) > 0 {
		if err := printTable(c.out, []string{"ENVIRONMENT", "INSTANCE", "SETTING", "STATUS", "DECLARED", "LIVE", "LAST APPLIED", "WHY"}, rows); err != nil {
			return err
		}
	}
	var failed problems
	for _, i := range r.Instances {
		failed.add(i.Environment+"/"+i.Instance, i.Err)
	}
	failed.print(c.out)
	_, err := fmt.Fprintf(c.out, "%d in sync, %d drifted, %d pending, %d unknown\n",
		r.Count(drift.InSync), r.Count(drift.Drifted), r.Count(drift.Pending), r.Count(drift.Unknown))
	return err
}

func driftWord(s drift.Status) string {
	switch s {
	case drift.Drifted:
		return "x drifted"
	case drift.Pending:
		return "~ pending"
	case drift.Unknown:
		return "? unknown"
	default:
		return string(s)
	}
}

// annotate shows drift beside the code of a pull request, and in the summary of the job.
func (c *cli) annotate(r *drift.Report) error {
	fmt.Fprint(c.err, r.Annotations())
	path := c.getenv("GITHUB_STEP_SUMMARY")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.New(fault.Usage, "write the summary of the job", err)
	}
	_, err = f.WriteString(r.Summary())
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
