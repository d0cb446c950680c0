package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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
	socket       string
	tls          string
	access       string
	reason       string
	limit        time.Duration
	passwordFile string
	metrics      string
	idleExit     time.Duration
	check        bool
	daemon       bool
	background   bool
	maxConns     int
	nameless     bool
	drainTimeout time.Duration
	database     string
	command      []string // after --
}

func newProxyCmd(c *cli) *cobra.Command {
	o := &proxyOptions{}
	cmd := &cobra.Command{
		Use:   "proxy -e ENV [-- COMMAND...]",
		Short: "Open one local port for all databases of an environment",
		Long: `Open one local port, or a socket, for all databases of an environment. The database that a client asks for decides where
it goes; dbops logs in there itself, over verified TLS, so that clients need nothing but the URI printed here.

Clients must send the password in the URI, under any user name. It is random and good for this run; --password-file
sets one that stays. Clients of the socket (--unix-socket) need none: the system says who they are, and nobody but you
is let in. With --tls require, clients by TCP must encrypt; the certificate is made for this run (-o json prints it).

Sessions are read only unless --access says otherwise: they start with default_transaction_read_only, and log in as
the role that dbops.yaml names for that access. What the role may do is the wall; the setting is a guard. A protected
environment opens for write and admin with a --reason only, and for a time (--for); the audit log keeps both, and every
connection.

After -- comes a command to run with the proxy: PGHOST, PGPORT, PGUSER, PGPASSFILE and PGDATABASE lead there. The proxy
ends with it, and the exit status is the command's. --daemon leaves the proxy in the background instead.

Ctrl-C or SIGTERM stops accepting, lets transactions and statements end (--drain-timeout), then ends the rest. A
second one ends at once. Edits of dbops.yaml take effect with the next connection.

--check tells whether it would work: it logs in to every database and ends.

Exit status: 0 ended by Ctrl-C, when its time was over or by --exit-after-idle, or --check found nothing; 1 failed, the
port is in use; 2 usage or configuration; 4 a --reason is missing; 5 --check found a database that cannot be reached;
with a command, the command's own.`,
		Example: `  dbops proxy -e prod
  dbops proxy -e prod --unix-socket "$XDG_RUNTIME_DIR/prod"
  dbops proxy -e prod --listen 127.0.0.1:6432 --access write --reason "ticket 4711" --for 1h
  dbops proxy -e prod --max-connections 50 --drain-timeout 5m
  dbops proxy -e prod --database shop -- pg_dump --schema-only
  dbops proxy -e prod --daemon && dbops proxy wait -e prod --check
  dbops proxy -e prod --check
  dbops proxy -e prod -o json | jq -r '.databases[]?.uri'
  psql "$(dbops conn-uri -e prod shop)"                  in another terminal`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n > 0 || n < 0 && len(args) > 0 {
				return fmt.Errorf("unknown argument %q; a command to run goes after --", args[0])
			}
			o.command = args
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runProxy(cmd.Context(), c, o) },
	}
	environmentFlag(cmd, &o.env, true)
	accessFlag(cmd, &o.access)
	reasonFlags(cmd, &o.reason, &o.limit)
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "address of this machine to listen on (default: the environment's, else a free port of 127.0.0.1 if there is no socket)")
	f.StringVar(&o.socket, "unix-socket", "", "folder for a socket, .s.PGSQL.PORT with the port of --listen, else 5432; only you may be able to enter it")
	f.StringVar(&o.tls, "tls", "allow", "allow clients by TCP to encrypt, or require it")
	f.StringVar(&o.passwordFile, "password-file", "", "file with the password that clients must send; only its owner may read it")
	f.StringVar(&o.metrics, "metrics", "", "address of this machine for /metrics, /startup, /readiness and /liveness (default: only on the proxy's own socket)")
	idleFlag(cmd, &o.idleExit, 0, "end after so long without a client (0: never)")
	f.BoolVar(&o.nameless, "nameless", false, "leave sessions whose client gives no application_name without one (default: dbops:USER@HOST)")
	f.IntVar(&o.maxConns, "max-connections", 500, "clients that may be logged in at once; more are told 53300")
	f.DurationVar(&o.drainTimeout, "drain-timeout", 10*time.Second, "how long transactions and statements may go on after Ctrl-C or SIGTERM")
	f.StringVar(&o.database, "database", "", "the database that the command is led to (default: the only one of the environment, else none)")
	f.BoolVar(&o.check, "check", false, "log in to every database once, say which work, and end")
	f.BoolVar(&o.daemon, "daemon", false, "leave it in the background once it is ready; it logs to a file in the state folder")
	f.BoolVar(&o.background, "background", false, "print one JSON object and nothing more")
	_ = f.MarkHidden("background") // --daemon's and conn-uri's way to leave one behind
	cmd.AddCommand(newProxyWaitCmd(c), newProxyListCmd(c), newProxyStopCmd(c))
	return cmd
}

