package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dbops/internal/fault"
)

// Server is a proxy. It is made by [New]; its methods may be called from any goroutine.
type Server struct {
	cfg       Config
	databases atomic.Pointer[catalogue]
	log       *slog.Logger
	logs      *logQueue // behind log
	hub       hub
	pool      buffers
	processes *processes
	scramKeys scramKeys
	tickets   tickets

	startups   chan struct{} // a place for each connection that has not logged in
	waiting    chan struct{} // a place for each one that waits for such a place
	cancelling chan struct{} // a place for each cancel request on its way
	served     atomic.Bool
	nextID     atomic.Uint64
	reached    sync.Map // instance to the time.Time of the last login
	expiries   sync.Map // instance to the end of its certificate

	queue      time.Duration // for a place among those that log in
	stuckAfter time.Duration // of a peer that acknowledges nothing
	stuckEvery time.Duration // between two looks

	mu       sync.Mutex
	draining bool
	goodbye  *refusal // what clients are told while draining
	sessions map[uint64]*session
	keys     map[cancelKey]*session
	past     Totals // of what has ended
}

const (
	waitingMax    = 500
	cancellingMax = 32
	listMax       = 20 // databases in a hint
)

// New checks cfg and returns a proxy that serves nobody yet. Its errors are fault.Config.
func New(cfg Config) (*Server, error) {
	op := "set up the proxy of environment " + cfg.Environment
	if cfg.Password.IsZero() {
		return nil, fault.Newf(fault.Config, op, "no password for its clients")
	}
	if len(cfg.Upstreams) == 0 {
		return nil, fault.Newf(fault.Config, op, "the environment has no databases").Hint("name them under databases: in dbops.yaml")
	}
	for d, std := range map[*time.Duration]time.Duration{
		&cfg.StartupTimeout: 10 * time.Second, &cfg.ConnectTimeout: 15 * time.Second, &cfg.DrainTimeout: 10 * time.Second,
		&cfg.StartWait: 5 * time.Second,
	} {
		if *d <= 0 {
			*d = std
		}
	}
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = 500
	}
	if cfg.MaxStartups <= 0 {
		cfg.MaxStartups = 100
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{alpn}
		cfg.TLS.DynamicRecordSizingDisabled = true
	}
	s := &Server{
		cfg: cfg, logs: newLogQueue(),
		processes:  newProcesses(),
		startups:   make(chan struct{}, cfg.MaxStartups),
		waiting:    make(chan struct{}, waitingMax),
		queue:      3 * time.Second,
		cancelling: make(chan struct{}, cancellingMax),
		stuckAfter: 50 * time.Second,
		stuckEvery: 5 * time.Second,
		sessions:   map[uint64]*session{},
		keys:       map[cancelKey]*session{},
	}
	s.log = slog.New(queued{cfg.Log.Handler(), s.logs})
	c, err := newCatalogue(cfg.Upstreams)
	if err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	s.databases.Store(c)
	return s, nil
}

// Serve accepts clients until ctx ends, then drains: idle sessions are ended at once, those in a transaction or running a
// statement get Config.DrainTimeout. It returns nil after that, or why accepting failed; then every goroutine, both ends of every
// session and ln are closed. It may be called once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer ln.Close()
	if !s.served.CompareAndSwap(false, true) {
		return fault.Newf(fault.Internal, "serve", "the proxy was served before")
	}
	defer s.hub.close()
	logging, endLog := context.WithCancel(context.WithoutCancel(ctx))
	go s.logs.write(logging)
	defer s.logs.last()
	defer endLog()
	closeOnce := sync.OnceFunc(func() { _ = ln.Close() })
	defer context.AfterFunc(ctx, closeOnce)()

	watching, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	// The sessions outlive ctx; what has not become one ends with the listener.
	own, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg, watch sync.WaitGroup
	watch.Go(func() { s.watch(watching) })
	err := s.accept(ctx, own, ln, &wg)
	closeOnce()
	s.drain(own, goodbyeOf(ctx), stop, &wg)
	unwatch()
	watch.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fault.New(fault.Internal, "accept clients on "+ln.Addr().String(), err)
}

