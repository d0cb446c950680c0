package proxy

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
)

// The network swallows everything, and nobody is told: the kernel of a server, or of a router in between, is gone.
func TestFaultHalfOpenConnection(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	c := cableTo(t, s.port)
	params := s.params(pg.Params{})
	params.Port = c.port()
	up := Upstream{Database: "orders", Instance: "main", Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(params) }}
	tune := []func(*Server){impatient}
	asked := "half-open connection, limits of a second"
	if inFull() {
		tune, asked = nil, "half-open connection"
	}
	p := serve(t, Config{Upstreams: []Upstream{up}}, tune...)
	active, idle := p.dial(t), p.dial(t)
	for _, conn := range []net.Conn{active, idle} {
		login(t, conn, "orders")
		_ = conn.SetDeadline(time.Now().Add(3 * time.Minute))
	}
	c.mu.Lock()
	for _, conn := range c.conns {
		swallow(t, conn)
	}
	c.mu.Unlock()
	for _, sess := range p.snapshot() { // and what is on its way back
		swallow(t, tcpOf(sess.server.Conn))
	}
	begin := time.Now()
	send(t, active, 'Q', "select 1\x00")
	code, after := toldOf(t, active)
	if code != "08006" {
		t.Errorf("told %s", code)
	}
	measured(t, asked, "a client that waits for an answer knows after", after)
	if inFull() { // the kernel's keepalives: 30 s, and 3 times 10 s
		code, _ := toldOf(t, idle)
		if code != "08006" {
			t.Errorf("told %s", code)
		}
		measured(t, asked, "an idle client knows after", time.Since(begin))
	}
}