// idleFlag adds --exit-after-idle, and the name that it had before.
func idleFlag(cmd *cobra.Command, to *time.Duration, std time.Duration, help string) {
	f := cmd.Flags()
	f.DurationVar(to, "exit-after-idle", std, help)
	f.DurationVar(to, "idle-exit", std, help)
	_ = f.MarkHidden("idle-exit")
}

func reasonFlags(cmd *cobra.Command, reason *string, limit *time.Duration) {
	f := cmd.Flags()
	f.StringVar(reason, "reason", "", "why a protected environment is opened for write or admin; the audit log keeps it")
	f.Var((*someTime)(limit), "for", "how long it is open (default: 30m where a reason is needed, else without an end; there at most 8h)")
}

// someTime is a duration that was not given, or is more than nothing: 0 must not mean the default.
type someTime time.Duration

func (d *someTime) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set implements [pflag.Value].
func (d *someTime) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		return err
	}
	if v <= 0 {
		return errors.New("must be more than 0, such as 30m")
	}
	*d = someTime(v)
	return nil
}

// Type implements [pflag.Value].
func (d *someTime) Type() string { return "duration" }

// readProxy checks the flags and makes of them what the app wants.
func (o *proxyOptions) read() (app.ProxyOptions, error) {
	const what = "read the flags"
	access, err := parseAccess(o.access)
	if err != nil {
		return app.ProxyOptions{}, err
	}
	switch {
	case o.idleExit < 0:
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "--exit-after-idle %s is negative", o.idleExit)
	case o.maxConns <= 0 || o.drainTimeout <= 0:
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "--max-connections %d and --drain-timeout %s must be more than 0", o.maxConns, o.drainTimeout)
	case o.tls != "allow" && o.tls != "require":
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "unknown --tls %q", o.tls).Hint("want --tls allow or require")
	case o.daemon && (o.check || len(o.command) > 0):
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "--daemon goes neither with --check nor with a command")
	case o.check && len(o.command) > 0:
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "--check does not go with a command")
	case o.database != "" && len(o.command) == 0:
		return app.ProxyOptions{}, fault.Newf(fault.Usage, what, "--database is for a command after --")
	}
	return app.ProxyOptions{
		Environment: o.env, Listen: o.listen, Socket: o.socket, RequireTLS: o.tls == "require", Access: access, PasswordFile: o.passwordFile,
		Reason: o.reason, For: o.limit, Metrics: o.metrics, IdleExit: o.idleExit,
		Nameless: o.nameless, MaxConns: o.maxConns, DrainTimeout: o.drainTimeout,
	}, nil
}

func runProxy(ctx context.Context, c *cli, o *proxyOptions) error {
	po, err := o.read()
	if err != nil {
		return err
	}
	if o.daemon {
		return runDaemon(ctx, c, o, po.Access)
	}
	if o.background {
		return runBackground(ctx, c, o, po)
	}
	if po.Given, err = handedOver(); err != nil {
		return err
	}
	a, err := c.app()
	if err != nil {
		closeListeners(po.Given)
		return err
	}
	defer a.Close()
	if o.check { // nobody is to come
		po.Unlisted = true
	}
	if len(o.command) > 0 {
		return runWithProxy(ctx, c, a, o, po)
	}
	p, err := a.OpenProxy(ctx, po)
	if err != nil {
		return err
	}
	if o.check {
		return checkProxy(ctx, c, p)
	}
	if err := announce(c, o, a, p); err != nil {
		return err
	}
	notifier := newNotifier(c.log())
	notifier.ready()
	go notifier.watch(p.Alive, p.Done())
	go func() {
		<-p.Ending()
		notifier.stopping()
	}()
	go func() {
		<-ctx.Done()
		if n := p.Totals().Open; n > 0 {
			fmt.Fprintf(c.err, "draining, sessions open: %d; Ctrl-C again ends them\n", n)
		}
		_ = p.Close(context.WithoutCancel(ctx))
	}()
	defer sayLost(c, p)
	for e := range p.Events() {
		if err := printEvent(c, e); err != nil {
			return err
		}
	}
	<-p.Done()
	notifier.stopping()
	return p.Close(context.WithoutCancel(ctx))
}

