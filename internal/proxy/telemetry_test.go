package proxy

import (
	"bytes"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"

	"dbops/internal/pg"
	"dbops/internal/secret"
	"dbops/internal/telemetry"
	"dbops/internal/telemetry/otlptest"
)

// telling is a proxy that tells a collector; flush ends it, and sends what was told.
func telling(t *testing.T, cfg Config) (p *testProxy, to *otlptest.Collector, flush func()) {
	t.Helper()
	to = otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.URL)
	x := telemetry.Start(t.Context(), telemetry.Options{Version: "test", Getenv: os.Getenv, Log: slog.New(slog.DiscardHandler), Notice: func(string) {}})
	var open atomic.Pointer[testProxy] // the collector may ask at any time
	tells := NewTelemetry(func() *Server {
		if p := open.Load(); p != nil {
			return p.Server
		}
		return nil
	}, "prod", "read", x.Tracer(), x.Meter(), x.Parent())
	cfg.Access, cfg.Phases, cfg.Observe = "read", true, tells.Observe
	p = serve(t, cfg)
	open.Store(p)
	flush = func() {
		p.stop()
		p.wait(t)
		tells.Close()
		x.Shutdown(t.Context())
	}
	t.Cleanup(flush)
	return p, to, flush
}

func TestAConnectionIsASpan(t *testing.T) {
	s := postgres(t, 16)
	p, to, flush := telling(t, Config{Upstreams: []Upstream{s.upstream("shop", pg.Params{})}})
	c := p.connect(t, "shop")
	if got := query[string](t, c, "select repeat('secret-of-the-row', 100)"); got == "" {
		t.Fatal("no answer")
	}
	must(t, c.Close(t.Context()))
	eventually(t, "the session has ended", func() bool { return p.Totals().Open == 0 })
	flush()

	all := to.Spans("proxy connection")
	if len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	span := all[0]
	for k, want := range map[string]string{
		"db.system.name": "postgresql", "db.namespace": "shop", "dbops.environment": "prod", "dbops.instance": "main", "dbops.access": "read", "dbops.user": "app",
		"dbops.outcome": "goodbye", "error.type": "",
	} {
		if got := span.Attributes[k]; got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if span.Kind != otlp.Span_SPAN_KIND_SERVER || span.Failed || span.Parent != "" || span.Lasted <= 0 {
		t.Errorf("%+v", span)
	}
	var names []string
	for _, s := range to.Spans("") {
		if s.ID == span.ID {
			continue
		}
		names = append(names, s.Name)
		if s.Parent != span.ID || s.Kind != otlp.Span_SPAN_KIND_CLIENT || s.Lasted < 0 || s.Started < span.Started || s.Started+s.Lasted > span.Started+span.Lasted {
			t.Errorf("%+v is no part of %+v", s, span)
		}
	}
	if want := "credentials dial login"; len(names) != 3 || names[0]+" "+names[1]+" "+names[2] != want {
		t.Errorf("phases %q, want %s", names, want)
	}

	point(t, to, "db.client.connection.create_time", "s", func(x otlptest.Point) bool {
		return x.Count == 1 && x.Value > 0 && x.Attributes["db.client.connection.pool.name"] == "prod/shop"
	})
	point(t, to, "db.client.connection.count", "", func(otlptest.Point) bool { return true }, 0) // nothing is open any more
	point(t, to, "dbops.proxy.connections", "{connection}", func(x otlptest.Point) bool { return x.Value == 1 && x.Attributes["dbops.outcome"] == "goodbye" })
	point(t, to, "dbops.proxy.io", "By", func(x otlptest.Point) bool { return x.Attributes["dbops.direction"] == "to_client" && x.Value > 1700 })
	point(t, to, "dbops.proxy.io", "By", func(x otlptest.Point) bool { return x.Attributes["dbops.direction"] == "from_client" && x.Value > 10 })
	for _, body := range to.Bodies() {
		for _, word := range []string{"repeat", "secret-of-the-row", proxyPassword, "app-word-in-tests", DefaultApplication()} {
			if bytes.Contains(body, []byte(word)) {
				t.Errorf("%q was sent", word)
			}
		}
	}
}

// point demands that one of a metric's values is such, or as many as are given.
func point(t *testing.T, to *otlptest.Collector, name, unit string, such func(otlptest.Point) bool, count ...int) {
	t.Helper()
	points, got := to.Metric(name)
	n, want := 0, 1
	for _, p := range points {
		if such(p) {
			n++
		}
	}
	if len(count) > 0 {
		want = count[0]
	}
	if n != want || unit != got {
		t.Errorf("%s (%s, want %s): %+v", name, got, unit, points)
	}
}

func TestARefusalIsASpanWithItsSQLState(t *testing.T) {
	s := postgres(t, 16)
	wrong := s.upstream("shop", pg.Params{User: "app", Password: secret.New("not-this-word")})
	p, to, flush := telling(t, Config{Upstreams: []Upstream{wrong}})
	for _, database := range []string{"shop", "a-password-by-mistake"} {
		if c, err := pgx.ConnectConfig(t.Context(), p.config(t, database, "disable")); err == nil {
			_ = c.Close(t.Context())
			t.Fatal("let in")
		}
	}
	eventually(t, "both were counted", func() bool { return p.Totals().Refused == 2 })
	flush()
	all := to.Spans("proxy connection")
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	for i, want := range []struct{ database, state string }{{"shop", "28P01"}, {"", "3D000"}} {
		a := all[i].Attributes
		if !all[i].Failed || all[i].Status != want.state || a["db.response.status_code"] != want.state || a["error.type"] != want.state || a["db.namespace"] != want.database || a["dbops.outcome"] != "refused" {
			t.Errorf("%+v, want %+v", all[i], want)
		}
	}
	logins := to.Spans("login")
	if len(logins) == 0 || !logins[len(logins)-1].Failed || logins[0].Parent != all[0].ID {
		t.Errorf("%+v", logins)
	}
	point(t, to, "dbops.proxy.connections", "{connection}", func(x otlptest.Point) bool { return x.Attributes["db.response.status_code"] == "28P01" && x.Value == 1 })
	for _, body := range to.Bodies() {
		for _, word := range []string{"a-password-by-mistake", "not-this-word", "authentication failed"} {
			if bytes.Contains(body, []byte(word)) {
				t.Errorf("%q was sent", word)
			}
		}
	}
}

func TestOpenSessionsAndCancelsAreCounted(t *testing.T) {
	t.Setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
	s := postgres(t, 16)
	p, to, flush := telling(t, Config{Upstreams: []Upstream{s.upstream("shop", pg.Params{})}})
	c := p.connect(t, "shop")
	query[int](t, c, "select 1")
	open := func(state string, n float64) func() bool {
		return func() bool {
			all, _ := to.Metric("db.client.connection.count")
			for _, x := range all {
				if x.Attributes["db.client.connection.state"] == state && x.Attributes["db.client.connection.pool.name"] == "prod/shop" && x.Value == n {
					return true
				}
			}
			return false
		}
	}
	eventually(t, "it is idle", open("idle", 1))
	_, err := c.Exec(t.Context(), "begin")
	must(t, err)
	eventually(t, "it is used", open("used", 1))
	must(t, c.PgConn().CancelRequest(t.Context()))
	eventually(t, "the request was counted", func() bool {
		all, unit := to.Metric("dbops.proxy.cancel_requests")
		return unit == "{request}" && len(all) == 1 && all[0].Value == 1
	})
	must(t, c.Close(t.Context()))
	eventually(t, "nobody uses it", open("used", 0))
	flush()
}

// The relay is the same whether the proxy tells or not: what it moves is counted by whoever asks.
func TestWhoRelaysAllocatesNothingForTelling(t *testing.T) {
	s := postgres(t, 16)
	p, _, _ := telling(t, Config{Upstreams: []Upstream{s.upstream("shop", pg.Params{})}})
	c := p.connect(t, "shop")
	query[int](t, c, "select 1")
	sess := p.snapshot()[0]
	sync := []byte{'S', 0, 0, 0, 4}
	ready := []byte{'Z', 0, 0, 0, 5, 'I'}
	allocs := testing.AllocsPerRun(1000, func() {
		sess.takeFromClient(sync)
		_, _, _ = sess.takeFromServer(ready)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a message", allocs)
	}
}

func TestALoginThatNobodyWatchesNotesNothing(t *testing.T) {
	var p *phases
	allocs := testing.AllocsPerRun(1000, func() {
		p.begin("dial")
		p.end()
		if p.take() != nil {
			t.Error("phases of nothing")
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestWhatIsKeptOfALoginIsBounded(t *testing.T) {
	p := &phases{}
	for range 2 * phasesMax {
		p.begin("dial")
	}
	p.end()
	p.begin("late")
	all := p.take()
	if len(all) != phasesMax || all[phasesMax-1].To.IsZero() || all[0].To.After(time.Now()) || p.take() != nil {
		t.Errorf("%d phases, the last %+v", len(all), all[len(all)-1])
	}
}
