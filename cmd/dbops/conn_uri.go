package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
)

type connURIOptions struct {
	env      string
	access   string
	reason   string
	limit    time.Duration
	format   string
	database string
	idleExit time.Duration
}

func newConnURICmd(c *cli) *cobra.Command {
	o := &connURIOptions{}
	cmd := &cobra.Command{
		Use:   "conn-uri -e ENV DATABASE",
		Short: "Print a connection URI for a database",
		Long: `Print a URI by which any PostgreSQL client of this machine reaches a database: that of a proxy of yours that is open
for the environment and access, else of one that is opened in the background and ends when it had no client for a while.

The URI holds the proxy's password, which is good for that proxy only. It is never the database's own. --format prints the
same for what takes no URI: a JDBC URL, a line for ~/.pgpass, a section for pg_service.conf, or variables for a shell.

Exit status: 0 printed; 1 failed; 2 usage or configuration; 4 a --reason is missing.`,
		Example: `  psql "$(dbops conn-uri -e prod shop)"
  dbops conn-uri -e staging shop --access write -o json
  dbops conn-uri -e prod shop --format jdbc
  dbops conn-uri -e prod shop --format pgpass >>~/.pgpass
  eval "$(dbops conn-uri -e prod shop --format env)" && psql`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.database = args[0]
			return runConnURI(cmd.Context(), c, o)
		},
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	reasonFlags(cmd, &o.reason, &o.limit)
	cmd.Flags().StringVar(&o.format, "format", "uri", "uri, jdbc, pgpass, service or env")
	idleFlag(cmd, &o.idleExit, 10*time.Minute, "how long a proxy opened for this may be without a client")
	return cmd
}

// connURIJSON is dbops/conn-uri/v1.
type connURIJSON struct {
	Schema      string        `json:"schema"`
	Environment string        `json:"environment"`
	Access      config.Access `json:"access"`
	app.DatabaseURI
	PassFile string `json:"pass_file,omitempty"`
	PID      int    `json:"pid"`              // of the proxy
	Format   string `json:"format,omitempty"` // if another than uri was asked for
	Text     string `json:"text,omitempty"`   // in that format
}

func runConnURI(ctx context.Context, c *cli, o *connURIOptions) error {
	access, err := parseAccess(o.access)
	if err != nil {
		return err
	}
	form, ok := connFormats()[o.format]
	if !ok {
		return fault.Newf(fault.Usage, "read the flags", "unknown --format %q", o.format).Hint("want --format uri, jdbc, pgpass, service or env")
	}
	a, err := c.app()
	if err != nil {
		if open := c.openDespite(o, access); len(open) > 0 {
			fmt.Fprintf(c.err, "! dbops.yaml cannot be used, so this is the proxy that was open before: %s\n", oneBlock(err.Error()))
			if open[0].Protected && access != config.Read {
				warnProtected(c, o.env, access)
			}
			return printURI(c, o, form, open)
		}
		return err
	}
	defer a.Close()
	if err := a.HasDatabase(o.env, o.database); err != nil {
		return err
	}
	if env, err := a.Config().Environment(o.env); err == nil && env.Protected && access != config.Read {
		warnProtected(c, o.env, access)
	}
	open, err := a.RunningProxies(o.env, access)
	if err != nil {
		return fault.New(fault.Internal, "look for open proxies", err)
	}
	if len(open) == 0 {
		if open, err = openForURI(ctx, c, a, o, access); err != nil {
			return err
		}
	}
	return printURI(c, o, form, open)
}

// openDespite are the open proxies that have the database, of a dbops.yaml that cannot be read now.
func (c *cli) openDespite(o *connURIOptions, access config.Access) []app.RunningProxy {
	path, err := c.findConfig()
	if err != nil {
		return nil
	}
	all, err := c.openProxies(o.env)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(all, func(p app.RunningProxy) bool {
		return p.Config != path || p.Access != access ||
			!slices.ContainsFunc(p.URIs, func(u app.DatabaseURI) bool { return u.Database == o.database })
	})
}

// printURI prints the way to the database through the first of the open proxies that has it.
func printURI(c *cli, o *connURIOptions, form connFormat, open []app.RunningProxy) error {
	for _, p := range open {
		for _, u := range p.URIs {
			if u.Database != o.database {
				continue
			}
			if o.reason != "" && p.Protected && p.Access != config.Read && !p.Since.IsZero() { // it was open before
				fmt.Fprintf(c.err, "! this proxy is open since %s for the reason given then, until %s; the reason given now is not in the audit log\n",
					p.Since.Local().Format("15:04"), p.Until.Local().Format("15:04"))
			}
			text, err := form(p, u)
			if err != nil {
				return err
			}
			if !c.json() {
				_, err := fmt.Fprintln(c.out, text)
				return err
			}
			out := connURIJSON{
				Schema: "dbops/conn-uri/v1", Environment: o.env, Access: p.Access, DatabaseURI: u, PassFile: p.PassFile, PID: p.PID,
			}
			if o.format != "uri" {
				out.Format, out.Text = o.format, text
			}
			return printJSON(c.out, out)
		}
	}
	return fault.Newf(fault.Stale, "print the URI of "+o.database, "the open proxy of %s does not have it", o.env).
		Hint("dbops.yaml was just edited: try again; if that does not help, dbops proxy stop -e %s", o.env)
}

// openForURI leaves a proxy in the background, and finds it.
func openForURI(ctx context.Context, c *cli, a *app.App, o *connURIOptions, access config.Access) ([]app.RunningProxy, error) {
	if err := a.CheckReason(o.env, access, o.reason, o.limit); err != nil {
		return nil, err
	}
	ready, err := startBackground(ctx, a.Config().Path, app.DefaultStateDir(c.getenv), background(o.env, access, o.reason, o.limit, o.idleExit))
	if err != nil {
		return nil, err
	}
	p := app.RunningProxy{
		Environment: o.env, Access: access, Socket: ready.Socket, PassFile: ready.PassFile, PID: ready.PID, URIs: ready.Databases,
	}
	if ready.Address != ready.Socket {
		p.Addr = ready.Address
	}
	return []app.RunningProxy{p}, nil
}
