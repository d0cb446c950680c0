package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/proxy"
	"dbops/internal/secret"
)

// ProxyUser is the user name in the URIs of a proxy. Its clients may also come under that of the system, and of the login role.
const ProxyUser = "dbops"

// Proxy is one open proxy.
type Proxy struct {
	app    *App
	id     string
	env    string
	access config.Access
	where  where
	caPEM  []byte
	reason string
	limit  time.Duration
	since  time.Time
	until  time.Time // zero: no end
	actor  op.Actor
	log    *slog.Logger

	server  *proxy.Server
	figures *figures
	tells   *proxy.Telemetry // nil: nobody wants to know
	entry   *entry
	listed  bool
	metrics string // where it tells figures, host:port; empty for nowhere

	stopWith context.CancelCauseFunc
	run      context.Context //nolint:containedctx // of what goes on until the proxy ends
	done     chan struct{}
	err      error // once done is closed

	events     <-chan proxy.Event
	stopEvents func()

	mu        sync.Mutex
	protected bool
	uris      []DatabaseURI
	trail     *trail
	ended     bool  // nothing is written to the trail any more
	unrevoked error // why the end of the access is not in the audit log
	reload    reloading
	why       atomic.Pointer[string]
}

// OpenProxy opens a proxy for every database of an environment and returns when it listens. It serves until [Proxy.Close], or until its
// time is over; ctx is only for opening it. No instance is contacted before a client asks for one of its databases.
func (a *App) OpenProxy(ctx context.Context, o ProxyOptions) (_ *Proxy, err error) {
	given := o.Given
	defer func() {
		if err != nil {
			closeAll(given)
		}
	}()
	env, err := a.cfg.Environment(o.Environment)
	if err != nil {
		return nil, err
	}
	what := "open the proxy of " + o.Environment
	access := cmp.Or(o.Access, config.Read)
	if !slices.Contains([]config.Access{config.Read, config.Write, config.Admin}, access) {
		return nil, fault.Newf(fault.Usage, what, "unknown access %q", access).Hint("want read, write or admin")
	}
	p := &Proxy{
		app: a, id: newProxyID(), env: o.Environment, access: access, reason: o.Reason, since: time.Now(), protected: env.Protected,
		log: cmp.Or(o.Log, a.opts.Log), done: make(chan struct{}),
	}
	if p.limit, err = window(env, access, o.Reason, o.For); err != nil {
		return nil, err
	}
	if p.limit > 0 {
		p.until = p.since.Add(p.limit)
	}
	p.figures = newFigures(p)
	if t := a.telemetry(ctx); t != nil {
		p.tells = proxy.NewTelemetry(func() *proxy.Server { return p.server }, o.Environment, string(access), t.Tracer(), t.Meter(), t.Parent())
	}
	ups := p.upstreams(a, env)
	if len(ups) == 0 {
		return nil, fault.Newf(fault.Config, what, "it has no databases").Hint("add them under environments.%s.databases in %s", o.Environment, a.cfg.Path)
	}
	p.where.password = randomPassword()
	if o.PasswordFile != "" {
		if p.where.password, err = a.passwordFile(ctx, what, o.PasswordFile); err != nil {
			return nil, err
		}
	}
	tlsConfig, caPEM, err := proxy.LocalTLS()
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	p.caPEM, p.where.tls = caPEM, o.RequireTLS
	application := proxy.DefaultApplication()
	if o.Nameless {
		application = ""
	}
	p.server, err = proxy.New(proxy.Config{
		Environment: o.Environment, Access: string(access), Upstreams: ups, Password: p.where.password, Users: proxyUsers(), Application: application, TLS: tlsConfig, RequireTLS: o.RequireTLS,
		Log: p.log, Refresh: p.refresh, Observe: p.observe, Phases: p.tells != nil, MaxConns: o.MaxConns, DrainTimeout: o.DrainTimeout,
	})
	if err != nil {
		return nil, fault.New(fault.Internal, what, err)
	}
	if err := p.begin(ctx, env, o); err != nil {
		return nil, err
	}
	return p, nil
}

