package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate"
)

func newMigrateCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Migrations: status, lint, plan, up, down, repair",
		Long: `Change the schema of databases by golang-migrate's folders (000001_name.up.sql). Each file is applied with its version in one transaction where
it can be; locks are waited for in short attempts, so that traffic does not queue behind a migration; and a history remembers who applied what.
A database that golang-migrate or Encore has migrated is taken over as it is, and can be handed back.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newMigrateStatusCmd(c), newMigrateNewCmd(c), c.migrateLint(), newMigratePlanCmd(c), newMigrateUpCmd(c), newMigrateDownCmd(c), newMigrateGotoCmd(c),
		newMigrateRepairCmd(c), newMigrateBaselineCmd(c),
	)
	return cmd
}

// migratePick are the flags and arguments that name folders of migrations.
type migratePick struct{ env, instance string }

func (o *migratePick) flags(cmd *cobra.Command, required bool) {
	environmentFlag(cmd, &o.env, required)
	cmd.Flags().StringVarP(&o.instance, "instance", "i", "", "only databases on this instance")
}

func (o *migratePick) pick(names []string) app.MigrationPick {
	return app.MigrationPick{Environment: o.env, Instance: o.instance, Names: names}
}

// mannerFlags are how files are run.
type mannerFlags struct {
	lock, statement, patience time.Duration
	endBlockers               bool
}

func (f *mannerFlags) add(cmd *cobra.Command) {
	u := migrate.Usual()
	fs := cmd.Flags()
	fs.DurationVar(&f.lock, "lock-timeout", time.Duration(u.LockTimeout), "of each attempt to get a lock: traffic queues behind it for no longer")
	fs.DurationVar(&f.statement, "statement-timeout", time.Duration(u.StatementTimeout), "of each statement; 0 for none; what is CONCURRENTLY has none")
	fs.DurationVar(&f.patience, "patience", time.Duration(u.Patience), "how long locks are tried for before a file is given up")
	fs.BoolVar(&f.endBlockers, "end-blockers", false, "end the sessions that keep a lock from the migration, from the second attempt on; not for what is CONCURRENTLY")
}

func (f *mannerFlags) manner() (migrate.Manner, error) {
	if f.lock < time.Millisecond || f.statement < 0 || f.patience < 0 {
		return migrate.Manner{}, fault.Newf(fault.Usage, "read the flags", "--lock-timeout is at least 1ms, and no time is negative")
	}
	return migrate.Manner{LockTimeout: migrate.Span(f.lock), StatementTimeout: migrate.Span(f.statement), Patience: migrate.Span(f.patience), EndBlockers: f.endBlockers}, nil
}

// migrateUpFlags are those of up and plan.
type migrateUpFlags struct {
	migratePick
	changeFlags
	mannerFlags
	to          string
	outOfOrder  bool
	concurrency int
	keepGoing   bool
	rehearse    bool
}

func (o *migrateUpFlags) addUp(cmd *cobra.Command) {
	o.migratePick.flags(cmd, true)
	o.mannerFlags.add(cmd)
	fs := cmd.Flags()
	fs.StringVar(&o.to, "to", "", "go up to this version only")
	fs.BoolVar(&o.outOfOrder, "out-of-order", false, "apply also what comes before the database's version and was never applied")
	fs.IntVar(&o.concurrency, "concurrency", 4, "databases of an instance at a time, after the first one")
	fs.BoolVar(&o.keepGoing, "keep-going", false, "go on with the other databases of an instance when one has failed")
}

func newMigrateUpCmd(c *cli) *cobra.Command {
	o := &migrateUpFlags{}
	cmd := &cobra.Command{
		Use: "up -e ENV [DATABASE...]", Short: "Apply the pending migrations",
		Long: `Apply the pending migrations of the databases that are named, or of all of the environment. What is shown is what will be run: a file that changes
in between is refused. The first database of an instance is migrated alone, the others after it went well.

In a protected environment the pending files are rehearsed on a scratch copy of the schema first; elsewhere with --rehearse.
` + changeStatuses,
		Example: `  dbops migrate up -e staging shop
  dbops migrate up -e prod shop --plan
  dbops migrate up -e prod --to 20260102150405 --confirm main
  dbops migrate up -e staging --lock-timeout 500ms --patience 10m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMigrateUp(cmd.Context(), c, o, args, cmd.Flags().Changed("rehearse"))
		},
	}
	o.addUp(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&o.rehearse, "rehearse", false, "rehearse the files on a scratch copy of the schema (default: in a protected environment)")
	return cmd
}

func runMigrateUp(ctx context.Context, c *cli, o *migrateUpFlags, names []string, rehearseSaid bool) error {
	return o.with(c, names, func(a *app.App, asks []migrate.Ask, to *int64) error {
		wants, err := o.wants(asks, to, rehearseSaid)
		if err != nil {
			return err
		}
		return c.changes(ctx, a, o.changeFlags, wants)
	})
}

// with reads the flags, and does something with the folders that are meant.
func (o *migrateUpFlags) with(c *cli, names []string, do func(a *app.App, asks []migrate.Ask, to *int64) error) error {
	to, err := app.ParseVersion("--to", o.to)
	if err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	asks, err := o.asked(a, names, to)
	if err != nil {
		return err
	}
	return do(a, asks, to)
}

