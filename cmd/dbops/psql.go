package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
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
	database string
	args     []string
}

func newPsqlCmd(c *cli) *cobra.Command {
	o := &psqlOptions{}
	cmd := &cobra.Command{
		Use:   "psql -e ENV DATABASE [-- ARGUMENT...]",
		Short: "Run psql on a database",
		Long: `Run psql on a database through a proxy of its own, which ends with it. What follows -- goes to psql as it is. The
password is handed over in the environment, never as an argument.

Exit status: psql's own once it runs; before that 1 failed, 2 usage or configuration.`,
		Example: `  dbops psql -e prod shop
  dbops psql -e prod shop -- -c 'select count(*) from shop.orders'
  dbops psql -e staging shop --access write -- -f fix.sql`,
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
	return cmd
}

// passSignals leaves Ctrl-C to psql, which cancels the statement; the terminal sends it to both of us, any number of times.
func passSignals() (release func()) {
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, os.Interrupt, syscall.SIGQUIT)
	return func() { signal.Stop(ignored) }
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
	p, err := a.OpenProxy(ctx, app.ProxyOptions{Environment: o.env, Access: access, Listen: "127.0.0.1:0", Unlisted: true})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = p.Close(ctx) // psql is gone, so nothing is left to drain
	}()
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		return fault.New(fault.Internal, "run psql", err)
	}
	release := passSignals()
	defer release()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), psql, o.args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	cmd.Env = append(pg.Environ(os.Environ()),
		"PGHOST="+host, "PGPORT="+port, "PGUSER="+app.ProxyUser, "PGDATABASE="+o.database,
		"PGPASSWORD="+p.Password().Reveal(), "PGSSLMODE=disable")
	if env, err := a.Config().Environment(o.env); err == nil && env.Protected && access != config.Read {
		warnProtected(c, o.env, access)
	}
	if err := cmd.Start(); err != nil {
		return fault.New(fault.Internal, "run psql", err)
	}
	// Whoever ends dbops means psql, too.
	stop := context.AfterFunc(c.ended, func() { _ = cmd.Process.Signal(syscall.SIGTERM) }) //nolint:contextcheck // not by Ctrl-C
	err = cmd.Wait()
	stop()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return &exitStatus{exit.ExitCode()}
	}
	if err != nil {
		return fault.New(fault.Internal, "run psql", err)
	}
	return nil
}