// begin listens, and starts everything that goes on until the end.
func (p *Proxy) begin(ctx context.Context, env *config.Environment, o ProxyOptions) error {
	all, err := p.listen(ctx, env, o)
	if err != nil {
		return err
	}
	if guarded(env, p.access) {
		if err := p.grant(ctx); err != nil {
			closeAll(all)
			return err
		}
	}
	p.uris = p.urisOf(env)
	p.reload.last = stampOf(p.app.cfg.Path)
	p.run, p.stopWith = context.WithCancelCause(context.WithoutCancel(ctx))
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	var beside sync.WaitGroup
	if err := p.openControl(ctx, own, &beside, o); err != nil {
		end()
		beside.Wait()
		closeAll(all)
		return err
	}
	if env.Protected {
		p.startTrail(own)
	}
	p.events, p.stopEvents = p.server.Events(256)
	beside.Go(func() { p.watchConfig(own) })
	if o.IdleExit > 0 {
		beside.Go(func() { p.stopWhenIdle(own, o.IdleExit) })
	}
	if !p.until.IsZero() {
		beside.Go(func() { p.endInTime(own) })
	}
	go func() {
		defer close(p.done)
		p.err = p.server.Serve(p.run, proxy.Listeners(all...)) //nolint:contextcheck // p.run is made from ctx
		if p.tells != nil {
			p.tells.Close()
		}
		p.closeTrail()
		if guarded(env, p.access) {
			p.revoke(own)
		}
		if n, why := p.AuditLost(); n > 0 {
			p.log.Warn("entries of the audit log are lost", "entries", n, "error", why)
		}
		end()
		beside.Wait()
		p.reload.close()
		if p.entry != nil {
			if err := p.entry.remove(); err != nil {
				p.log.Warn("files of this proxy are left", "error", err)
			}
		}
		p.stopEvents()
	}()
	return nil
}

func closeAll(all []net.Listener) {
	for _, ln := range all {
		_ = ln.Close()
	}
}

// observe is told every event of the server.
func (p *Proxy) observe(e proxy.Event) {
	p.figures.observe(e)
	if p.tells != nil {
		p.tells.Observe(e)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trail == nil || p.ended {
		return
	}
	if entry := p.connectionEntry(e); entry != nil {
		p.trail.add(*entry)
	}
}

// startTrail begins to write connections into the audit log.
func (p *Proxy) startTrail(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.trail != nil || p.ended {
		return
	}
	t := newTrail(p.app.Store, func(failure bool, text string) { p.server.Note(ctx, failure, text) }, p.log)
	p.trail = t
	go t.run(context.WithoutCancel(ctx)) // closeTrail waits for it
}

func (p *Proxy) closeTrail() {
	p.mu.Lock()
	p.ended = true
	t := p.trail
	p.mu.Unlock()
	if t != nil {
		t.close()
	}
}

// stopWhenIdle ends the proxy after a while without clients.
func (p *Proxy) stopWhenIdle(ctx context.Context, limit time.Duration) {
	tick := time.NewTicker(max(limit/20, time.Millisecond))
	defer tick.Stop()
	busy, accepted := time.Now(), int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t := p.server.Totals()
			if t.Open > 0 || t.Accepted != accepted {
				busy, accepted = now, t.Accepted
			}
			if now.Sub(busy) >= limit {
				p.stop(&proxy.Goodbye{Reason: "the proxy had no client for " + short(limit), Hint: "open it again: " + p.command()})
				return
			}
		}
	}
}

// upstreams are the databases of an environment, by name, as a knows them.
func (p *Proxy) upstreams(a *App, env *config.Environment) []proxy.Upstream {
	var ups []proxy.Upstream
	for db, d := range env.Databases {
		up := a.upstream(p.env, db, cmp.Or(d.Name, db), d.Instance, p.access)
		login := up.Config
		up.Config = func(ctx context.Context) (*pgconn.Config, error) {
			cfg, err := login(ctx)
			if err == nil {
				p.figures.renewed(d.Instance)
			}
			return cfg, err
		}
		ups = append(ups, up)
	}
	slices.SortFunc(ups, func(x, y proxy.Upstream) int { return cmp.Compare(x.Database, y.Database) })
	return ups
}

