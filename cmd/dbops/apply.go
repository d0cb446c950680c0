package main

import (
	"context"

	"github.com/spf13/cobra"

	"dbops/internal/fault"
)

type applyOptions struct {
	changeFlags
	plan string
}

func newApplyCmd(c *cli) *cobra.Command {
	o := &applyOptions{}
	cmd := &cobra.Command{
		Use:   "apply FILE|APPROVAL",
		Short: "Run a saved or approved plan",
		Long: `Run a plan that was saved with --plan --out FILE, or that waits under the name of its approval. The world is compared
with what the plan was made from: if it moved, nothing is changed. A plan is run once; applying it again goes on with its run.
--confirm may name several instances, with commas, as it does where several plans were made at once.
` + changeStatuses,
		Example: `  dbops availability set zonal -e staging main --plan --out plan.json
  dbops apply plan.json
  dbops apply a1b2c3d4 --confirm main      an approved plan of a protected environment`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.plan = args[0]
			return runApply(cmd.Context(), c, o)
		},
	}
	o.addRun(cmd)
	return cmd
}

func runApply(ctx context.Context, c *cli, o *applyOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	p, err := a.FindPlan(ctx, o.plan)
	if err != nil {
		return err
	}
	o.confirms(p.Instance)
	if p.Nothing() && len(p.Blocked()) == 0 {
		return c.nothing(ctx, a, p)
	}
	if r, ok, err := a.RunbookOf(ctx, p.Hash()); err != nil {
		return err
	} else if ok {
		return fault.Newf(fault.Blocked, p.Title, "run %s, a runbook, has planned it, and waits at its gate", r.ID).Hint("dbops runs decide %s continue", r.ID)
	}
	if err := c.present(p); err != nil {
		return err
	}
	return c.run(ctx, a, o.changeFlags, p)
}
