package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/secret"
)

// ProxyUser is the user name in the URIs of a proxy. Clients may send any: the password is what counts.
const ProxyUser = "dbops"

// Proxy is one open proxy.
type Proxy struct {
	env      string
	access   config.Access
	addr     string
	password secret.Value
	uris     []DatabaseURI
	caPEM    []byte

	server *proxy.Server
	stop   context.CancelFunc
	done   chan struct{}
	err    error // once done is closed
	unlist func()

	events     <-chan proxy.Event
	stopEvents func()
	closeOnce  sync.Once
}

// OpenProxy opens a proxy for every database of an environment and returns when it listens. It serves until [Proxy.Close]; ctx is
// only for opening it. No instance is contacted before a client asks for one of its databases.
func (a *App) OpenProxy(ctx context.Context, o ProxyOptions) (*Proxy, error) {
	env, err := a.cfg.Environment(o.Environment)
	if err != nil {
		return nil, err
	}
	op := "open the proxy of " + o.Environment
	access := cmp.Or(o.Access, config.Read)
	if !slices.Contains([]config.Access{config.Read, config.Write, config.Admin}, access) {
		return nil, fault.Newf(fault.Usage, op, "unknown access %q", access).Hint("want read, write or admin")
	}
	ups := a.upstreams(o.Environment, env, access)
	if len(ups) == 0 {
		return nil, fault.Newf(fault.Config, op, "it has no databases").Hint("add them under environments.%s.databases in %s", o.Environment, a.cfg.Path)
	}
	password := randomPassword()
	if o.PasswordFile != "" {
		if password, err = a.passwordFile(ctx, op, o.PasswordFile); err != nil {
			return nil, err
		}
	}
	tlsConfig, caPEM, err := proxy.LocalTLS()
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	log := o.Log
	if log == nil {
		log = a.opts.Log
	}
	server, err := proxy.New(proxy.Config{
		Environment: o.Environment, Access: string(access), Upstreams: ups,
		Password: password, TLS: tlsConfig, Log: log,
	})
	if err != nil {
		return nil, fault.New(fault.Internal, op, err)
	}
	ln, err := proxy.Listen(ctx, cmp.Or(o.Listen, env.Listen, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		env: o.Environment, access: access, addr: ln.Addr().String(), password: password, caPEM: caPEM,
		server: server, done: make(chan struct{}), unlist: func() {},
	}
	for _, u := range ups {
		p.uris = append(p.uris, DatabaseURI{Database: u.Database, Instance: u.Instance, URI: proxyURI(p.addr, u.Database, password)})
	}
	if !o.Unlisted {
		unlist, err := listProxy(a.opts.RuntimeDir, RunningProxy{
			Config: a.cfg.Path, Environment: p.env, Access: p.access, Addr: p.addr, Since: time.Now(), URIs: p.uris,
		})
		if err != nil { // the proxy is worth more than its entry in a list
			log.Warn("this proxy is not listed for other commands", "error", err)
		} else {
			p.unlist = unlist
		}
	}
	p.events, p.stopEvents = server.Events(256)
	var run context.Context
	run, p.stop = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(p.done)
		p.err = server.Serve(run, ln)
		p.unlist()
		p.stopEvents()
	}()
	if o.IdleExit > 0 {
		go p.stopWhenIdle(o.IdleExit)
	}
	return p, nil
}

// stopWhenIdle ends with the proxy.
func (p *Proxy) stopWhenIdle(limit time.Duration) {
	tick := time.NewTicker(max(limit/20, time.Millisecond))
	defer tick.Stop()
	busy, accepted := time.Now(), int64(0)
	for {
		select {
		case <-p.done:
			return
		case now := <-tick.C:
			t := p.server.Totals()
			if t.Open > 0 || t.Accepted != accepted {
				busy, accepted = now, t.Accepted
			}
			if now.Sub(busy) >= limit {
				p.stop()
			}
		}
	}
}

// upstreams are the databases of an environment, by name.
func (a *App) upstreams(name string, env *config.Environment, access config.Access) []proxy.Upstream {
	var ups []proxy.Upstream
	for db, d := range env.Databases {
		onServer := cmp.Or(d.Name, db)
		ups = append(ups, proxy.Upstream{
			Database: db, Instance: d.Instance,
			Config: func(ctx context.Context) (*pgconn.Config, error) {
				return a.connection(ctx, name, d.Instance, onServer, access)
			},
		})
	}
	slices.SortFunc(ups, func(x, y proxy.Upstream) int { return cmp.Compare(x.Database, y.Database) })
	return ups
}

// Environment is the environment it serves.
func (p *Proxy) Environment() string { return p.env }

// Access is what its sessions may do.
func (p *Proxy) Access() config.Access { return p.access }

// Addr is where it listens, host:port.
func (p *Proxy) Addr() string { return p.addr }

// Password is what clients must send, under any user name.
func (p *Proxy) Password() secret.Value { return p.password }

// URIs are the ways to its databases, by name.
func (p *Proxy) URIs() []DatabaseURI { return slices.Clone(p.uris) }

// CA is the certificate (PEM) by which clients can verify the proxy's own TLS, which is made anew for each run.
func (p *Proxy) CA() []byte { return p.caPEM }

// Connections lists the sessions that are open now.
func (p *Proxy) Connections() []proxy.Connection { return p.server.Connections() }

// Totals count since it was opened.
func (p *Proxy) Totals() proxy.Totals { return p.server.Totals() }

// Events are what happens to it; the channel is closed when it has ended.
func (p *Proxy) Events() <-chan proxy.Event { return p.events }

// Kill ends one session. It tells whether there was one with that id.
func (p *Proxy) Kill(id uint64) bool { return p.server.Kill(id) }

// Check logs in to a database and out again, as a client's connection would.
func (p *Proxy) Check(ctx context.Context, database string) error {
	return p.server.Check(ctx, database)
}

// Done is closed when it has ended.
func (p *Proxy) Done() <-chan struct{} { return p.done }

// Close stops accepting, lets sessions end as [proxy.Server.Serve] says, and waits for that or for ctx. Closing twice is nil.
func (p *Proxy) Close(ctx context.Context) error {
	p.closeOnce.Do(p.stop)
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return fmt.Errorf("drain the proxy of %s: %w", p.env, ctx.Err())
	}
}

// HasDatabase returns nil if the environment has the database, else a fault.Usage that lists those it has.
func (a *App) HasDatabase(env, database string) error {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return err
	}
	_, err = e.Database(database)
	return err
}

func (a *App) passwordFile(ctx context.Context, op, path string) (secret.Value, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return secret.Value{}, fault.New(fault.Usage, op, err)
	}
	v, err := a.secrets.Get(ctx, secret.Ref{Scheme: secret.SchemeFile, Name: abs})
	if err == nil && len(v.Reveal()) < minPassword {
		err = fault.Newf(fault.Usage, op, "the password in %s has fewer than %d letters", path, minPassword).
			Hint("openssl rand -hex 24 > %s", path)
	}
	return v, err
}

// minPassword keeps anybody on this machine from guessing a password that stays.
const minPassword = 12

func proxyURI(addr, database string, password secret.Value) string {
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(ProxyUser, password.Reveal()), Host: addr, Path: "/" + database}
	return u.String()
}

// randomPassword has 192 bits and only letters that no shell, URI or file format minds.
func randomPassword() secret.Value {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return secret.New(base64.RawURLEncoding.EncodeToString(b))
}
