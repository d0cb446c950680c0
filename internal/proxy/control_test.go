package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dbops/internal/pg"
)

// asks serves a handler and returns a function that asks it.
func asks(t *testing.T, h http.Handler) func(method, path, host string) (int, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ServeHTTP(ctx, ln, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return func(method, path, host string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+ln.Addr().String()+path, nil)
		must(t, err)
		req.Host = host
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(b)
	}
}

func TestProbesFiguresAndControl(t *testing.T) {
	s := postgres(t, 15)
	var p *testProxy
	metrics := NewMetrics(func() *Server {
		if p == nil {
			return nil
		}
		return p.Server
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics)
	p = serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, Observe: metrics.Observe})
	stopped, reloads := make(chan struct{}), errors.New("not that")
	control := &Control{
		Server: p.Server, Gatherer: registry, Status: func() any { return p.Totals() },
		Check: func(ctx context.Context) map[string]error {
			return map[string]error{"orders": p.Check(ctx, "orders"), "lost": io.EOF}
		},
		Stop: func() { close(stopped) }, Reload: func() error { return reloads },
	}
	public, private := asks(t, control.Public()), asks(t, control.Private())
	eventually(t, "it is ready", p.Ready)

	c := p.connect(t, "orders")
	query[int](t, c, "select 1")
	_, _, err := p.psql(t, "psql", []string{"PGPASSWORD=wrong", "PGSSLMODE=disable"}, "-XAtc", "select 1")
	if err == nil {
		t.Fatal("a wrong password was taken")
	}
	gone := p.connect(t, "orders")
	must(t, gone.Close(t.Context()))
	eventually(t, "it is counted", func() bool {
		_, text := public("GET", "/metrics", "localhost:1")
		return strings.Contains(text, `dbops_proxy_sessions_ended_total{class="goodbye"} 1`)
	})
	_, text := public("GET", "/metrics", "127.0.0.1")
	for _, want := range []string{
		`dbops_proxy_connections{database="orders",instance="main",state="idle"} 1`, `dbops_proxy_accepted_total 3`,
		`dbops_proxy_refused_total{sqlstate="28P01"} 1`, `dbops_proxy_login_seconds_count{database="orders"} 2`,
		`dbops_proxy_bytes_total{direction="from_client"}`, `dbops_proxy_events_missed_total 0`,
		`dbops_proxy_upstream_certificate_expiry_timestamp_seconds{instance="main"} `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
	for _, word := range []string{proxyPassword, "app-word-in-tests"} {
		if strings.Contains(text, word) {
			t.Error("a password is among the figures")
		}
	}
	for _, a := range []struct {
		ask                func(string, string, string) (int, string)
		method, path, host string
		status             int
	}{
		{public, "GET", "/startup", "127.0.0.1:9", 200},
		{public, "GET", "/readiness", "[::1]:9", 200},
		{public, "HEAD", "/liveness", "localhost", 200},
		{public, "GET", "/metrics", "evil.example", 403},
		{public, "POST", "/readiness", "localhost", 405},
		{public, "GET", "/status", "localhost", 404},
		{public, "POST", "/stop", "localhost", 404},
		{public, "GET", "/check", "localhost", 404},
		{private, "GET", "/stop", "dbops", 405},
		{private, "GET", "/reload", "dbops", 405},
		{private, "GET", "/status", "dbops", 200},
		{private, "GET", "/check", "dbops", 503},
		{private, "POST", "/reload", "dbops", 422},
		{private, "POST", "/connections/999/kill", "dbops", 404},
		{private, "POST", "/connections/1/kill", "dbops", 200},
		{private, "POST", "/stop", "dbops", 202},
	} {
		if status, text := a.ask(a.method, a.path, a.host); status != a.status {
			t.Errorf("%s %s for %s: %d %s, want %d", a.method, a.path, a.host, status, text, a.status)
		}
	}
	<-stopped
	p.stop()
	eventually(t, "it is not ready any more", func() bool {
		status, _ := public("GET", "/readiness", "localhost")
		return status == 503
	})
}

func TestClientsHearWhyTheProxyEnds(t *testing.T) {
	s := postgres(t, 15)
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	p := serveOn(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}, ln)
	c := p.dial(t)
	login(t, c, "orders")
	p.stopWith(&Goodbye{Reason: "the 30m of write access are over", Hint: "open it again"})
	if e := told(t, c); e.Code != "57P01" || !strings.Contains(e.Message, "the 30m of write access are over") || e.Hint != "open it again" {
		t.Errorf("%+v", e)
	}
}

func TestDatabasesComeAndGoWhileSessionsStay(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	must(t, p.SetUpstreams([]Upstream{s.upstream("stock", pg.Params{})}))
	if query[int](t, c, "select 1") != 1 {
		t.Error("the open session is gone")
	}
	p.connect(t, "stock")
	raw := p.dial(t)
	_, err := raw.Write(startupPacket(196608, "user", "me", "database", "orders"))
	must(t, err)
	_, err = raw.Write(message('p', proxyPassword+"\x00"))
	must(t, err)
	if e := told(t, raw); e.Code != "3D000" || !strings.Contains(e.Hint, "stock") {
		t.Errorf("%+v", e)
	}
	if err := p.SetUpstreams([]Upstream{{Database: "x"}}); err == nil {
		t.Error("a database without a login was taken")
	}
	must(t, p.SetUpstreams(nil))
	raw = p.dial(t)
	_, err = raw.Write(append(startupPacket(196608, "user", "me", "database", "stock"), message('p', proxyPassword+"\x00")...))
	must(t, err)
	if e := told(t, raw); e.Code != "3D000" || !strings.Contains(e.Hint, "none any more") {
		t.Errorf("%+v", e)
	}
}

func TestSearchesAreBounded(t *testing.T) {
	p := newProcesses()
	p.turn <- struct{}{} // somebody looks, and does not come to an end
	begin := time.Now()
	if pid := p.holder(0, 1); pid != 0 || time.Since(begin) > 10*lookLimit {
		t.Errorf("%d after %s", pid, time.Since(begin))
	}
}
