package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"dbops/internal/app"
	"dbops/internal/certs"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/serve"
	"dbops/internal/tui"
)

type serveOptions struct {
	ssh     string
	hostKey string
	limits  serve.Options
}

func newServeCmd(c *cli) *cobra.Command {
	o := &serveOptions{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the terminal UI over SSH",
		Long: `Serve the terminal UI over SSH until SIGTERM, for a host that those on call share: ssh -p 2222 HOST. Who has a key in the file that
approvals.allowed_signers of dbops.yaml names may log in, by that key and in no other way, under whatever user name; the name in that file is
who plans, runs and approves. serve.users says what each may do: read (everybody), change, or approve. Both files are read again while it runs:
who is taken out of them is sent away within seconds. What it serves of dbops.yaml else is as it was at the start.

A session has the terminal UI and nothing else: no commands, no files, no forwarding. It uses the credentials of this process, opens no proxy
and writes no files here. Runs are worked on by processes of their own: they go on when a session, or the server, ends.

Exit status: 0 told to end; 1 failed; 2 usage or configuration.`,
		Example: `  dbops serve
  dbops serve --ssh 10.0.3.7:2222 --host-key /etc/dbops/ssh_host_ed25519_key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runServe(cmd.Context(), c, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.ssh, "ssh", "127.0.0.1:2222", "host:port to listen on for SSH")
	f.StringVar(&o.hostKey, "host-key", "", "the file of the host's private key (default: made at the first start, in the folder of the state)")
	f.IntVar(&o.limits.Sessions, "sessions", 20, "how many sessions at once")
	f.IntVar(&o.limits.PerPerson, "sessions-each", 4, "how many of them one person may have")
	f.DurationVar(&o.limits.Idle, "idle", time.Hour, "close a session in which no key is pressed for this long")
	f.DurationVar(&o.limits.LoginTime, "login-time", 30*time.Second, "how long logging in may take")
	return cmd
}

func runServe(ctx context.Context, c *cli, o *serveOptions) error {
	if o.limits.Sessions < 1 || o.limits.PerPerson < 1 || o.limits.Idle <= 0 || o.limits.LoginTime <= 0 {
		return fault.Newf(fault.Usage, "read the flags", "--sessions, --sessions-each, --idle and --login-time must be more than 0")
	}
	log := slog.New(slog.NewTextHandler(c.err, nil))
	a, err := c.appLogging(log)
	if err != nil {
		return err
	}
	defer a.Close()
	guests, err := app.NewGuests(a.Config().Path)
	if err != nil {
		return err
	}
	if err := app.CheckGuests(a.Config()); err != nil {
		return err
	}
	file := o.hostKey
	if file == "" {
		file = filepath.Join(app.DefaultStateDir(c.getenv), "ssh_host_ed25519_key")
	}
	key, err := serve.HostKey(file, o.hostKey == "")
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.ssh)
	if err != nil {
		return fault.New(fault.Config, "listen on "+o.ssh, err).Hint("name another address: --ssh HOST:PORT")
	}
	fmt.Fprintf(c.err, "serving the terminal UI on %s until SIGTERM or Ctrl-C\nhost key %s (%s)\n", l.Addr(), ssh.FingerprintSHA256(key.PublicKey()), file)
	room := serveRoom{c, a, log}
	lim := o.limits
	lim.HostKey, lim.Log, lim.Show, lim.Note = key, log, room.show, room.note
	lim.Who = func(key ssh.PublicKey) (serve.Person, error) {
		g, err := guests.Find(key)
		return serve.Person{Name: g.Name, May: string(g.Right), Key: g.Key}, err
	}
	return serve.New(lim).Serve(ctx, l)
}

// serveRoom is what all sessions share.
type serveRoom struct {
	c   *cli
	a   *app.App
	log *slog.Logger
}

func guest(p serve.Person) app.Guest {
	return app.Guest{Name: p.Name, Right: config.Right(p.May), Key: p.Key}
}

// show is the terminal UI of one session.
func (r serveRoom) show(ctx context.Context, s *serve.Session) error {
	sizes, aloud := make(chan tui.Size), readOut(s.Env)
	var width atomic.Int64
	width.Store(int64(s.Size.W))
	ctx, over := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case n := <-s.Sizes:
				width.Store(int64(n.W))
				if aloud {
					continue
				}
				select {
				case sizes <- tui.Size(n):
				case <-ctx.Done():
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { over(); <-done }()
	desk := r.a.Desk(deskOf(guest(s.Person), func(ctx context.Context, run string) error {
		return carryRun(ctx, r.a.Config().Path, app.DefaultStateDir(r.c.getenv), run)
	}))
	defer desk.Close()
	opts := tui.Options{Env: s.Env, Version: version()}
	if aloud {
		opts.Lines = sshLines(s, func() int { return int(width.Load()) })
	} else {
		opts.Terminal = &tui.Terminal{In: s.In, Out: s.Out, Size: tui.Size(s.Size), Sizes: sizes}
	}
	return tui.Run(ctx, guestCore{core{desk}}, opts)
}

// deskOf is the desk of somebody whose right is known.
func deskOf(g app.Guest, carry func(context.Context, string) error) app.DeskOptions {
	o := app.DeskOptions{As: g.Actor(), Carry: carry}
	switch g.Right {
	case config.MayApprove:
	case config.MayChange:
		o.NoVotes = fmt.Sprintf("%s may not approve over SSH (serve.users in dbops.yaml)", g.Name)
	default:
		o.ReadOnly = fmt.Sprintf("%s may only read over SSH (serve.users in dbops.yaml)", g.Name)
	}
	return o
}

// note writes a session into the audit log, which nobody waits for long.
func (r serveRoom) note(ctx context.Context, p serve.Person, step, text string) {
	const limit = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.a.NoteSession(ctx, guest(p), step, text); err != nil {
		r.log.Error("a session is not in the audit log", "person", p.Name, "step", step, "err", err)
	}
}

// guestCore is the App as somebody elsewhere has it: what would happen on this machine, and not at theirs, is refused.
type guestCore struct{ core }

// Elsewhere is why the screen offers none of it.
func (guestCore) Elsewhere() string {
	return "over SSH that would be on the server: do it on your own machine"
}

func (guestCore) OpenProxy(_ context.Context, o app.ProxyOptions) (tui.Proxy, error) {
	return nil, elsewhere("open the proxy of "+o.Environment, "a proxy would listen on the server, for everybody there").
		Hint("on your own machine: dbops proxy -e %s", o.Environment)
}

func (guestCore) SavePlan(_ *op.Plan, file string) error {
	return elsewhere("write "+file, "files would be written on the server").Hint("on your own machine: the command line that the plan shows, with --out FILE")
}

func (guestCore) FetchKit(_ context.Context, r app.KitRequest) (*app.Kit, error) {
	return nil, elsewhere("write files for clients of "+r.Environment+"/"+r.Instance, "files would be written on the server").
		Hint("on your own machine: dbops certs fetch -e %s %s", r.Environment, r.Instance)
}

func (guestCore) ClientRequest(_ context.Context, env, instance, _, _, _, _ string) (certs.CreateRequest, error) {
	return certs.CreateRequest{}, elsewhere("make a client certificate for "+env+"/"+instance, "its private key would be written on the server").
		Hint("on your own machine: dbops certs create-client -e %s %s", env, instance)
}

func (guestCore) SaveUpgradeReport(_ context.Context, run, file string) error {
	return elsewhere("write "+file, "files would be written on the server").Hint("on your own machine: dbops upgrade report %s --out FILE", run)
}

func elsewhere(what, why string) *fault.Error {
	return fault.Newf(fault.Denied, what, "this is a session over SSH: %s", why)
}
