package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

type backupOptions struct {
	changeFlags
	env string

	label string // create

	enabled, pitr       bool // configure
	retention, retained int
	window              string

	backup, at, to string // restore
	latest         bool

	databases []string // drill
	keep      bool
}

func newBackupCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Backups, restores to new instances, and restore drills",
		Long:  `A restore always makes a new instance: nothing that is there is overwritten. docs/backup.md tells each task.`,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBackupListCmd(c), newBackupCreateCmd(c), newBackupConfigureCmd(c), newBackupRestoreCmd(c), newBackupDrillCmd(c))
	return cmd
}

func newBackupListCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := &cobra.Command{
		Use: "list -e ENV INSTANCE", Short: "List the backups of an instance, newest first", Args: cobra.ExactArgs(1),
		Example: "  dbops backup list -e prod main",
		RunE:    func(cmd *cobra.Command, args []string) error { return runBackupList(cmd.Context(), c, o, args[0]) },
	}
	environmentFlag(cmd, &o.env, true)
	return cmd
}

func runBackupList(ctx context.Context, c *cli, o *backupOptions, instance string) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, err := a.Backups(ctx, o.env, instance)
	if err != nil {
		return err
	}
	if c.json() {
		if all == nil {
			all = []cloud.Backup{}
		}
		return printJSON(c.out, struct {
			Schema      string         `json:"schema"`
			Environment string         `json:"environment"`
			Instance    string         `json:"instance"`
			Backups     []cloud.Backup `json:"backups"`
		}{"dbops/backups/v1", o.env, instance, all})
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(c.out, "%s/%s has no backups\n", o.env, instance)
		return err
	}
	rows := make([][]string, len(all))
	for i, b := range all {
		ready := "ready"
		if !b.Ready {
			ready = "! " + strings.ToLower(b.State)
		}
		started := "-"
		if !b.Started.IsZero() {
			started = stamp(b.Started)
		}
		rows[i] = []string{b.ID, b.Kind, ready, started, orText(b.Text, "-")}
	}
	return printTable(c.out, []string{"BACKUP", "KIND", "STATE", "STARTED", "TEXT"}, rows)
}

// newBackupChange is a command that changes one instance.
func newBackupChange(c *cli, o *backupOptions, use, short, long, example, kind string, request func(cmd *cobra.Command, a *app.App, instance string) (any, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long + "\n" + changeStatuses, Example: example, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			a, err := c.app() // only to read dbops.yaml
			if err != nil {
				return err
			}
			r, err := request(cmd, a, args[0])
			if err := closing(a, err); err != nil {
				return err
			}
			return c.change(cmd.Context(), o.changeFlags, app.Change{Environment: o.env, Instance: args[0], Kind: kind, Request: r})
		},
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

func closing(a *app.App, err error) error {
	if closed := a.Close(); err == nil {
		return closed
	}
	return err
}

func newBackupCreateCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := newBackupChange(c, o, "create -e ENV INSTANCE", "Make a backup now", "Make a backup, and see that it is ready.",
		`  dbops backup create -e staging main --label before-migration`, backup.CreateKind,
		func(*cobra.Command, *app.App, string) (any, error) { return backup.CreateRequest{Label: o.label}, nil })
	cmd.Flags().StringVar(&o.label, "label", "", "what it is for: letters, digits and hyphens")
	return cmd
}

func newBackupConfigureCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := newBackupChange(c, o, "configure -e ENV INSTANCE", "Set the automatic backups and point-in-time recovery",
		"Set what is given, and leave the rest. The plan says what restarts, and what would be lost.",
		`  dbops backup configure -e staging billing --retention 14
  dbops backup configure -e staging main --pitr --retention 7 --window 03:00`, backup.ConfigureKind,
		func(cmd *cobra.Command, _ *app.App, _ string) (any, error) {
			r := backup.ConfigureRequest{}
			given := false
			set := func(flag string, do func()) {
				if cmd.Flags().Changed(flag) {
					given = true
					do()
				}
			}
			set("enabled", func() { r.Enabled = &o.enabled })
			set("pitr", func() { r.PITR = &o.pitr })
			set("retention", func() { r.RetentionDays = &o.retention })
			set("retained", func() { r.Retained = &o.retained })
			set("window", func() { r.Window = &o.window })
			if !given {
				return nil, fault.Newf(fault.Usage, "read the flags", "nothing is set").Hint("give at least one of --enabled, --retention, --retained, --window and --pitr")
			}
			return r, nil
		})
	fs := cmd.Flags()
	fs.BoolVar(&o.enabled, "enabled", true, "automatic backups; --enabled=false turns them off")
	fs.BoolVar(&o.pitr, "pitr", true, "point-in-time recovery (cloudsql; on rds it comes with the backups)")
	fs.IntVar(&o.retention, "retention", 0, "days that backups (rds) or transaction logs (cloudsql) are kept")
	fs.IntVar(&o.retained, "retained", 0, "number of backups that are kept (cloudsql)")
	fs.StringVar(&o.window, "window", "", "when backups are made, UTC: 03:00-04:00 (rds), 03:00 (cloudsql)")
	return cmd
}

func newBackupRestoreCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := newBackupChange(c, o, "restore -e ENV INSTANCE --to NAME", "Restore to a new instance",
		`Make a new instance from a backup, or from the state at a moment. It gets the network, parameters, labels, CA and protection of its source;
the source is not touched.`,
		`  dbops backup restore -e prod main --latest --to shop-main-2
  dbops backup restore -e prod billing --at 2026-11-28T03:15:00Z --to billing-before
  dbops backup restore -e prod billing --backup rds:billing-prod-2026-11-28 --to billing-copy`, backup.RestoreKind,
		func(*cobra.Command, *app.App, string) (any, error) {
			at, err := app.Moment(o.at)
			if err != nil {
				return nil, err
			}
			n := 0
			for _, given := range []bool{o.backup != "", o.at != "", o.latest} {
				if given {
					n++
				}
			}
			if n != 1 {
				return nil, fault.Newf(fault.Usage, "read the flags", "from what to restore is not said").Hint("give exactly one of --latest, --at TIME and --backup ID")
			}
			return backup.RestoreRequest{Backup: o.backup, Time: at, Latest: o.latest, To: o.to}, nil
		})
	fs := cmd.Flags()
	fs.StringVar(&o.backup, "backup", "", "the backup, as dbops backup list shows it")
	fs.StringVar(&o.at, "at", "", "a moment, as in 2026-11-28T03:15:00Z")
	fs.BoolVar(&o.latest, "latest", false, "the latest moment that is possible")
	fs.StringVar(&o.to, "to", "", "the provider's name of the new instance")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

func newBackupDrillCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := newBackupChange(c, o, "drill -e ENV INSTANCE", "Prove that a restore works, and measure it",
		`Restore to a scratch instance, compare it to the source (schema, rows, freshness), measure how long that took and how much could have been lost,
against the targets in dbops.yaml, and remove the scratch instance. The source is only read.

A drill that finds a mismatch or misses a target ends with status 5.`,
		`  dbops backup drill -e staging main --yes
  dbops backup drill -e prod billing --database billing -o json`, backup.DrillKind,
		func(_ *cobra.Command, a *app.App, instance string) (any, error) {
			at, err := app.Moment(o.at)
			if err != nil {
				return nil, err
			}
			targets, err := a.DrillTargets(o.env, instance)
			return backup.DrillRequest{Time: at, Databases: o.databases, Keep: o.keep, Targets: targets}, err
		})
	fs := cmd.Flags()
	fs.StringVar(&o.at, "at", "", "a moment to restore to, as in 2026-11-28T03:15:00Z (default: the latest)")
	fs.StringSliceVar(&o.databases, "database", nil, "compare only this database, by its name on the server (may be repeated)")
	fs.BoolVar(&o.keep, "keep", false, "leave the scratch instance")
	return cmd
}

func printDrill(w io.Writer, r backup.DrillReport) {
	fmt.Fprintf(w, "drill of %s: %s\n", r.Source, r.Text)
	target := func(s backup.Span) string {
		if s == 0 {
			return "no target"
		}
		return "target " + s.String()
	}
	fmt.Fprintf(w, "  recovery time   %s (%s)\n  recovery point  %s (%s)\n", r.RTO, target(r.Targets.RTO), r.RPO, target(r.Targets.RPO))
	for _, d := range r.Databases {
		fmt.Fprintf(w, "  %-15s %d tables, %s; restored %s\n", d.Database, d.Tables, humanize.IBytes(uint64(d.Bytes)), humanize.IBytes(uint64(d.Restored)))
	}
	for _, k := range r.Checks {
		fmt.Fprintf(w, "  %-9s %s\n", k.Result, oneBlock(strings.Join(strings.Fields(k.Check+" "+k.Database+" "+k.Object+": "+k.Text), " ")))
	}
}

func newProtectCmd(c *cli, on bool) *cobra.Command {
	o := &backupOptions{}
	name, kind, short := "protect", backup.ProtectKind, "Protect an instance from being deleted"
	if !on {
		name, kind, short = "unprotect", backup.UnprotectKind, "Take the protection from deletion away"
	}
	return newBackupChange(c, o, name+" -e ENV INSTANCE", short, short+", in the provider.", "  dbops "+name+" -e staging main", kind,
		func(*cobra.Command, *app.App, string) (any, error) { return backup.ProtectRequest{}, nil })
}

func newRenameCmd(c *cli) *cobra.Command {
	o := &backupOptions{}
	cmd := newBackupChange(c, o, "rename -e ENV INSTANCE --to NAME", "Give an instance another name in its cloud",
		`RDS renames: the old DNS name is gone at once. Cloud SQL cannot: there a guided clone takes the wanted name, and the old instance stays. The plan
lists everything in dbops.yaml that names the old one.`,
		"  dbops rename -e staging billing --to billing-stage", backup.RenameKind,
		func(_ *cobra.Command, a *app.App, instance string) (any, error) {
			names, err := a.NamesOf(o.env, instance)
			return backup.RenameRequest{To: o.to, Names: names}, err
		})
	cmd.Flags().StringVar(&o.to, "to", "", "the new name")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}
