package main

import (
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/upgrade"
)

type upgradeOptions struct {
	changeFlags
	env     string
	request upgrade.Request

	inPlace, blueGreen bool
	parameters         string // the group of the new major's family
	loseWrites         bool
	removeSource       bool
}

func newUpgradeCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Move an instance to a newer major version of PostgreSQL",
		Long: `A new instance of the newer major is made and filled beside the old one, compared with it, and clients are switched to it. The old instance stays,
and "dbops upgrade rollback" returns to it, until "dbops upgrade cleanup". docs/upgrade.md tells each task.

  plan      what would be done, and what stands in the way; nothing is changed
  rehearse  all of it, on a copy; says how long clients will be shut out
  run       do it, as far as the gate of the cut-over
  cutover   pass the gate: shut writers out, bring the rest, switch clients
  status    the upgrades of an environment, and how far they are
  report    what a run or a rehearsal did and measured, as text, HTML or JSON
  rollback  return to the old instance
  cleanup   give the way back up`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newUpgradePlanCmd(c), newUpgradeRehearseCmd(c), newUpgradeRunCmd(c), newUpgradeCutoverCmd(c), newUpgradeStatusCmd(c),
		newUpgradeReportCmd(c), newUpgradeRollbackCmd(c), newUpgradeCleanupCmd(c))
	return cmd
}

// addRequest adds the flags that say what is wanted.
func (o *upgradeOptions) addRequest(cmd *cobra.Command) {
	fs, q := cmd.Flags(), &o.request
	environmentFlag(cmd, &o.env, true)
	fs.IntVar(&q.To, "to", 0, "the major version, as in 18")
	_ = cmd.MarkFlagRequired("to")
	fs.StringVar(&q.Name, "name", "", "the provider's name of the new instance (default: that of the old one with -pgMAJOR)")
	fs.StringVar(&q.Into, "into", "", "an empty instance of dbops.yaml in place of a new one; a plain server needs it")
	fs.StringSliceVar(&q.Databases, "database", nil, "rehearse only this database, by its name on the server (may be repeated; default: all)")
	fs.StringVar(&q.Engine, "engine", upgrade.EngineStream, "how the rows go: stream (COPY to COPY, nothing on disk), dump (pg_dump and pg_restore by way of a folder)")
	fs.BoolVar(&q.CatchUp, "catch-up", false, "let clients write during the copy: logical replication brings the rest, and they are shut out for seconds")
	fs.BoolVar(&q.FullIdentity, "full-identity", false, "with --catch-up: follow tables without a primary key by all their columns, which is slow on large ones")
	fs.BoolVar(&q.NoWayBack, "no-way-back", false, "with --catch-up: no replication from the new instance to the old one after the switch; going back then loses writes")
	fs.StringVar(&q.Verify, "verify", upgrade.VerifyFull, "how much is compared: full (all rows), sample (all are counted, one in 100 of large tables is summed), count")
	fs.IntVar(&q.Jobs, "jobs", upgrade.DefaultJobs, "tables that are copied at once, and beside that indexes that are built")
	fs.DurationVar(&q.Grace, "grace", upgrade.DefaultGrace, "how long transactions may go on at the cut-over before their sessions are ended")
	fs.DurationVar(&q.Observe, "observe", upgrade.DefaultObserve, "how long to watch who logs in where after the switch")
	cmd.PreRunE = func(*cobra.Command, []string) error { return o.check(cmd) }
}

// check refuses what the flags cannot mean, before anybody is asked, and makes of zeros what they say: in a request they are defaults.
func (o *upgradeOptions) check(cmd *cobra.Command) error {
	const what = "read the flags"
	fs, q := cmd.Flags(), &o.request
	if o.parameters != "" && !o.inPlace && !o.blueGreen {
		return fault.Newf(fault.Usage, what, "--parameter-group is for --in-place and --blue-green").Hint("a new instance gets a group like that of the old one: leave it out")
	}
	for _, f := range []struct{ flag, value, hint string }{
		{"engine", q.Engine, "choose stream or dump"},
		{"verify", q.Verify, "choose full, sample or count"},
		{"name", q.Name, "leave it out, or give a name, as in --name main-next"},
		{"into", q.Into, "leave it out, or name an instance of dbops.yaml"},
	} {
		if fs.Changed(f.flag) && f.value == "" {
			return fault.Newf(fault.Usage, what, "--%s is empty", f.flag).Hint("%s", f.hint)
		}
	}
	if fs.Changed("jobs") && q.Jobs == 0 {
		return fault.Newf(fault.Usage, what, "--jobs 0 copies nothing").Hint("choose 1 to 64 jobs")
	}
	for flag, d := range map[string]*time.Duration{"grace": &q.Grace, "observe": &q.Observe} {
		if fs.Changed(flag) && *d == 0 {
			*d = time.Nanosecond
		}
	}
	if !fs.Changed("to") { // which cobra says
		return nil
	}
	return q.Check()
}

