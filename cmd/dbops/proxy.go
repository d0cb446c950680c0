package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/proxy"
)

type proxyOptions struct {
	env          string
	listen       string
	access       string
	passwordFile string
	idleExit     time.Duration
	check        bool
	background   bool
}

func newProxyCmd(c *cli) *cobra.Command {
	o := &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy -e ENV",
		Short: "Open one local port for all databases of an environment",
		Long: `Open one local port for all databases of an environment. The database that a client asks for decides where it
goes; dbops logs in there itself, over verified TLS, so that clients need nothing but the URI printed here.

Clients must send the password in the URI, under any user name. It is random and good for this run; --password-file
sets one that stays. Clients may ask for TLS or not; the certificate is made for this run (-o json prints it).

Sessions are read only unless --access says otherwise: they start with default_transaction_read_only, and log in as
the role that dbops.yaml names for that access. What the role may do is the wall; the setting is a guard.

Ctrl-C stops accepting, lets transactions end (10 s), then ends the rest. A second Ctrl-C ends at once.

--check tells whether it would work: it logs in to every database and ends.

Exit status: 0 ended by Ctrl-C or --idle-exit, or --check found nothing; 1 failed, the port is in use; 2 usage or
configuration; 5 --check found a database that cannot be reached.`,
		Example: `  dbops proxy -e prod
  dbops proxy -e prod --listen 127.0.0.1:6432 --access write
  dbops proxy -e prod --check
  dbops proxy -e prod -o json | jq -r '.databases[]?.uri'
  psql "$(dbops conn-uri -e prod shop)"                  in another terminal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxy(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "address of this machine to listen on (default: the environment's, else a free port of 127.0.0.1)")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password that clients must send; only its owner may read it")
	f.DurationVar(&o.idleExit, "idle-exit", 0, "end after so long without a client (0: never)")
	f.BoolVar(&o.check, "check", false, "log in to every database once, say which work, and end")
	f.BoolVar(&o.background, "background", false, "print one JSON object and nothing more")
	_ = f.MarkHidden("background") // conn-uri's way to leave one behind
	return cmd
}

func runProxy(ctx context.Context, c *cli, o *proxyOptions) error {
	access, err := parseAccess(o.access)
	if err != nil {
		return err
	}
	if o.idleExit < 0 {
		return fault.Newf(fault.Usage, "read the flags", "--idle-exit %s is negative", o.idleExit)
	}
	a, err := c.app()
	if err != nil {
		return err
	}
	defer a.Close()
	p, err := a.OpenProxy(ctx, app.ProxyOptions{
		Environment: o.env, Listen: o.listen, Access: access, PasswordFile: o.passwordFile, IdleExit: o.idleExit,
	})
	if err != nil {
		return err
	}
	if o.check {
		return checkProxy(ctx, c, p)
	}
	if err := announce(c, o, a, p); err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		if n := p.Totals().Open; n > 0 && !o.background {
			fmt.Fprintf(c.err, "draining, sessions open: %d; Ctrl-C again ends them\n", n)
		}
		_ = p.Close(context.WithoutCancel(ctx))
	}()
	for e := range p.Events() {
		if o.background {
			continue
		}
		if err := printEvent(c, e); err != nil {
			return err
		}
	}
	<-p.Done()
	return p.Close(context.WithoutCancel(ctx))
}

// proxyJSON is dbops/proxy/v1, the first line of the stream.
type proxyJSON struct {
	Schema      string            `json:"schema"`
	Environment string            `json:"environment"`
	Protected   bool              `json:"protected"`
	Access      config.Access     `json:"access"`
	Address     string            `json:"address"`
	PID         int               `json:"pid"`
	CA          string            `json:"ca"` // PEM
	Databases   []app.DatabaseURI `json:"databases"`
}

// proxyEventJSON is dbops/proxy-event/v1, every later line.
type proxyEventJSON struct {
	Schema string `json:"schema"`
	proxy.Event
}

func announce(c *cli, o *proxyOptions, a *app.App, p *app.Proxy) error {
	env, err := a.Config().Environment(o.env)
	if err != nil {
		return err
	}
	if c.json() || o.background {
		return printJSON(c.out, proxyJSON{
			Schema: "dbops/proxy/v1", Environment: p.Environment(), Protected: env.Protected, Access: p.Access(),
			Address: p.Addr(), PID: os.Getpid(), CA: string(p.CA()), Databases: p.URIs(),
		})
	}
	if env.Protected && p.Access() != config.Read {
		warnProtected(c, p.Environment(), p.Access())
	}
	fmt.Fprintf(c.err, "%s on %s, access %s; Ctrl-C drains and ends it\n", p.Environment(), p.Addr(), p.Access())
	rows := make([][]string, 0, len(p.URIs()))
	for _, u := range p.URIs() {
		rows = append(rows, []string{u.Database, u.Instance, u.URI})
	}
	return printTable(c.out, []string{"DATABASE", "INSTANCE", "URI"}, rows)
}

// proxyCheckJSON is dbops/proxy-check/v1.
type proxyCheckJSON struct {
	Schema    string              `json:"schema"`
	Databases []databaseCheckJSON `json:"databases"`
}

type databaseCheckJSON struct {
	Database string     `json:"database"`
	Instance string     `json:"instance"`
	Error    *errorJSON `json:"error,omitempty"`
}

// checkProxy logs in to every database at once, and ends the proxy.
func checkProxy(ctx context.Context, c *cli, p *app.Proxy) error {
	uris := p.URIs()
	errs := make([]error, len(uris))
	var wg sync.WaitGroup
	for i, u := range uris {
		wg.Go(func() { errs[i] = p.Check(ctx, u.Database) })
	}
	wg.Wait()
	if err := p.Close(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	out := proxyCheckJSON{Schema: "dbops/proxy-check/v1"}
	failed := 0
	for i, u := range uris {
		row := databaseCheckJSON{Database: u.Database, Instance: u.Instance}
		if errs[i] != nil {
			failed++
			e := errorObject(errs[i], c.verbose)
			row.Error = &e
		}
		out.Databases = append(out.Databases, row)
	}
	if c.json() {
		if err := printJSON(c.out, out); err != nil {
			return err
		}
	} else if err := printProxyCheck(c, out); err != nil {
		return err
	}
	if failed > 0 {
		return &exitStatus{5} // each has been explained
	}
	return nil
}

func printProxyCheck(c *cli, out proxyCheckJSON) error {
	rows := make([][]string, 0, len(out.Databases))
	for _, d := range out.Databases {
		verdict := "works"
		if d.Error != nil {
			verdict = "x " + oneBlock(d.Error.Message)
		}
		rows = append(rows, []string{d.Database, d.Instance, verdict})
	}
	err := printTable(c.out, []string{"DATABASE", "INSTANCE", "LOGIN"}, rows)
	for _, d := range out.Databases {
		if d.Error != nil && d.Error.Hint != "" {
			fmt.Fprintf(c.err, "next, for %s: %s\n", d.Database, oneBlock(d.Error.Hint))
		}
	}
	return err
}

// warnProtected says what one may be about to do.
func warnProtected(c *cli, env string, access config.Access) {
	fmt.Fprintf(c.err, "! %s is PROTECTED; access %s: these sessions can change it\n", env, access)
}

// printEvent shows what went wrong; with -v the log has said everything.
func printEvent(c *cli, e proxy.Event) error {
	if c.json() {
		return printJSON(c.out, proxyEventJSON{Schema: "dbops/proxy-event/v1", Event: e})
	}
	if !e.Failure || c.verbose {
		return nil
	}
	_, err := fmt.Fprintf(c.err, "%s x %s\n", e.At.Format(time.TimeOnly), oneBlock(e.Text))
	if err != nil {
		return fault.New(fault.Internal, "show what the proxy does", err)
	}
	return nil
}
