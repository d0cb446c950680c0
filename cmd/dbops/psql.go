package main

import (
	"context"
	"errors"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/pg"
)

type psqlOptions struct {
	env      string
	access   string
	reason   string
	limit    time.Duration
	database string
	args     []string
}

func newPsqlCmd(c *cli) *cobra.Command {
	o := &psqlOptions{}
	cmd := &cobra.Command{
		Use:   "psql -e ENV DATABASE [-- ARGUMENT...]",
		Short: "Run psql on a database",
		Long: `Run psql on a database through a proxy of its own, which ends with it. What follows -- goes to psql as it is. The
password is handed over in a file that only you can read, never as an argument or in the environment.

Exit status: psql's own once it runs; before that 1 failed, 2 usage or configuration, 4 a --reason is missing.`,
		Example: `  dbops psql -e prod shop
  dbops psql -e prod shop -- -c 'select count(*) from shop.orders'
  dbops psql -e staging shop --access write -- -f fix.sql
  dbops psql -e prod shop --access write --reason "ticket 4711"`,
		Args: func(cmd *cobra.Command, args []string) error {
			n := cmd.ArgsLenAtDash()
			if n < 0 {
				n = len(args)
			}
			if n != 1 {
				return errors.New("want one DATABASE; arguments for psql go after --")
			}
			o.database, o.args = args[0], args[1:]
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runPsql(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	reasonFlags(cmd, &o.reason, &o.limit)
	return cmd
}

func runPsql(ctx context.Context, c *cli, o *psqlOptions) error {
	access, err := parseAccess(o.access)
	if err != nil {
		return err
	}
	psql, err := pg.Tool("psql")
	if err != nil {
		return fault.New(fault.Config, "run psql", err).Hint("apt install postgresql-client, or brew install libpq")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	if err := a.HasDatabase(o.env, o.database); err != nil {
		return err
	}
	p, err := a.OpenProxy(ctx, app.ProxyOptions{
		Environment: o.env, Access: access, Listen: "127.0.0.1:0", Unlisted: true, Reason: o.reason, For: o.limit,
	})
	if err != nil {
		return err
	}
	defer closeSoon(ctx, c, p)
	go showEvents(c, p, true)
	lead, err := p.ClientEnv(o.database)
	if err != nil {
		return fault.New(fault.Internal, "run psql", err)
	}
	if env, err := a.Config().Environment(o.env); err == nil && env.Protected && access != config.Read {
		warnProtected(c, o.env, access)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), psql, o.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	cmd.Env = childEnv(lead)
	return runChild(cmd, "run psql")
}
