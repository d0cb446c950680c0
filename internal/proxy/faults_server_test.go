package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
	"dbops/internal/secret"
)

// toldOf reads up to a fatal error, and tells how long it took.
func toldOf(t *testing.T, c net.Conn) (code string, after time.Duration) {
	t.Helper()
	begin := time.Now()
	e := told(t, c)
	return e.Code, time.Since(begin)
}

func TestFaultServerRestart(t *testing.T) {
	t.Parallel()
	for name, how := range map[string]struct {
		signal syscall.Signal
		codes  string // what an open session may hear
	}{
		"a fast restart":       {syscall.SIGINT, "57P01"},
		"an immediate restart": {syscall.SIGQUIT, "57P02 08006"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := ownPostgres(t, 15)
			n := networkTo(t, s.port)
			p := serve(t, Config{Upstreams: []Upstream{s.via(n)}, StartWait: 14 * time.Second})
			const sessions = 5
			conns := make([]net.Conn, sessions)
			for i := range conns {
				conns[i] = p.dial(t)
				login(t, conns[i], "orders")
			}
			send(t, conns[0], 'Q', "select pg_sleep(60)\x00")
			begin := time.Now()
			s.stop(how.signal)
			lost := map[string]int{}
			for _, c := range conns {
				code, _ := toldOf(t, c)
				if !strings.Contains(how.codes, code) {
					t.Errorf("told %s", code)
				}
				lost[code]++
			}
			measured(t, name, "all open sessions know after", time.Since(begin))
			measured(t, name, "sessions lost, by SQLSTATE", lost)

			// Who connects meanwhile waits for the server, and is let in.
			came := make(chan error, 1)
			meanwhile := time.Now()
			go func() {
				c, err := pgx.ConnectConfig(context.Background(), p.config(t, "orders", "disable"))
				if err == nil {
					_, err = c.Exec(context.Background(), "select 1")
					_ = c.Close(context.Background())
				}
				came <- err
			}()
			eventually(t, "the proxy tries to log in", func() bool { return p.Totals().Open == 1 })
			s.start(t)
			if err := <-came; err != nil {
				t.Errorf("a client that came while the server was down: %v", err)
			}
			measured(t, name, "a client that connects while the server is down is let in after", time.Since(meanwhile))
		})
	}
}

func TestFaultStartingServerIsWaitedForInBounds(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	starting := encode(nil, &pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "57P03", Message: "the database system is starting up",
	})
	addr := listenLocal(t, func(c net.Conn) {
		defer c.Close()
		var b [512]byte
		_, _ = c.Read(b[:])
		asked.Add(1)
		_, _ = c.Write(starting)
	})
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}, StartWait: time.Second})
	begin := time.Now()
	pe := p.refusedWith(t, p.config(t, "orders", "disable"))
	if pe.Code != "57P03" || pe.Message != "the database system is starting up" || !strings.Contains(pe.Hint, "in a moment") {
		t.Errorf("%+v", pe)
	}
	if asked.Load() < 2 {
		t.Error("it was asked once")
	}
	measured(t, "an instance that does not finish starting", "given up after (StartWait 1 s)", time.Since(begin))
}

// A server that nobody ever reached is not waited for: it is more likely not there.
func TestFaultUnknownServerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	up := s.upstream("orders", pg.Params{Dial: dialTo(fmt.Sprintf("127.0.0.1:%d", freePort(t)))})
	var dials atomic.Int32
	config := up.Config
	up.Config = func(ctx context.Context) (*pgconn.Config, error) { dials.Add(1); return config(ctx) }
	p := serve(t, Config{Upstreams: []Upstream{up}})
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "08001" {
		t.Errorf("%+v", pe)
	}
	if dials.Load() != 1 {
		t.Errorf("it was tried %d times", dials.Load())
	}
}

// remembering is a control plane that says where the instance is, and a proxy's memory of it.
type remembering struct {
	mu            sync.Mutex
	actual, known uint16
	forgotten     int
}

func (r *remembering) upstream(s *pgServer) Upstream {
	return Upstream{
		Database: "orders", Instance: "main",
		Config: func(context.Context) (*pgconn.Config, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.known == 0 {
				r.known = r.actual
			}
			p := s.params(pg.Params{})
			p.Port = r.known
			return pg.Config(p)
		},
		Stale: func(error) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.known = 0
			r.forgotten++
			return true
		},
	}
}

