package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
)

// sleeping starts a statement that runs until it is cancelled, and returns when the server runs it.
func sleeping(t *testing.T, p *testProxy, s *pgServer, c *pgx.Conn) <-chan error {
	t.Helper()
	pid := query[int](t, c, "select pg_backend_pid()")
	ended := make(chan error, 1)
	go func() {
		_, err := c.Exec(context.Background(), "select pg_sleep(60)")
		ended <- err
	}()
	watch := s.connect(t, "postgres")
	eventually(t, "the statement runs", func() bool {
		return query[int](t, watch, "select count(*) from pg_stat_activity where pid = $1 and query like '%pg_sleep(60)%' and state = 'active'", pid) == 1
	})
	return ended
}

func canceled(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "57014"
}

func TestCancelReachesTheRightStatement(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			for _, mode := range []string{"disable", "verify-full"} {
				for _, version := range []string{"3.0", "3.2"} {
					cfg := p.config(t, "orders", mode)
					cfg.MinProtocolVersion, cfg.MaxProtocolVersion = version, version
					c, other := p.connectWith(t, cfg), p.connectWith(t, cfg)
					mine, others := sleeping(t, p, s, c), sleeping(t, p, s, other)
					must(t, c.PgConn().CancelRequest(t.Context()))
					if err := <-mine; !canceled(err) {
						t.Errorf("%s %s: %v", mode, version, err)
					}
					if got := query[int](t, c, "select 1"); got != 1 {
						t.Error("the session did not survive the cancel")
					}
					select {
					case err := <-others:
						t.Errorf("another session was hit: %v", err)
					default:
					}
					must(t, other.PgConn().CancelRequest(t.Context()))
					if err := <-others; !canceled(err) {
						t.Errorf("%s %s: %v", mode, version, err)
					}
				}
			}
			if got := p.Totals(); got.Accepted != 8 || got.Refused != 0 {
				t.Errorf("cancel requests were counted: %+v", got)
			}
		})
	}
}

func TestCancelWithAWrongKeyDoesNothing(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	running := sleeping(t, p, s, c)
	request := func(pid uint32, key []byte) {
		t.Helper()
		b, err := (&pgproto3.CancelRequest{ProcessID: pid, SecretKey: key}).Encode(nil)
		must(t, err)
		conn := p.dial(t)
		_, err = conn.Write(b)
		must(t, err)
		if said, err := io.ReadAll(conn); len(said) != 0 || err != nil {
			t.Errorf("a cancel request was answered: %q %v", said, err)
		}
	}
	pid, key := c.PgConn().PID(), c.PgConn().SecretKey()
	request(pid, []byte{1, 2, 3, 4})
	request(pid+1, key)
	request(pid, append([]byte{0}, key...))
	request(0, nil2(key))
	select {
	case err := <-running:
		t.Errorf("a wrong key cancelled: %v", err)
	default:
	}
	request(pid, key)
	if err := <-running; !canceled(err) {
		t.Errorf("%v", err)
	}
	must(t, c.Close(t.Context()))
	eventually(t, "the session has ended", func() bool { return p.Totals().Open == 0 })
	request(pid, key) // after the end: nothing
}

func nil2(key []byte) []byte { return make([]byte, len(key)) }

func TestCancelFromPsqlAndInsideTLS(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	running := sleeping(t, p, s, c)
	b, err := (&pgproto3.CancelRequest{ProcessID: c.PgConn().PID(), SecretKey: c.PgConn().SecretKey()}).Encode(nil)
	must(t, err)
	conn := p.dial(t)
	_, err = conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	must(t, err)
	var yes [1]byte
	_, err = io.ReadFull(conn, yes[:])
	must(t, err)
	inside := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	_, err = inside.Write(b)
	must(t, err)
	if err := <-running; !canceled(err) {
		t.Errorf("%v", err)
	}
}

func TestManyCancelRequestsAtOnce(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	running := sleeping(t, p, s, c)
	var wg sync.WaitGroup
	for range 300 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
			defer cancel()
			_ = c.PgConn().CancelRequest(ctx)
		})
	}
	if err := <-running; !canceled(err) {
		t.Errorf("%v", err)
	}
	wg.Wait()
	if got := query[int](t, s.connect(t, "postgres"), "select 1"); got != 1 {
		t.Error("the server is not well")
	}
}

func TestAClientThatVanishesTakesItsStatementWithIt(t *testing.T) {
	s := postgres(t, 15)
	for _, test := range []struct {
		access string
		reset  bool
		cancel bool
	}{
		{"read", false, true}, {"read", true, true}, {"write", false, false}, {"write", true, false},
	} {
		p := serve(t, Config{Access: test.access, Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
		conn := p.dial(t)
		login(t, conn, "orders")
		_, err := conn.Write(message('Q', "select pg_sleep(30) /* vanish */\x00"))
		must(t, err)
		watch := s.connect(t, "postgres")
		running := func() int {
			return query[int](t, watch, "select count(*) from pg_stat_activity where query like '%* vanish *%' and state = 'active' and pid <> pg_backend_pid()")
		}
		eventually(t, "the statement runs", func() bool { return running() == 1 })
		if test.reset {
			must(t, conn.(*net.TCPConn).SetLinger(0))
		}
		must(t, conn.Close())
		eventually(t, "the session has ended", func() bool { return p.Totals().Open == 0 })
		if test.cancel {
			eventually(t, "the statement was cancelled", func() bool { return running() == 0 })
		} else if running() != 1 {
			t.Errorf("%+v: a statement of write access was cancelled", test)
		}
		_, err = watch.Exec(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where query like '%* vanish *%' and pid <> pg_backend_pid()")
		must(t, err)
		eventually(t, "it is gone", func() bool { return running() == 0 })
	}
}
