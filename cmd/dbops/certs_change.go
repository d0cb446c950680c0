package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

type certsClientOptions struct {
	changeFlags
	env, instance, name string
	dir, database, user string
}

func newCertsCreateClientCmd(c *cli) *cobra.Command {
	o := &certsClientOptions{}
	cmd := &cobra.Command{
		Use: "create-client -e ENV INSTANCE NAME", Short: "Make a certificate for a client (Cloud SQL)", Args: cobra.ExactArgs(2),
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
	fs.StringVar(&o.database, "database", "", "for the settings (default: the instance's first)")
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
		dir = kitDir("", o.env, o.instance) + "-" + o.name
	}
	request, err := a.ClientRequest(o.env, o.instance, o.name, dir, o.database, o.user)
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
		Use: "revoke-client -e ENV INSTANCE NAME", Short: "Make a client certificate worthless (Cloud SQL)", Args: cobra.ExactArgs(2),
		Long: `Delete a client certificate, by its name or its fingerprint. The server takes it for no new session; it cannot be had back.
` + changeStatuses,
		Example: "  dbops certs revoke-client -e staging main laptop-ann\n  dbops certs revoke-client -e prod main metabase --plan",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.change(cmd.Context(), o.changeFlags, app.Change{
				Environment: o.env, Instance: args[0], Kind: certs.RevokeClientKind, Request: certs.RevokeRequest{Client: args[1]},
			})
		},
	}
	environmentFlag(cmd, &o.env, true)
	o.add(cmd)
	return cmd
}

type certsRotateOptions struct {
	changeFlags
	env, to                  string
	back, inWindow, atReboot bool
}

func newCertsRotateCmd(c *cli) *cobra.Command {
	o := &certsRotateOptions{}
	cmd := &cobra.Command{
		Use: "rotate-ca -e ENV INSTANCE", Short: "Have the server show a certificate of another CA", Args: cobra.ExactArgs(1),
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
	return c.change(ctx, o.changeFlags, app.Change{Environment: o.env, Instance: instance, Kind: certs.RotateKind, Request: r})
}
