package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// session is one connection of a client.
type session struct {
	edge   *Edge
	client net.Conn // as it came, below any TLS

	mu     sync.Mutex
	server net.Conn // likewise; nil before it is dialled
	over   bool
}

// outer is what is known of a session from outside.
type outer struct {
	offerTLS  bool   // the edge ends the client's TLS; else somebody did before
	principal string // who that somebody has proved the client to be
}

// end closes both sides and takes the session off the edge's list. What was written last is still delivered.
func (s *session) end() {
	s.mu.Lock()
	s.over = true
	_ = s.client.Close()
	if s.server != nil {
		_ = s.server.Close()
	}
	s.mu.Unlock()
	s.edge.mu.Lock()
	delete(s.edge.sessions, s)
	s.edge.mu.Unlock()
	s.edge.wg.Done()
}

// cut ends the session at once, whatever it is doing.
func (s *session) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	cut(s.client)
	if s.server != nil {
		cut(s.server)
	}
}

// attach remembers the server's side, so that it ends with the session.
func (s *session) attach(c net.Conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		cut(c)
		return net.ErrClosed
	}
	s.server = c
	return nil
}

func (s *session) serve(ctx context.Context, out outer) error {
	defer context.AfterFunc(ctx, s.cut)()
	_ = s.client.SetDeadline(time.Now().Add(s.edge.cfg.StartupTimeout))
	client, err := s.startup(ctx, out)
	if err != nil {
		return err
	}
	if client.code == cancelRequest {
		return s.forwardCancel(ctx, client.packet)
	}
	param, err := parameters(client.packet)
	if err != nil {
		return fatal(client, "08P01", err.Error())
	}
	if param["user"] == "" {
		return fatal(client, "28000", "no PostgreSQL user name specified in startup packet")
	}
	encrypted := client.tls || !out.offerTLS
	e := s.edge
	e.mu.Lock()
	server, answer, plain := e.server, e.answer, e.allowPlain
	e.mu.Unlock()
	switch {
	case !encrypted && !plain:
		return fatal(client, "28000", "no pg_hba.conf entry for "+describe(s.client, param, encrypted))
	case client.tls && !client.proven && e.clients().Required:
		return fatal(client, "28000", "connection requires a valid client certificate")
	case slices.Contains(e.cfg.Reserved, param["user"]):
		return fatal(client, "28000", "pg_hba.conf rejects connection for "+describe(s.client, param, encrypted))
	case server == "":
		return fatal(client, answer.code, answer.message)
	}
	return s.login(ctx, client, login{role: param["user"], principal: out.principal, encrypted: encrypted, from: describe(s.client, param, encrypted)}, server)
}

// describe names a connection as PostgreSQL does when pg_hba.conf has no place for it.
func describe(c net.Conn, param map[string]string, encrypted bool) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		host = c.RemoteAddr().String()
	}
	database := param["database"]
	if database == "" {
		database = param["user"]
	}
	encryption := "no encryption"
	if encrypted {
		encryption = "SSL encryption"
	}
	return fmt.Sprintf("host %q, user %q, database %q, %s", host, param["user"], database, encryption)
}

// tlsConfig is the client's side of TLS with one certificate.
func (s *session) tlsConfig(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*cert}}
	if s.edge.cfg.Direct {
		c.NextProtos = []string{alpn}
	}
	s.edge.clients().ask(c)
	return c
}

// certificate is the one in force. It waits while certificates are being changed.
func (e *Edge) certificate() *tls.Certificate {
	e.swap.RLock()
	defer e.swap.RUnlock()
	cert := e.cert
	return &cert
}

var errTwoCertificates = errors.New("the certificate changed during the login")
