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
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Backend is where the edge's server listens, and how to prove a role to it.
type Backend struct {
	Addr string // host:port
	// TLS returns the client configuration that shows the server a certificate for role.
	TLS func(role string) (*tls.Config, error)
}

// Config is what an [Edge] needs.
type Config struct {
	Backend Backend
	Log     *slog.Logger

	StartupTimeout time.Duration // of a client's startup and token. Defaults to 30 s.
}

// Edge is the front of one instance. Its methods may be called from any goroutine.
type Edge struct {
	cfg  Config
	cert atomic.Pointer[tls.Certificate]

	tokens     atomic.Pointer[func(role, token string) error]
	allowPlain atomic.Bool
	refuse     atomic.Pointer[refusal]

	mu     sync.Mutex
	closed bool
	ln     net.Listener
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// refusal is what clients hear while the server is not to be reached; without a message they are cut off at once.
type refusal struct{ code, message string }

// New returns an edge that shows cert and listens nowhere yet.
func New(cfg Config, cert tls.Certificate) *Edge {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.StartupTimeout <= 0 {
		cfg.StartupTimeout = 30 * time.Second
	}
	e := &Edge{cfg: cfg, conns: map[net.Conn]struct{}{}}
	e.cert.Store(&cert)
	return e
}

// SetCertificate changes what new sessions see.
func (e *Edge) SetCertificate(cert tls.Certificate) { e.cert.Store(&cert) }

// SetTokenCheck decides how IAM roles log in; nil refuses them.
func (e *Edge) SetTokenCheck(check func(role, token string) error) {
	if check == nil {
		e.tokens.Store(nil)
		return
	}
	e.tokens.Store(&check)
}

// SetRequireTLS refuses sessions without TLS, which is so from the start.
func (e *Edge) SetRequireTLS(on bool) { e.allowPlain.Store(!on) }

// Refuse answers every new session with FATAL code and message; with an empty code it cuts them off at once.
func (e *Edge) Refuse(code, message string) { e.refuse.Store(&refusal{code, message}) }

// Admit ends [Edge.Refuse].
func (e *Edge) Admit() { e.refuse.Store(nil) }

// DropAll cuts every session.
func (e *Edge) DropAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range e.conns {
		_ = c.Close()
	}
}

// Serve accepts sessions on ln until [Edge.Close].
func (e *Edge) Serve(ln net.Listener) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		_ = ln.Close()
		return
	}
	e.ln = ln
	e.wg.Add(1)
	e.mu.Unlock()
	go func() {
		defer e.wg.Done()
		for {
			c, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(10 * time.Millisecond) // out of descriptors: the only thing that helps is time
				continue
			}
			if r := e.refuse.Load(); r != nil && r.code == "" {
				cut(c)
				continue
			}
			e.wg.Go(func() {
				if err := e.session(context.Background(), c, true, ""); err != nil {
					e.cfg.Log.Debug("session ended", "client", c.RemoteAddr(), "why", err)
				}
			})
		}
	}()
}

// Handle serves one session whose encryption ended before; principal is who the outer session proved to be.
func (e *Edge) Handle(ctx context.Context, c net.Conn, principal string) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return errors.Join(net.ErrClosed, c.Close())
	}
	e.wg.Add(1)
	e.mu.Unlock()
	defer e.wg.Done()
	if r := e.refuse.Load(); r != nil && r.code == "" {
		return c.Close()
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	return e.session(ctx, c, false, principal)
}

// Close stops listening, cuts every session and waits for them.
func (e *Edge) Close() error {
	e.mu.Lock()
	e.closed = true
	var err error
	if e.ln != nil {
		err = e.ln.Close()
	}
	for c := range e.conns {
		_ = c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	return err
}

// track remembers a connection for DropAll and Close. It is false when the edge has closed.
func (e *Edge) track(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return false
	}
	e.conns[c] = struct{}{}
	return true
}

func (e *Edge) untrack(c net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

// cut closes so that the client sees a reset, as it does when a host goes away.
func cut(c net.Conn) {
	if tc, ok := c.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
	_ = c.Close()
}

// relay carries bytes both ways until one side ends.
func relay(client net.Conn, fromServer io.Reader, server *tls.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.CloseWrite()
		_ = server.SetReadDeadline(time.Now().Add(5 * time.Second)) // what it still has to say
	})
	_, _ = io.Copy(client, fromServer)
	_ = client.Close()
	_ = server.Close()
	wg.Wait()
}