const upgradeExamples = `  dbops upgrade %[1]s -e staging main --to 18
  dbops upgrade %[1]s -e staging billing --to 18 --catch-up
  dbops upgrade %[1]s -e local main --to 18 --into next`

func newUpgradePlanCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use: "plan -e ENV INSTANCE --to MAJOR", Short: "Look whether an instance can be upgraded, and show what would be done",
		Long: `Ask every check of the source (and of the target, if it is there), and show the steps. Nothing is changed, and nothing but the catalogs is read.
--out saves the plan for dbops apply.

Exit status: 0 planned; 1 failed; 2 usage or configuration; 3 blocked by a finding.`,
		Example: sprintf(upgradeExamples, "plan") + "\n  dbops upgrade plan -e prod billing --to 17 -o json | jq -r '.plan.findings[] | [.severity, .check, .text] | @tsv'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.plan = true
			return c.change(cmd.Context(), o.changeFlags, o.change(args[0]))
		},
	}
	o.addRequest(cmd)
	o.addInPlace(cmd)
	cmd.Flags().StringVar(&o.out, "out", "", "save the plan to a file, for dbops apply")
	addKeyFlag(cmd, &o.key)
	return cmd
}

func (o *upgradeOptions) addInPlace(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.inPlace, "in-place", false, "let the cloud upgrade the instance itself: same name and address, and no way back but a backup")
	cmd.Flags().BoolVar(&o.blueGreen, "blue-green", false, "let RDS make a copy of the newer major that follows, and swap the two (rds)")
	cmd.Flags().StringVar(&o.parameters, "parameter-group", "", "with --in-place or --blue-green: the parameter group of the new major's family (rds)")
	cmd.MarkFlagsMutuallyExclusive("in-place", "blue-green")
	for _, flag := range []string{"in-place", "blue-green"} {
		for _, other := range []string{"name", "into", "engine", "catch-up", "full-identity", "no-way-back", "verify", "jobs", "grace", "observe", "database"} {
			cmd.MarkFlagsMutuallyExclusive(flag, other)
		}
	}
}

// change is what the flags ask for.
func (o *upgradeOptions) change(instance string) app.Change {
	want := app.Change{Environment: o.env, Instance: instance, Kind: upgrade.RunKind, Request: o.request}
	if o.inPlace || o.blueGreen {
		want.Kind = upgrade.InPlaceKind
		want.Request = upgrade.InPlaceRequest{To: o.request.To, BlueGreen: o.blueGreen, Parameters: o.parameters, Unattended: o.request.Unattended}
	}
	return want
}

func newUpgradeRehearseCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use: "rehearse -e ENV INSTANCE --to MAJOR", Short: "Do the whole upgrade to a copy, and measure it",
		Long: `Make a copy of the instance by point-in-time recovery, upgrade that, compare, and remove both. The instance itself is only read. What fails does not stop
the rehearsal from clearing up: it is in the report, as is for how long clients would be shut out.

With --into (a plain server needs it) the instance is read out of one snapshot, and the databases are dropped from the other one again.

A rehearsal that finds something that would fail ends with status 5.
` + changeStatuses,
		Example: sprintf(upgradeExamples, "rehearse"), Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			want := o.change(args[0])
			want.Kind = upgrade.RehearseKind
			return c.change(cmd.Context(), o.changeFlags, want)
		},
	}
	o.addRequest(cmd)
	o.addOn(cmd)
	o.add(cmd)
	return cmd
}

func (o *upgradeOptions) addOn(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.queue, "on", "", "leave it to the workers of this queue, near the data: dbops worker --queue NAME")
}

func newUpgradeRunCmd(c *cli) *cobra.Command {
	o := &upgradeOptions{}
	cmd := &cobra.Command{
		Use: "run -e ENV INSTANCE --to MAJOR", Short: "Upgrade an instance, as far as the gate of the cut-over",
		Long: `Make the new instance and fill it, step by step. The run waits at the gate before it shuts writers out; "dbops upgrade cutover" passes it, in any
process. A run that was interrupted goes on with "dbops runs resume", and "dbops upgrade rollback" takes everything back.
` + changeStatuses,
		Example: sprintf(upgradeExamples, "run") + "\n  dbops upgrade run -e prod billing --to 17 --on near-billing\n  dbops upgrade run -e staging billing --to 18 --in-place",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), o.changeFlags, o.change(args[0]))
		},
	}
	o.addRequest(cmd)
	o.addInPlace(cmd)
	o.addOn(cmd)
	cmd.Flags().BoolVar(&o.request.Unattended, "unattended", false, "do not wait at the gate: whoever approves the plan approves the cut-over")
	o.add(cmd)
	return cmd
}