// accept serves each connection on a goroutine of its own until the listener is closed. Running out of file descriptors or memory
// is waited out.
func (s *Server) accept(ctx, own context.Context, ln net.Listener, wg *sync.WaitGroup) error {
	var pause time.Duration
	var told time.Time
	for {
		conn, err := ln.Accept()
		if err == nil {
			pause = 0
			wg.Go(func() { s.handle(own, conn) })
			continue
		}
		if ctx.Err() != nil || !passing(err) {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.log.WarnContext(ctx, "accept failed", "error", err.Error(), "pause", pause)
		if limit, hint, ok := outOfFiles(err); ok && time.Since(told) > time.Minute {
			told = time.Now()
			s.Note(ctx, true, fmt.Sprintf("clients wait to be let in: %s; %s", limit, hint))
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// passing tells whether accepting may work again later.
func passing(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// handle serves one connection to its end.
func (s *Server) handle(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	// A handshake makes a stack grow that a quiet session would keep for hours: so it has a goroutine of its own.
	begun := make(chan *session)
	go func() { begun <- s.receive(ctx, conn) }()
	sess := <-begun
	if sess == nil {
		return
	}
	defer sess.server.Conn.Close()
	sess.relay(ctx)
	s.forget(sess)
	<-sess.told
	s.closed(sess)
}

// receive makes a session of a connection; nil if it became none, and all has been said.
func (s *Server) receive(ctx context.Context, conn net.Conn) *session {
	keepAlive(conn)
	c := &client{Conn: conn, socket: conn, pool: &s.pool, came: time.Now()}
	if s.cfg.Phases {
		c.phases = &phases{}
	}
	place := s.place(ctx)
	if place == nil {
		return nil
	}
	release := sync.OnceFunc(func() { <-place })
	defer release()

	h, err := s.startup(ctx, c, place == s.waiting)
	switch {
	case errors.Is(err, errSilent):
		return nil
	case err != nil:
		s.refused(ctx, c, h, nil, err)
		return nil
	case h.cancel != "":
		release()
		s.cancelStatement(ctx, h.cancel)
		return nil
	}
	return s.begin(ctx, c, h, release)
}

// place takes a place among those that log in, after a while of waiting if there are too many. If there still is none, it stays
// in the waiting room, to be told so; if that is full, too, it is nil.
func (s *Server) place(ctx context.Context) chan struct{} {
	select {
	case s.startups <- struct{}{}:
		return s.startups
	default:
	}
	select {
	case s.waiting <- struct{}{}:
	default:
		return nil
	}
	timer := time.NewTimer(s.queue)
	defer timer.Stop()
	select {
	case s.startups <- struct{}{}:
		<-s.waiting
		return s.startups
	case <-timer.C:
	case <-ctx.Done():
	}
	return s.waiting
}

// startup reads what the client asks for and checks its password. In a crowd it may only cancel.
func (s *Server) startup(ctx context.Context, c *client, crowded bool) (*hello, error) {
	limit := s.cfg.StartupTimeout
	if crowded {
		limit = min(limit, lastWords)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = c.socket.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	h, err := c.hello(ctx, s.cfg.TLS)
	if err != nil || h.cancel != "" {
		return h, s.interrupted(ctx, err)
	}
	if crowded {
		return h, refuse("53300", "too many connections are logging in: the limit is %d", s.cfg.MaxStartups).
			hint("connect again in a moment; look for a client that opens many connections and does not log in")
	}
	if err := s.admit(c, h); err != nil {
		return h, s.interrupted(ctx, err)
	}
	if !stop() {
		return h, s.interrupted(ctx, context.Cause(ctx))
	}
	_ = c.SetDeadline(time.Time{})
	return h, nil
}

// interrupted replaces what a shutdown made of a read by the reason.
func (s *Server) interrupted(ctx context.Context, err error) error {
	if r, ok := errors.AsType[*refusal](context.Cause(ctx)); ok && err != nil && !errors.Is(err, errSilent) {
		return r
	}
	return err
}

// begin logs in upstream for a client that has shown the password. release gives back the place of a client that has not logged in.
func (s *Server) begin(ctx context.Context, c *client, h *hello, release func()) (begun *session) {
	peer := s.identify(c)
	defer func() {
		if begun == nil { // else opened waits for it
			peer.wait()
		}
	}()
	sess, err := s.open(ctx, c, h, peer, release)
	if err != nil {
		s.refused(ctx, c, h, peer, err)
		return nil
	}
	u, loginErr := s.login(sess.ctx, sess.up, h.params, c.phases) //nolint:contextcheck // made from ctx by open
	sess.loginTook = time.Since(sess.since)
	if loginErr != nil {
		s.forget(sess)
		s.refused(ctx, c, h, peer, loginErr)
		return nil
	}
	s.noteCertificate(sess.up.Instance, u.Conn)
	sess.begin(u)
	key := mintCancelKey(h.protocol(), u.PID)
	greeting := u.greeting(key) // takes from u what nobody may take once others see the session
	s.mu.Lock()
	sess.key = key
	s.keys[key] = sess // before the client knows it
	s.past.Accepted++  // before it can ask
	s.mu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(s.cfg.StartupTimeout))
	if _, err := c.Write(greeting); err != nil {
		_ = u.Conn.Close()
		s.forget(sess)
		s.mu.Lock()
		s.past.Accepted-- // who is refused is counted there
		s.mu.Unlock()
		s.refused(ctx, c, h, peer, err)
		return nil
	}
	_ = c.SetWriteDeadline(time.Time{})
	sess.told = make(chan struct{})
	go func() {
		defer close(sess.told)
		s.opened(sess)
	}()
	return sess
}

// open makes the session that h asks for and enters it in the lists.
func (s *Server) open(ctx context.Context, c *client, h *hello, peer *lookup, release func()) (*session, error) {
	name := h.get("database")
	if name == "" {
		name = h.get("user")
	}
	if name == "" {
		return nil, refuse("28000", "no user name is in the startup packet").hint("take the URI that the proxy printed")
	}
	if s.cfg.Refresh != nil {
		s.cfg.Refresh()
	}
	up, refused := s.find(name)
	if refused != nil {
		return nil, refused
	}
	now := time.Now()
	sess := &session{
		id: s.nextID.Add(1), up: up, app: h.get("application_name"), since: now,
		readOnly: s.cfg.Access == "read", client: c, pool: &s.pool, peer: peer,
	}
	sess.active.Store(now.UnixNano())
	sess.ctx, sess.cancel = context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.cfg.MaxConns {
		return nil, refuse("53300", "too many connections: the limit of the proxy is %d", s.cfg.MaxConns).
			hint("close some, look for the client that keeps them, or raise the limit: dbops proxy --max-connections")
	}
	sess.draining, sess.goodbye = s.draining, s.goodbye
	s.sessions[sess.id] = sess
	release()
	return sess, nil
}

// forget takes a session from the lists.
func (s *Server) forget(sess *session) {
	sess.cancel(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess.id)
	if s.keys[sess.key] == sess {
		delete(s.keys, sess.key)
	}
	s.past.FromClient += sess.fromClient.Load()
	s.past.ToClient += sess.toClient.Load()
}

// Connections lists the client connections that have shown the password, oldest first.
func (s *Server) Connections() []Connection {
	sessions := s.snapshot()
	out := make([]Connection, len(sessions))
	for i, sess := range sessions {
		out[i] = sess.connection()
	}
	return out
}

func (s *Server) snapshot() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*session, 0, len(s.sessions))
	for _, sess := range s.sessions {
		out = append(out, sess)
	}
	slices.SortFunc(out, func(a, b *session) int { return int(a.id) - int(b.id) })
	return out
}

// Totals counts since the server was made.
func (s *Server) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.past
	t.Open = len(s.sessions)
	for _, sess := range s.sessions {
		t.FromClient += sess.fromClient.Load()
		t.ToClient += sess.toClient.Load()
	}
	t.Missed = s.hub.missedCount()
	return t
}

// Kill ends a connection at once, with 57P01 at the next message's end; what it runs is cancelled. False: there is no such one.
func (s *Server) Kill(id uint64) bool {
	s.mu.Lock()
	sess := s.sessions[id]
	s.mu.Unlock()
	if sess == nil {
		return false
	}
	sess.stop(killed(), "killed", false)
	return true
}