// asked are the folders that are meant: one, if it is to go to a version.
func (o *migrateUpFlags) asked(a *app.App, names []string, to *int64) ([]migrate.Ask, error) {
	if to != nil {
		one, err := a.OneSet(o.pick(names))
		if err != nil {
			return nil, err
		}
		return []migrate.Ask{one}, app.HasVersion(one, *to, o.env)
	}
	asks, err := a.Asked(o.pick(names))
	if err == nil && len(asks) == 0 {
		err = fault.Newf(fault.Usage, "migrate "+o.env, "dbops.yaml names no migrations for its databases").Hint("databases.NAME.migrations is their folder")
	}
	return asks, err
}

// wants are the changes that bring folders up, one for each instance.
func (o *migrateUpFlags) wants(asks []migrate.Ask, to *int64, rehearseSaid bool) (wants []app.Change, err error) {
	manner, err := o.manner()
	if err != nil {
		return nil, err
	}
	up := app.UpOptions{To: to, Late: o.outOfOrder, Manner: manner, Concurrency: o.concurrency, KeepGoing: o.keepGoing}
	if o.rehearse || rehearseSaid {
		up.Rehearse = &o.rehearse
	}
	return app.UpChanges(asks, up), nil
}

type migrateDownOptions struct {
	migratePick
	changeFlags
	mannerFlags
	steps    int
	all      bool
	rehearse bool
}

func newMigrateDownCmd(c *cli) *cobra.Command {
	o := &migrateDownOptions{}
	cmd := &cobra.Command{
		Use: "down -e ENV DATABASE", Short: "Take the last migrations back, and say which data that drops",
		Long: `Take back the last migration of a database, or the last ones, by their down files. The plan says which tables and columns they drop, and how many
rows those have. Going forward with a new migration is safer where data is at stake.
` + changeStatuses,
		Example: "  dbops migrate down -e staging shop\n  dbops migrate down -e staging shop --steps 3 --plan",
		Args:    takes("DATABASE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMigrateDown(cmd.Context(), c, o, args, cmd.Flags().Changed("rehearse"))
		},
	}
	o.migratePick.flags(cmd, true)
	o.mannerFlags.add(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().IntVar(&o.steps, "steps", 1, "how many migrations")
	cmd.Flags().BoolVar(&o.all, "all", false, "all of them")
	cmd.Flags().BoolVar(&o.rehearse, "rehearse", false, "rehearse the files on a scratch copy of the schema (default: in a protected environment)")
	return cmd
}

func runMigrateDown(ctx context.Context, c *cli, o *migrateDownOptions, args []string, rehearseSaid bool) error {
	if o.steps < 1 {
		return fault.Newf(fault.Usage, "read the flags", "--steps is at least 1")
	}
	manner, err := o.manner()
	if err != nil {
		return err
	}
	r := migrate.DownRequest{Steps: o.steps, All: o.all, Manner: manner, Rehearse: o.rehearse}
	if o.all {
		r.Steps = 0
	}
	return c.changeSet(ctx, o.pick(args), o.changeFlags, migrate.DownKind, func(one migrate.Ask) (any, error) {
		r.Set = one.Set.String()
		r.Rehearse = o.rehearse || (!rehearseSaid && one.Target.Protected)
		return r, nil
	})
}

// changeSet plans and runs a change of one folder.
func (c *cli) changeSet(ctx context.Context, p app.MigrationPick, f changeFlags, kind string, request func(migrate.Ask) (any, error)) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	one, err := a.OneSet(p)
	if err != nil {
		return err
	}
	if err := a.Close(); err != nil {
		return err
	}
	r, err := request(one)
	if err != nil {
		return err
	}
	return c.change(ctx, f, app.Change{Environment: one.Target.Environment, Instance: one.Target.Instance, Kind: kind, Request: r})
}

func newMigrateGotoCmd(c *cli) *cobra.Command {
	o := &migrateDownOptions{}
	cmd := &cobra.Command{
		Use: "goto -e ENV DATABASE VERSION", Short: "Bring a database to a version, up or down",
		Long: `Bring a database to a version: up, or down by the down files. VERSION is the number that a file's name begins with, or none.
` + changeStatuses,
		Example: "  dbops migrate goto -e staging shop 12\n  dbops migrate goto -e staging shop none --plan",
		Args:    takes("DATABASE", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runMigrateGoto(cmd.Context(), c, o, args, cmd.Flags().Changed("rehearse"))
		},
	}
	o.migratePick.flags(cmd, true)
	o.mannerFlags.add(cmd)
	o.changeFlags.add(cmd)
	cmd.Flags().BoolVar(&o.rehearse, "rehearse", false, "rehearse the files on a scratch copy of the schema (default: in a protected environment)")
	return cmd
}

func runMigrateGoto(ctx context.Context, c *cli, o *migrateDownOptions, args []string, rehearseSaid bool) error {
	manner, err := o.manner()
	if err != nil {
		return err
	}
	to, err := app.ParseVersion("VERSION", args[1])
	if err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	one, err := a.OneSet(o.pick(args[:1]))
	if err != nil {
		return err
	}
	now, err := a.Migrations(ctx, app.MigrationPick{Environment: o.env, Instance: one.Target.Instance, Names: []string{one.Set.String()}}, false)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(now, func(s migrate.Status) bool { return s.Name == one.Set.String() })
	if err := now[i].Err(); err != nil {
		return err
	}
	want := app.GotoChange(one, now[i], to, manner, o.rehearse || (!rehearseSaid && one.Target.Protected))
	if want.Kind == migrate.UpKind && to != nil {
		if err := app.HasVersion(one, *to, o.env); err != nil {
			return err
		}
	}
	return c.change(ctx, o.changeFlags, want)
}
