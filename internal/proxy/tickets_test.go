package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// pooler is the TLS in front of a server, as a pooler or a balancer has it, with tickets.
type pooler struct {
	port   uint16
	caFile string

	mu      sync.Mutex
	resumed []bool // by connection
}

func newPooler(t *testing.T, srv *pgServer) *pooler {
	t.Helper()
	cfg, ca, err := LocalTLS()
	must(t, err)
	p := &pooler{caFile: filepath.Join(t.TempDir(), "ca.pem")}
	writeFile(t, p.caFile, ca)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var running sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); running.Wait() })
	addr, _ := ln.Addr().(*net.TCPAddr)
	p.port = uint16(addr.Port)
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() { p.serve(t, c, srv, cfg) })
		}
	})
	return p
}

func (p *pooler) serve(t *testing.T, c net.Conn, srv *pgServer, cfg *tls.Config) {
	t.Helper()
	defer func() { _ = c.Close() }()
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil {
		return
	}
	if _, err := c.Write([]byte("S")); err != nil {
		return
	}
	sealed := tls.Server(c, cfg)
	if err := sealed.HandshakeContext(t.Context()); err != nil {
		t.Error(err)
		return
	}
	p.mu.Lock()
	p.resumed = append(p.resumed, sealed.ConnectionState().DidResume)
	p.mu.Unlock()
	up, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(srv.port))))
	if err != nil {
		t.Error(err)
		return
	}
	go func() {
		_, _ = io.Copy(up, sealed)
		_ = up.Close()
	}()
	_, _ = io.Copy(sealed, up)
}

func TestTLSSessionsAreResumedWhereTheServerAllows(t *testing.T) {
	srv := postgres(t, 15)
	front := newPooler(t, srv)
	for mode, want := range map[string]bool{"verify-full": true, "require": false} {
		front.mu.Lock()
		front.resumed = nil
		front.mu.Unlock()
		params := pg.Params{
			Host: "localhost", Port: front.port, Database: "shop", User: "app", Password: secret.New("app-word-in-tests"), SSLMode: mode,
		}
		if mode == "verify-full" {
			params.CAFile = front.caFile
		}
		p := serve(t, Config{Upstreams: []Upstream{{
			Database: "shop", Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(params) },
		}}})
		for range 3 {
			c := p.connect(t, "shop")
			if got := query[int](t, c, "select 6 * 7"); got != 42 {
				t.Fatalf("%s: %d", mode, got)
			}
			must(t, c.Close(t.Context()))
		}
		front.mu.Lock()
		got := front.resumed
		front.mu.Unlock()
		if len(got) != 3 || got[0] || got[1] != want || got[2] != want {
			t.Errorf("sslmode=%s: resumed %v, want the later ones to be %v", mode, got, want)
		}
	}
}
