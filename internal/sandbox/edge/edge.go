// Package edge is the network front of a played instance: the listener whose address clients know, before a real PostgreSQL.
//
// It ends the client's TLS, opens its own to the server, and carries bytes. It takes part in nothing but the login of IAM
// roles: it always shows the server a certificate for the requested role, and where PostgreSQL itself lets that role in by
// it, the edge asks the client for a token before it passes the answer on.
package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Config is what an [Edge] needs. Zero durations and counts mean the default written beside them.
type Config struct {
	// RoleCertificate returns what proves to the server that role may log in without a password, if it is an IAM role.
	RoleCertificate func(role string) (tls.Certificate, error)
	// Reserved are roles that nobody can log in as through the edge.
	Reserved []string
	// Direct takes TLS from the first byte on, as PostgreSQL 17 and later do.
	Direct bool
	// BadToken is what a client hears whose token was refused. Defaults to PostgreSQL's message about PAM.
	BadToken func(role string) string

	StartupTimeout time.Duration // of a client's startup, password and token. Defaults to 30 s.
	MaxSessions    int           // more are cut off. Defaults to 1000.

	Log *slog.Logger // one line a session that ends with an error, at debug level. Defaults to discarding.
}

// Edge is the front of one instance. Its methods may be called from any goroutine.
type Edge struct {
	cfg Config

	// swap is held for writing while the certificates of edge and server change together, and for reading while one is used.
	swap sync.RWMutex
	cert tls.Certificate

	mu         sync.Mutex // guards what follows
	closed     bool
	addr       string // of the listener, from the first Listen on
	ln         net.Listener
	accepted   chan struct{} // closed when the last connection of ln is a session
	server     string        // address of the server, empty while it is down
	answer     answer        // while it is down
	check      func(role, token string) error
	clientRule func() ClientRule
	allowPlain bool
	sessions   map[*session]struct{}

	wg sync.WaitGroup // the accept loop and the sessions
}

// answer is what clients hear when there is no server.
type answer struct{ code, message string }

// New returns an edge that shows cert. It listens nowhere yet, and its server is down.
func New(cfg Config, cert tls.Certificate) *Edge {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StartupTimeout <= 0 {
		cfg.StartupTimeout = 30 * time.Second
	}
	if cfg.MaxSessions <= 0 {
		cfg.MaxSessions = 1000
	}
	if cfg.BadToken == nil {
		cfg.BadToken = func(role string) string { return fmt.Sprintf("PAM authentication failed for user %q", role) }
	}
	return &Edge{
		cfg: cfg, cert: cert, sessions: map[*session]struct{}{},
		answer: answer{"57P03", "the database system is starting up"},
	}
}

// Swap changes the certificate that clients see while reload changes the server's. Sessions that begin meanwhile wait, so none
// sees two certificates; if reload fails, nothing has changed.
func (e *Edge) Swap(cert tls.Certificate, reload func() error) error {
	e.swap.Lock()
	defer e.swap.Unlock()
	if err := reload(); err != nil {
		return err
	}
	e.cert = cert
	return nil
}

// SetTokenCheck decides how IAM roles log in. Nil refuses them.
func (e *Edge) SetTokenCheck(check func(role, token string) error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.check = check
}

// SetRequireTLS refuses sessions without TLS, which is so from the start.
func (e *Edge) SetRequireTLS(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.allowPlain = !on
}

// Up leads new sessions to the server at addr.
func (e *Edge) Up(addr string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = addr
}

// Down answers new sessions with a FATAL error. Sessions that run go on.
func (e *Edge) Down(code, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server, e.answer = "", answer{code, message}
}

// DropAll cuts every session.
func (e *Edge) DropAll() {
	e.mu.Lock()
	all := make([]*session, 0, len(e.sessions))
	for s := range e.sessions {
		all = append(all, s)
	}
	e.mu.Unlock()
	for _, s := range all {
		s.cut()
	}
}

// Handle serves one session on c, whose encryption ended before; principal is who the outer session proved to be. It returns
// when the session has ended.
func (e *Edge) Handle(ctx context.Context, c net.Conn, principal string) error {
	s, err := e.begin(c)
	if err != nil {
		cut(c)
		return err
	}
	defer s.end()
	return s.serve(ctx, outer{principal: principal})
}

// begin registers a session. The caller ends it.
func (e *Edge) begin(c net.Conn) (*session, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return nil, net.ErrClosed
	case len(e.sessions) >= e.cfg.MaxSessions:
		return nil, errors.New("too many sessions")
	}
	s := &session{edge: e, client: c}
	e.sessions[s] = struct{}{}
	e.wg.Add(1)
	return s, nil
}

// Close stops listening, cuts every session and waits for them. Closing twice is nil.
func (e *Edge) Close() error {
	e.mu.Lock()
	e.closed = true // before it refuses: a Listen under way must not begin afterwards
	e.mu.Unlock()
	err := e.Refuse()
	e.DropAll()
	e.wg.Wait()
	return err
}