func (r *remembering) move(to uint16) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.actual = to
}

func TestFaultFailover(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	for name, old := range map[string]func(t *testing.T, n *network){
		"failover, the old address refuses": func(_ *testing.T, n *network) { n.Stop() },
		"failover, the old address accepts, is mute": func(t *testing.T, n *network) {
			t.Helper()
			n.toxic(t, "timeout", "downstream", map[string]any{"timeout": 0})
		},
		"failover, the old address hangs up": func(t *testing.T, n *network) {
			t.Helper()
			n.toxic(t, "limit_data", "downstream", map[string]any{"bytes": 0})
		},
		"failover, the old address resets": func(t *testing.T, n *network) {
			t.Helper()
			n.toxic(t, "reset_peer", "downstream", map[string]any{"timeout": 0})
		},
		"failover, the old address is another server": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			was, is := networkTo(t, s.port), networkTo(t, s.port)
			where := &remembering{actual: was.port()}
			p := serve(t, Config{Upstreams: []Upstream{where.upstream(s)}, ConnectTimeout: 3 * time.Second})
			must(t, p.connect(t, "orders").Close(t.Context()))
			if old == nil { // its certificate does not verify
				other := ownPostgres(t, 15)
				was.Stop()
				was.Proxy.Upstream = fmt.Sprintf("127.0.0.1:%d", other.port)
				must(t, was.Start())
			} else {
				old(t, was)
			}
			where.move(is.port())
			begin := time.Now()
			c := p.connect(t, "orders") // the very next connection
			measured(t, name, "the very next connection is at the new address after", time.Since(begin))
			if got := query[int](t, c, "select 1"); got != 1 || where.forgotten != 1 {
				t.Errorf("%d, forgotten %d times", got, where.forgotten)
			}
		})
	}
}

func TestFaultCredentialThatWasRemembered(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	boss := s.connect(t, "postgres")
	_, err := boss.Exec(t.Context(), "create role rotated login password 'old-word-in-tests'")
	must(t, err)
	var mu sync.Mutex
	actual, known := "old-word-in-tests", ""
	p := serve(t, Config{Upstreams: []Upstream{{
		Database: "orders", Instance: "main",
		Config: func(context.Context) (*pgconn.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			if known == "" {
				known = actual
			}
			return pg.Config(s.params(pg.Params{User: "rotated", Password: secret.New(known), Database: "postgres"}))
		},
		Stale: func(err error) bool {
			pe, ok := errors.AsType[*pgconn.PgError](err)
			mu.Lock()
			defer mu.Unlock()
			known = ""
			return ok && pe.Code == "28P01"
		},
		LoginHint: func() string { return "renew it" },
	}}})
	must(t, p.connect(t, "orders").Close(t.Context()))
	_, err = boss.Exec(t.Context(), "alter role rotated password 'new-word-in-tests'")
	must(t, err)
	mu.Lock()
	actual = "new-word-in-tests"
	mu.Unlock()
	begin := time.Now()
	must(t, p.connect(t, "orders").Close(t.Context()))
	measured(t, "a password or token that has expired", "the very next connection works after", time.Since(begin))

	_, err = boss.Exec(t.Context(), "alter role rotated valid until '2001-01-01'")
	must(t, err)
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "28P01" || pe.Hint != "renew it" {
		t.Errorf("%+v", pe)
	}
	_, err = boss.Exec(t.Context(), "alter role rotated valid until 'infinity'")
	must(t, err)
	p.connect(t, "orders") // without a restart
}

func TestFaultServerIsFull(t *testing.T) {
	t.Parallel()
	s := ownPostgres(t, 15, "max_connections=6", "superuser_reserved_connections=2", "max_wal_senders=0")
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	for range 4 {
		p.connect(t, "orders")
	}
	pe := p.refusedWith(t, p.config(t, "orders", "disable"))
	if pe.Code != "53300" || strings.HasPrefix(pe.Message, "dbops") || !strings.Contains(pe.Hint, "max_connections") {
		t.Errorf("%+v", pe)
	}
	measured(t, "the server has no connection left", "its own answer passes", pe.Code+" "+pe.Message)
}
