package main

import (
	"context"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/availability"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

type availabilityOptions struct {
	changeFlags
	env, instance, want string
	inWindow            bool
}

func newAvailabilityCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "availability",
		Short: "Show and switch regional and zonal availability",
		Long:  `A regional instance has a standby in a second zone (RDS: Multi-AZ; Cloud SQL: REGIONAL); a zonal one has none.`,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newAvailabilityShowCmd(c), newAvailabilitySetCmd(c))
	return cmd
}

func newAvailabilityShowCmd(c *cli) *cobra.Command {
	o := &availabilityOptions{}
	cmd := &cobra.Command{
		Use: "show [INSTANCE]", Short: "Show availability, zones and what a switch would need", Args: cobra.MaximumNArgs(1),
		Example: "  dbops availability show -e prod\n  dbops availability show -e prod main -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.instance = args[0]
			}
			return runAvailabilityShow(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, false)
	return cmd
}

// availabilityJSON is one instance in dbops/availability/v1.
type availabilityJSON struct {
	Environment  string             `json:"environment"`
	Instance     string             `json:"instance"`
	Provider     cloud.Kind         `json:"provider"`
	Availability cloud.Availability `json:"availability,omitempty"`
	Zone         string             `json:"zone,omitempty"`
	Standby      string             `json:"standby,omitempty"`
	Window       string             `json:"maintenance_window,omitempty"`
	Backups      bool               `json:"backups"`
	PITR         bool               `json:"pitr"`
	Pending      []cloud.Change     `json:"pending,omitempty"`
	Error        *errorJSON         `json:"error,omitempty"`
}

func runAvailabilityShow(ctx context.Context, c *cli, o *availabilityOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	all, cut, err := c.statuses(ctx, a, o.env, o.instance)
	if err != nil {
		return err
	}
	out := make([]availabilityJSON, 0, len(all))
	rows := make([][]string, 0, len(all))
	failed := false
	for _, s := range all {
		one := availabilityJSON{Environment: s.Environment, Instance: s.Name, Provider: s.Provider}
		row := []string{s.Environment, s.Name, string(s.Provider)}
		if s.Err != nil {
			failed = true
			e := errorObject(s.Err, c.verbose)
			one.Error = &e
			row = append(row, "x "+failureWord(s.Err), "?", "?", "?", "?")
		} else {
			l := s.Live
			one.Availability, one.Zone, one.Standby, one.Window = l.Availability, l.Zone, l.SecondaryZone, l.Maintenance.Window
			one.Backups, one.PITR, one.Pending = l.Backups.Enabled, l.Backups.PITR, l.Pending
			row = append(row, orText(string(l.Availability), "-"), orText(l.Zone, "-"), orText(l.SecondaryZone, "-"), backupWord(l), orText(l.Maintenance.Window, "not set"))
		}
		out, rows = append(out, one), append(rows, row)
	}
	if c.json() {
		err = printJSON(c.out, struct {
			Schema    string             `json:"schema"`
			Instances []availabilityJSON `json:"instances"`
		}{"dbops/availability/v1", out})
	} else {
		err = printTable(c.out, []string{"ENVIRONMENT", "INSTANCE", "PROVIDER", "AVAILABILITY", "ZONE", "STANDBY", "BACKUPS", "WINDOW"}, rows)
	}
	switch {
	case err != nil:
		return err
	case cut != nil:
		return cut
	case failed:
		return &exitStatus{1}
	}
	return nil
}

func newAvailabilitySetCmd(c *cli) *cobra.Command {
	o := &availabilityOptions{}
	cmd := &cobra.Command{
		Use:   "set regional|zonal -e ENV INSTANCE",
		Short: "Make an instance regional or zonal",
		Long: `Give an instance a standby in a second zone, or take it away. The plan shows preconditions, what else would be applied along, and what is
known about downtime; the run waits until it has truly happened, and measures how long the database could not be reached.
` + changeStatuses,
		Example: `  dbops availability set regional -e staging main
  dbops availability set zonal -e prod main --plan --out plan.json
  dbops availability set regional -e prod billing --in-window --confirm billing`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.want, o.instance = args[0], args[1]
			return runAvailabilitySet(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	cmd.Flags().BoolVar(&o.inWindow, "in-window", false, "let the provider do it in the maintenance window (rds)")
	o.add(cmd)
	return cmd
}

func runAvailabilitySet(ctx context.Context, c *cli, o *availabilityOptions) error {
	want := cloud.Availability(o.want)
	if want != cloud.Regional && want != cloud.Zonal {
		return fault.Newf(fault.Usage, "read the arguments", "unknown availability %q", o.want).Hint("want regional or zonal")
	}
	return c.change(ctx, o.changeFlags, app.Change{
		Environment: o.env, Instance: o.instance, Kind: availability.SetKind,
		Request: availability.SetRequest{Want: want, InWindow: o.inWindow},
	})
}

func newFailoverCmd(c *cli) *cobra.Command {
	o := &availabilityOptions{}
	cmd := &cobra.Command{
		Use:   "failover -e ENV INSTANCE",
		Short: "Make the standby of a regional instance the primary: a drill",
		Long: `Fail over through the provider's own call, once, and report the zones before and after and the measured downtime. Sessions are cut.
` + changeStatuses,
		Example: "  dbops failover -e staging main\n  dbops failover -e prod main --plan",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance = args[0]
			return c.change(cmd.Context(), o.changeFlags, app.Change{
				Environment: o.env, Instance: o.instance, Kind: availability.FailoverKind, Request: availability.FailoverRequest{},
			})
		},
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}