// sayLost says at the end of a proxy what the audit log does not know of it, whatever else is shown.
func sayLost(c *cli, p *app.Proxy) {
	if n, why := p.AuditLost(); n > 0 {
		fmt.Fprintf(c.err, "x entries of the audit log on %s that are lost: %d; %s\n", p.Environment(), n, oneBlock(why))
	}
}

func closeListeners(all []net.Listener) {
	for _, ln := range all {
		_ = ln.Close()
	}
}

// runBackground serves for nobody to see: it prints one line, the ready line or an error, and logs to standard error, a file.
func runBackground(ctx context.Context, c *cli, o *proxyOptions, po app.ProxyOptions) error {
	p, a, err := openBackground(ctx, c, po)
	if err != nil {
		_ = printJSON(c.out, errorObject(err, c.verbose))
		return &exitStatus{fault.ExitStatus(err)}
	}
	defer a.Close()
	if err := announce(c, o, a, p); err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		_ = p.Close(context.WithoutCancel(ctx))
	}()
	for range p.Events() { // the log has them
	}
	<-p.Done()
	return p.Close(context.WithoutCancel(ctx))
}

func openBackground(ctx context.Context, c *cli, po app.ProxyOptions) (*app.Proxy, *app.App, error) {
	a, err := c.appLogging(slog.New(slog.NewTextHandler(c.err, nil)))
	if err != nil {
		return nil, nil, err
	}
	p, err := a.OpenProxy(ctx, po)
	if err != nil {
		_ = a.Close()
		return nil, nil, err
	}
	return p, a, nil
}

// proxyJSON is dbops/proxy/v1, the first line of the stream.
type proxyJSON struct {
	Schema      string            `json:"schema"`
	Environment string            `json:"environment"`
	Protected   bool              `json:"protected"`
	Access      config.Access     `json:"access"`
	Address     string            `json:"address"` // host:port; the socket's path if there is no port
	Socket      string            `json:"socket,omitempty"`
	Metrics     string            `json:"metrics,omitempty"`
	Until       time.Time         `json:"until,omitzero"`
	PID         int               `json:"pid"`
	CA          string            `json:"ca"` // PEM
	PassFile    string            `json:"pass_file,omitempty"`
	Log         string            `json:"log,omitempty"` // of one in the background
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
	ready := proxyJSON{
		Schema: "dbops/proxy/v1", Environment: p.Environment(), Protected: env.Protected, Access: p.Access(), Address: p.Addr(), Socket: p.Socket(),
		Metrics: p.Metrics(), Until: p.Until(), PID: os.Getpid(), CA: string(p.CA()), PassFile: p.PassFile(), Databases: p.URIs(),
	}
	if c.json() || o.background {
		return printJSON(c.out, ready)
	}
	return announceText(c, ready, "; Ctrl-C drains and ends it")
}

func announceText(c *cli, p proxyJSON, how string) error {
	if p.Protected && p.Access != config.Read {
		warnProtected(c, p.Environment, p.Access)
	}
	at := p.Address
	if p.Socket != "" && p.Socket != p.Address {
		at += " and " + p.Socket
	}
	if !p.Until.IsZero() {
		how = ", until " + p.Until.Local().Format("15:04") + how
	}
	fmt.Fprintf(c.err, "%s on %s, access %s%s\n", p.Environment, at, p.Access, how)
	if p.Metrics != "" {
		fmt.Fprintf(c.err, "figures on http://%s/metrics\n", p.Metrics)
	}
	rows := make([][]string, 0, len(p.Databases))
	for _, u := range p.Databases {
		rows = append(rows, []string{u.Database, u.Instance, u.URI})
	}
	return printTable(c.out, []string{"DATABASE", "INSTANCE", "URI"}, rows)
}

// warnProtected says what one may be about to do.
func warnProtected(c *cli, env string, access config.Access) {
	fmt.Fprintf(c.err, "! %s is PROTECTED; access %s: these sessions can change it\n", env, access)
}

// printEvent shows what went wrong, and what dbops has to say; with -v the log has said everything.
func printEvent(c *cli, e proxy.Event) error {
	if c.json() {
		return printJSON(c.out, proxyEventJSON{Schema: "dbops/proxy-event/v1", Event: e})
	}
	if c.verbose || !e.Failure && e.Kind != "note" {
		return nil
	}
	mark := "x"
	if !e.Failure {
		mark = "-"
	}
	_, err := fmt.Fprintf(c.err, "%s %s %s\n", e.At.Format(time.TimeOnly), mark, oneBlock(e.Text))
	if err != nil {
		return fault.New(fault.Internal, "show what the proxy does", err)
	}
	return nil
}