func (p *Proxy) urisOf(env *config.Environment) []DatabaseURI {
	var out []DatabaseURI
	for _, name := range env.DatabaseNames() {
		out = append(out, p.where.database(name, env.Databases[name].Instance))
	}
	return out
}

// Environment is the environment it serves.
func (p *Proxy) Environment() string { return p.env }

// Access is what its sessions may do.
func (p *Proxy) Access() config.Access { return p.access }

// Addr is where it listens, host:port; the path of its socket if it has no port.
func (p *Proxy) Addr() string { return cmp.Or(p.where.addr, p.where.socket) }

// Socket is the path of its socket, empty for none.
func (p *Proxy) Socket() string { return p.where.socket }

// TCP is its host:port, empty for none.
func (p *Proxy) TCP() string { return p.where.addr }

// Metrics is where it tells figures, host:port; empty for nowhere.
func (p *Proxy) Metrics() string { return p.metrics }

// Until is when its time is over; the zero time if it has no end.
func (p *Proxy) Until() time.Time { return p.until }

// Password is what clients must send, under any user name.
func (p *Proxy) Password() secret.Value { return p.where.password }

// PassFile is a file for PGPASSFILE, CAFile the certificate for PGSSLROOTCERT. Both are there until the proxy ends, and empty where the
// runtime folder cannot be used.
func (p *Proxy) PassFile() string { return p.file(filePass) }

// CAFile is described at [Proxy.PassFile].
func (p *Proxy) CAFile() string { return p.file(fileCA) }

func (p *Proxy) file(kind string) string {
	if p.entry == nil {
		return ""
	}
	return p.entry.base + kind
}

// URIs are the ways to its databases, by name.
func (p *Proxy) URIs() []DatabaseURI {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.uris)
}

func (p *Proxy) isProtected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.protected
}

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

// Alive tells whether it answers: it does not hang.
func (p *Proxy) Alive() bool { return p.server.Alive() }

// Check logs in to a database and out again, as a client's connection would.
func (p *Proxy) Check(ctx context.Context, database string) error {
	return p.server.Check(ctx, database)
}

// Ending is closed when it begins to end: it takes no clients any more.
func (p *Proxy) Ending() <-chan struct{} { return p.run.Done() }

// Done is closed when it has ended.
func (p *Proxy) Done() <-chan struct{} { return p.done }

const wasClosed = "it was closed, by a signal or by what opened it"

// stop ends it; the first reason counts.
func (p *Proxy) stop(why *proxy.Goodbye) {
	text := why.Reason
	if p.why.CompareAndSwap(nil, &text) {
		p.log.Info("the proxy ends", "reason", text)
	}
	p.stopWith(why)
}

// ending is why it ended.
func (p *Proxy) ending() string {
	if why := p.why.Load(); why != nil {
		return *why
	}
	return wasClosed
}

// Close stops accepting, lets sessions end as [proxy.Server.Serve] says, and waits for that or for ctx. Closing twice is nil.
func (p *Proxy) Close(ctx context.Context) error {
	closed := wasClosed
	if p.why.CompareAndSwap(nil, &closed) {
		p.log.InfoContext(ctx, "the proxy ends", "reason", closed)
	}
	p.stopWith(nil)
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

// randomPassword has 192 bits and only letters that no shell, URI or file format minds.
func randomPassword() secret.Value {
	b := make([]byte, 24)
	_, _ = rand.Read(b) // never fails
	return secret.New(base64.RawURLEncoding.EncodeToString(b))
}

// newProxyID names one opening of a proxy in the audit log.
func newProxyID() string {
	b := make([]byte, 5)
	_, _ = rand.Read(b) // never fails
	return "proxy-" + hex.EncodeToString(b)
}

var errNoEntry = errors.New("the runtime folder cannot be used")
