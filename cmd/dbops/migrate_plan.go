package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/op"
)

type migratePlanOptions struct {
	migrateUpFlags
	verify bool
	probe  time.Duration
}

func newMigratePlanCmd(c *cli) *cobra.Command {
	o := &migratePlanOptions{}
	cmd := &cobra.Command{
		Use: "plan -e ENV [DATABASE...]", Short: "Rehearse the pending migrations, and show what they do",
		Long: `Run the pending migrations on a scratch copy of the schema and show, for each statement, the locks it takes, what it rewrites, builds and scans, how
large those tables are, and how the schema differs afterwards. Nothing is changed on the instance. --out saves the plan for dbops apply.

The scratch server is started on this machine from the programs of the instance's major version, and removed afterwards; or it is the server
that scratch in dbops.yaml names.

Exit status: 0 planned, or nothing to do; 1 failed; 2 usage or configuration; 3 blocked by a finding, such as a file that fails.`,
		Example: "  dbops migrate plan -e prod shop\n  dbops migrate plan -e prod shop --verify --probe 5s\n  dbops migrate plan -e prod shop --out up.plan && dbops apply up.plan",
		RunE:    func(cmd *cobra.Command, args []string) error { return runMigratePlan(cmd.Context(), c, o, args) },
	}
	o.addUp(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.out, "out", "", "save the plan to a file, for dbops apply")
	fs.BoolVar(&o.verify, "verify", false, "go down after going up, and see whether that brings the schema back")
	fs.DurationVar(&o.probe, "probe", 0, "ask the database whether its rows allow it (no NULL, no duplicates, no orphans), each question for this long at most")
	addKeyFlag(cmd, &o.key)
	return cmd
}

// migratePlanJSON is dbops/migrate-plan/v1.
type migratePlanJSON struct {
	Schema     string           `json:"schema"`
	Rehearsals []rehearsalJSON  `json:"rehearsals"`
	Plans      []migratePlanned `json:"plans"`
}

type rehearsalJSON struct {
	Environment string           `json:"environment"`
	Name        string           `json:"name"`
	Files       int              `json:"files"`
	Report      *rehearse.Report `json:"report,omitempty"`
	Error       string           `json:"error,omitempty"`
	Hint        string           `json:"hint,omitempty"`
}

type migratePlanned struct {
	Hash string   `json:"hash"`
	Plan *op.Plan `json:"plan"`
}

func runMigratePlan(ctx context.Context, c *cli, o *migratePlanOptions, names []string) error {
	o.plan, o.rehearse = true, true
	return o.with(c, names, func(a *app.App, asks []migrate.Ask, to *int64) error {
		wants, err := o.wants(asks, to, true)
		if err != nil {
			return err
		}
		return c.planMigrations(ctx, a, o, asks, to, wants)
	})
}

func (c *cli) planMigrations(ctx context.Context, a *app.App, o *migratePlanOptions, asks []migrate.Ask, to *int64, wants []app.Change) error {
	if o.out != "" && len(wants) > 1 {
		return fault.Newf(fault.Usage, "read the flags", "there are %d plans, and --out is one file", len(wants)).Hint("plan each instance by itself: -i INSTANCE")
	}
	rehearsed, err := a.RehearseMigrations(ctx, asks, o.outOfOrder, to, app.RehearseOptions{
		Verify: o.verify, Probe: o.probe, Tell: func(text string) {
			if c.verbose {
				fmt.Fprintln(c.err, oneBlock(text))
			}
		},
	})
	if err != nil {
		return err
	}
	if err := probed(rehearsed); err != nil && o.out != "" {
		o.out = "" // a plan that is known to fail is not saved
	}
	if !c.json() {
		if err := c.printRehearsals(rehearsed); err != nil {
			return err
		}
		return errors.Join(c.changes(ctx, a, o.changeFlags, wants), probed(rehearsed))
	}
	return errors.Join(c.planJSON(ctx, a, o, rehearsed, wants), probed(rehearsed))
}

func (c *cli) printRehearsals(all []app.Rehearsed) error {
	for _, r := range all {
		fmt.Fprintf(c.out, "REHEARSAL  %s/%s\n", r.Ask.Target, r.Ask.Set)
		var err error
		switch {
		case r.Err != nil:
			_, err = fmt.Fprintf(c.out, "  not rehearsed: %s\n", oneBlock(r.Err.Error()))
			if hint := fault.HintOf(r.Err); hint != "" {
				_, err = fmt.Fprintf(c.out, "  %s\n", oneBlock(hint))
			}
		case r.Report == nil && r.Files == 0:
			_, err = fmt.Fprintln(c.out, "  nothing is pending")
		case r.Report == nil:
			_, err = fmt.Fprintln(c.out, "  not rehearsed: it cannot be run as it is")
		default:
			err = rehearse.WriteText(c.out, r.Report)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(c.out)
	}
	return nil
}

// planJSON is the whole answer as one object.
func (c *cli) planJSON(ctx context.Context, a *app.App, o *migratePlanOptions, rehearsed []app.Rehearsed, wants []app.Change) error {
	out := migratePlanJSON{Schema: "dbops/migrate-plan/v1", Rehearsals: []rehearsalJSON{}, Plans: []migratePlanned{}}
	for _, r := range rehearsed {
		one := rehearsalJSON{Environment: r.Ask.Target.Environment, Name: r.Ask.Set.String(), Files: r.Files, Report: r.Report}
		if r.Err != nil {
			one.Error, one.Hint = r.Err.Error(), fault.HintOf(r.Err)
		}
		out.Rehearsals = append(out.Rehearsals, one)
	}
	var stop error
	for _, w := range wants {
		w.Key = c.sshKey(o.key)
		p, err := a.PlanChange(ctx, w)
		if err != nil {
			return err
		}
		out.Plans = append(out.Plans, migratePlanned{p.Hash(), p})
		stop = errors.Join(stop, blocked(p))
		if o.out != "" && stop == nil && !p.Nothing() {
			if err := op.Save(o.out, p); err != nil {
				return err
			}
		}
	}
	if err := printJSON(c.out, out); err != nil {
		return err
	}
	return stop
}

// probed is the error of rows that do not allow what the files want.
func probed(all []app.Rehearsed) error {
	for _, r := range all {
		if r.Report == nil {
			continue
		}
		for _, d := range r.Report.Data {
			if d.Answer == rehearse.Violated {
				return fault.Newf(fault.Blocked, "ask "+r.Ask.Target.String()+"/"+r.Ask.Set.String()+" about its rows", "they do not allow it: %s", d.What).
					Hint("mend the rows first, or write the migration for them")
			}
		}
	}
	return nil
}
