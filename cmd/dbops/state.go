package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dbops/internal/op"
	"dbops/internal/state"
)

func newStateCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "See where plans, runs and the audit log live",
		Long:  `The state is a file of yours, or a PostgreSQL database of a team (state: in dbops.yaml). docs/state.md says how to make one, and which rights it needs.`,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use: "show", Short: "Show where the state is, who works, and what is held", Args: cobra.NoArgs,
		Example: "  dbops state show",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runStateShow(cmd.Context(), c) },
	}, &cobra.Command{
		Use: "migrate", Short: "Make or update the tables of the state", Args: cobra.NoArgs,
		Long: `Make or update the tables, as a role that may create schemas. Killed at any moment it has happened or not; the others need no such right.

Exit status: 0 up to date; 1 failed; 2 usage or configuration.`,
		Example: "  PGUSER=dbops_owner dbops state migrate",
		RunE:    func(cmd *cobra.Command, _ []string) error { return runStateMigrate(cmd.Context(), c) },
	})
	return cmd
}

// stateJSON is dbops/state/v1.
type stateJSON struct {
	Schema  string         `json:"schema"`
	Place   string         `json:"place"`
	Team    bool           `json:"team"`
	Workers []state.Runner `json:"workers"`
	Leases  []state.Lease  `json:"leases"`
}

func runStateShow(ctx context.Context, c *cli) error {
	a, s, err := c.store(ctx)
	if err != nil {
		return err
	}
	defer a.Close()
	out := stateJSON{Schema: "dbops/state/v1", Place: s.DB.Name, Team: s.Team(), Workers: []state.Runner{}, Leases: []state.Lease{}}
	err = s.Read(ctx, "look at the state", func(ctx context.Context, tx *state.Tx) error {
		workers, err := tx.Runners(ctx)
		if err != nil {
			return err
		}
		leases, err := tx.Leases(ctx)
		out.Workers, out.Leases = append(out.Workers, workers...), append(out.Leases, leases...)
		return err
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, out)
	}
	var b bytes.Buffer
	kind := "a file of this user"
	if out.Team {
		kind = "shared by a team"
	}
	fmt.Fprintf(&b, "state   %s, %s\n", out.Place, kind)
	for _, w := range out.Workers {
		fmt.Fprintf(&b, "works   %s, process %d, for %s, since %s\n", w.Host, w.PID, strings.Join(w.Queues, " "), stamp(w.Started))
	}
	for _, l := range out.Leases {
		fmt.Fprintf(&b, "held    %s by run %s\n", l.Target, l.Run)
	}
	_, err = b.WriteTo(c.out)
	return err
}

func runStateMigrate(ctx context.Context, c *cli) error {
	a, s, err := c.store(ctx) // which migrates dbops's own tables
	if err != nil {
		return err
	}
	defer a.Close()
	if err := op.MigrateEngine(ctx, s.DB); err != nil {
		return err
	}
	if c.json() {
		return printJSON(c.out, stateJSON{Schema: "dbops/state/v1", Place: s.DB.Name, Team: s.Team(), Workers: []state.Runner{}, Leases: []state.Lease{}})
	}
	_, err = fmt.Fprintf(c.out, "%s is up to date\n", s.DB.Name)
	return err
}
