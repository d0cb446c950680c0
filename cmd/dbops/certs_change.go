package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

type certsClientOptions struct {
	changeFlags
	env, instance, name string
	dir, database, user string
}

func newCertsCreateClientCmd(c *cli) *cobra.Command {
	o := &certsClientOptions{}
	cmd := &cobra.Command{
		Use: "create-client -e ENV INSTANCE NAME", Short: "Make a certificate for a client (Cloud SQL)", Args: takes("INSTANCE", "NAME"),
		Long: `Have Cloud SQL make a client certificate. Google tells its key once: it is stored, for this user's eyes only, before anything else happens, or
the certificate is deleted again. Beside it come the certificate, the CAs, and the key as PKCS#8 in DER (JDBC) and PKCS#12 (.NET). The run's
last step sees in a handshake that the server takes it.
` + changeStatuses,
		Example: `  dbops certs create-client -e staging main laptop-ann
  dbops certs create-client -e prod main metabase --dir /etc/metabase/tls --confirm main
  dbops certs create-client -e prod main metabase --plan`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance, o.name = args[0], args[1]
			return runCertsCreateClient(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	fs := cmd.Flags()
	fs.StringVar(&o.dir, "dir", "", "the folder for its files, on this machine (default: certs/ENV-INSTANCE-NAME, here)")
	fs.StringVar(&o.database, "database", "", "for the settings (default: the only one, else one is chosen; the plan tells which)")
	fs.StringVar(&o.user, "user", "", "for the settings (default: the read login's)")
	o.add(cmd)
	return cmd
}

func runCertsCreateClient(ctx context.Context, c *cli, o *certsClientOptions) error {
	if o.detach {
		return fault.Newf(fault.Usage, "read the flags", "--detach would leave the key to a worker's disk").Hint("leave it out: the key belongs to this machine")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	dir := o.dir
	if dir == "" {
		dir = app.KitDir("", o.env, o.instance) + "-" + o.name
	}
	request, err := a.ClientRequest(ctx, o.env, o.instance, o.name, dir, o.database, o.user)
	if closeErr := a.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return c.change(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: o.instance, Kind: certs.CreateClientKind, Request: request})
}

func newCertsRevokeClientCmd(c *cli) *cobra.Command {
	o := &certsClientOptions{}
	cmd := &cobra.Command{
		Use: "revoke-client -e ENV INSTANCE NAME", Short: "Make a client certificate worthless (Cloud SQL)", Args: takes("INSTANCE", "NAME"),
		Long: `Delete a client certificate, by its name or its fingerprint. The server takes it for no new session; it cannot be had back. Its files stay
where they are; those below certs, here, are named.
` + changeStatuses,
		Example: "  dbops certs revoke-client -e staging main laptop-ann\n  dbops certs revoke-client -e prod main metabase --plan",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.instance, o.name = args[0], args[1]
			return runCertsRevokeClient(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

func runCertsRevokeClient(ctx context.Context, c *cli, o *certsClientOptions) error {
	a, err := c.app()
	if err != nil {
		return err
	}
	request, err := a.RevokeRequest(ctx, o.env, o.instance, o.name)
	if closeErr := a.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := c.change(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: o.instance, Kind: certs.RevokeClientKind, Request: request}); err != nil || o.plan || o.detach {
		return err
	}
	if a, err = c.app(); err != nil {
		return err
	}
	defer a.Close()
	c.warnOfFolders(ctx, a, o.env, o.instance)
	return nil
}

type certsRotateOptions struct {
	changeFlags
	env, to                  string
	back, inWindow, atReboot bool
}

func newCertsRotateCmd(c *cli) *cobra.Command {
	o := &certsRotateOptions{}
	cmd := &cobra.Command{
		Use: "rotate-ca -e ENV INSTANCE", Short: "Have the server show a certificate of another CA", Args: takes("INSTANCE"),
		Long: `Cloud SQL: add a CA, wait until somebody has given it to all clients (a gate), rotate to it, and see it in a handshake; --back rotates to the
previous one. RDS: change to another CA of the region, at once, in the maintenance window or at the next restart; the plan says whether the
engine restarts for it. Undoing the run rotates back.
` + changeStatuses,
		Example: `  dbops certs rotate-ca -e staging main
  dbops runs decide RUN continue                 when every client has both CAs
  dbops certs rotate-ca -e staging main --back
  dbops certs rotate-ca -e prod billing --to rds-ca-ecc384-g1 --in-window --confirm billing`,
		RunE: func(cmd *cobra.Command, args []string) error { return runCertsRotate(cmd.Context(), c, o, args[0]) },
	}
	environmentFlag(cmd, &o.env, true)
	fs := cmd.Flags()
	fs.StringVar(&o.to, "to", "", "the CA to change to (rds; default: the one of new instances)")
	fs.BoolVar(&o.back, "back", false, "rotate to the previous CA (cloudsql)")
	fs.BoolVar(&o.inWindow, "in-window", false, "in the maintenance window (rds)")
	fs.BoolVar(&o.atReboot, "at-reboot", false, "when the instance restarts for whatever reason (rds)")
	cmd.MarkFlagsMutuallyExclusive("in-window", "at-reboot")
	cmd.MarkFlagsMutuallyExclusive("to", "back")
	o.add(cmd)
	return cmd
}

func runCertsRotate(ctx context.Context, c *cli, o *certsRotateOptions, instance string) error {
	r := certs.RotateRequest{To: o.to, Back: o.back, Now: time.Now().UTC().Truncate(time.Second)}
	switch {
	case o.inWindow:
		r.When = cloud.CAInWindow
	case o.atReboot:
		r.When = cloud.CAAtReboot
	}
	return c.rotate(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: instance, Kind: certs.RotateKind, Request: r})
}

// rotate is change for a plan that must not wait for another run on the instance: that changes what it was made from, or has a gate of its own,
// for which this run would wait for ever.
func (c *cli) rotate(ctx context.Context, f changeFlags, want app.Change) error {
	if c.capture != nil {
		return c.change(ctx, f, want)
	}
	if f.out != "" && !f.plan {
		return fault.Newf(fault.Usage, "read the flags", "--out needs --plan")
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	want.Key = c.sshKey(f.key)
	p, err := a.PlanChange(ctx, want)
	if err != nil {
		return err
	}
	app.Alone(p)
	switch {
	case f.plan:
		return c.planned(ctx, a, f, p)
	case p.Nothing() && len(p.Blocked()) == 0:
		return c.nothing(ctx, a, p)
	}
	if err := c.present(p); err != nil {
		return err
	}
	verdict := c.run(ctx, a, f, p)
	if fault.KindOf(verdict) == fault.Unapproved && c.atGate(ctx, a, p) {
		c.warnOfFolders(ctx, a, p.Environment, p.Instance)
	}
	return verdict
}

// atGate tells whether a plan's run waits for somebody to say that every client has the CA to come.
func (c *cli) atGate(ctx context.Context, a *app.App, p *op.Plan) bool {
	engine, err := a.Engine(ctx, app.EngineOptions{})
	if err != nil {
		return false
	}
	r, err := engine.Run(ctx, p.RunID())
	return err == nil && r.State == state.Gate
}
