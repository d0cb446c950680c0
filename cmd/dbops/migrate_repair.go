package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate"
)

type migrateRepairOptions struct {
	migratePick
	changeFlags
	mannerFlags
	resume, accept bool
	at, reason     string
}

func newMigrateRepairCmd(c *cli) *cobra.Command {
	o := &migrateRepairOptions{}
	cmd := &cobra.Command{
		Use: "repair -e ENV DATABASE", Short: "Lead a database out of a migration that ended half-way",
		Long: `Without a choice: show what the migration that ended half-way did and did not leave behind, and the ways out; nothing is changed. With one of them:
  --resume           go on with the file, from its first statement that is not done; what follows may be mended before
  --at VERSION       record that the database has this version (none for none); dbops compares the schema with the folder's where it can
  --accept-changed   take files that were changed since they were applied as what was applied

Exit status: without a choice 0 nothing to repair, 5 something is; else as for every change.` + "\n" + changeStatuses,
		Example: "  dbops migrate repair -e prod shop\n  dbops migrate repair -e prod shop --resume --confirm main\n" +
			"  dbops migrate repair -e staging shop --at 12 --reason 'looked at by hand' --yes",
		Args: takes("DATABASE"),
		RunE: func(cmd *cobra.Command, args []string) error { return runMigrateRepair(cmd.Context(), c, o, args) },
	}
	o.migratePick.flags(cmd, true)
	o.mannerFlags.add(cmd)
	o.changeFlags.add(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&o.resume, "resume", false, "go on with the file that ended half-way")
	fs.StringVar(&o.at, "at", "", "the version that the database has; none for none")
	fs.BoolVar(&o.accept, "accept-changed", false, "take files that were changed since they were applied as what was applied")
	fs.StringVar(&o.reason, "reason", "", "why, for the history; needed with --at and --accept-changed")
	cmd.MarkFlagsMutuallyExclusive("resume", "at", "accept-changed")
	return cmd
}

func runMigrateRepair(ctx context.Context, c *cli, o *migrateRepairOptions, args []string) error {
	at, err := app.ParseVersion("--at", o.at)
	if err != nil {
		return err
	}
	manner, err := o.manner()
	if err != nil {
		return err
	}
	if !o.resume && at == nil && !o.accept {
		if o.plan || o.yes {
			return fault.Newf(fault.Usage, "read the flags", "--plan and --yes need a choice").Hint("--resume, --at VERSION or --accept-changed")
		}
		return c.inspectMigrations(ctx, o.pick(args))
	}
	if (at != nil || o.accept) && strings.TrimSpace(o.reason) == "" {
		return fault.Newf(fault.Usage, "read the flags", "--reason is missing").Hint("say how you know: --reason 'looked at by hand: the table is there'")
	}
	return c.changeSet(ctx, o.pick(args), o.changeFlags, migrate.RepairKind, func(one migrate.Ask) (any, error) {
		return migrate.RepairRequest{Set: one.Set.String(), Resume: o.resume, Version: at, Accept: o.accept, Reason: o.reason, Manner: manner}, nil
	})
}

// migrateRepairJSON is dbops/migrate-repair/v1.
type migrateRepairJSON struct {
	Schema string `json:"schema"`
	migrate.RepairFacts
	Ways []string `json:"ways"`
}

func (c *cli) inspectMigrations(ctx context.Context, p app.MigrationPick) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	one, err := a.OneSet(p)
	if err != nil {
		return err
	}
	f, err := a.InspectMigrations(ctx, one)
	if err != nil {
		return err
	}
	ways, err := a.RepairWays(ctx, one, f)
	if err != nil {
		return err
	}
	if c.json() {
		err = printJSON(c.out, migrateRepairJSON{"dbops/migrate-repair/v1", f, ways})
	} else {
		_, err = fmt.Fprint(c.out, repairText(one, f, ways))
	}
	if err != nil {
		return err
	}
	if f.Dirty || len(f.Changed) > 0 || len(f.Invalid) > 0 {
		return fault.Newf(fault.Findings, "look at the migrations of "+one.Target.String()+"/"+one.Set.String(), "they need repair").Hint("%s", strings.Join(ways, "; or "))
	}
	return nil
}

func repairText(one migrate.Ask, f migrate.RepairFacts, ways []string) string {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(oneBlock(fmt.Sprintf(format, args...)) + "\n") }
	line("%s/%s: version %s", one.Target, one.Set, migrateVersion(f.Version))
	if !f.Dirty && len(f.Changed) == 0 && len(f.Invalid) == 0 {
		line("nothing to repair")
		return b.String()
	}
	if f.Held != "" {
		line("running: %s", f.Held)
	}
	if f.Dirty {
		line("dirty: a migration was begun and has not ended")
	}
	if c := f.Cut; c != nil {
		line("  %s, %s, by %s at %s", c.Name, c.Direction, c.Who, c.Started)
		line("  done: %d of %d statements", c.Done, c.Statements)
		if c.Next != "" {
			line("  not done: %s, and what follows", c.Next)
		}
		if c.Error != "" {
			line("  because: %s", c.Error)
		}
		if !c.CanResume {
			line("  the file does not begin with the statements that are done any more: it cannot be resumed")
		}
	}
	for _, v := range f.Versions {
		switch {
		case !v.Compared:
			line("if it has version %s (%s): not compared, %s", migrateVersion(&v.Version), v.Means, v.Why)
		case len(v.Differs) == 0:
			line("if it has version %s (%s): the schema is exactly that", migrateVersion(&v.Version), v.Means)
		default:
			line("if it has version %s (%s): the schema differs\n%s", migrateVersion(&v.Version), v.Means, strings.Join(v.Differs, "\n"))
		}
	}
	for _, i := range f.Invalid {
		line("index %s is not valid: it slows writes and serves no query", i)
	}
	if len(f.Changed) > 0 {
		line("changed since they were applied: %s", firstFew(f.Changed))
	}
	b.WriteString("ways out:\n")
	for _, w := range ways {
		line("  %s", w)
	}
	return b.String()
}

type migrateBaselineOptions struct {
	migratePick
	changeFlags
	reason string
}

func newMigrateBaselineCmd(c *cli) *cobra.Command {
	o := &migrateBaselineOptions{}
	cmd := &cobra.Command{
		Use: "baseline -e ENV DATABASE VERSION", Short: "Take over a database that has a schema and no version",
		Long: `Record that a database has the schema of a version already, without running anything: for a database that was not migrated by this folder until now.
One that golang-migrate or Encore migrated needs no baseline. dbops compares the schema with the folder's where it can.
` + changeStatuses,
		Example: "  dbops migrate baseline -e staging legacy 12 --plan\n  dbops migrate baseline -e staging legacy 12 --reason 'made by hand in 2024' --yes",
		Args:    takes("DATABASE", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			v, err := app.ParseVersion("VERSION", args[1])
			if err != nil {
				return err
			}
			if *v < 0 {
				return fault.Newf(fault.Usage, "read VERSION", "a baseline is a version of the folder").Hint("a database without a version needs no baseline")
			}
			return c.changeSet(cmd.Context(), o.pick(args[:1]), o.changeFlags, migrate.BaselineKind, func(one migrate.Ask) (any, error) {
				return migrate.BaselineRequest{Set: one.Set.String(), Version: *v, Reason: o.reason}, nil
			})
		},
	}
	o.migratePick.flags(cmd, true)
	o.changeFlags.add(cmd)
	cmd.Flags().StringVar(&o.reason, "reason", "", "why, for the history")
	return cmd
}
