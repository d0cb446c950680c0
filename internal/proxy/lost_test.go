package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
)

func TestTheServersFarewellIsRelayed(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			events, cancel := p.Events(10)
			defer cancel()
			c := p.connect(t, "orders")
			pid := query[int](t, c, "select pg_backend_pid()")
			boss := s.connect(t, "postgres")
			query[bool](t, boss, "select pg_terminate_backend($1)", pid)
			_, err := c.Exec(t.Context(), "select 1")
			var pe *pgconn.PgError
			if !errors.As(err, &pe) || pe.Code != "57P01" || !strings.HasPrefix(pe.Message, "terminating connection due to administrator command") {
				t.Errorf("%v", err)
			}
			<-events
			if e := <-events; e.Kind != "close" || !e.Failure || !strings.Contains(e.Text, "the server ended the session") {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestACrashOfTheServerIsToldBetweenTwoMessages(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		s := ownPostgres(t, major)
		p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
		idle, running, out := p.dial(t), p.dial(t), p.dial(t)
		for _, c := range []net.Conn{idle, running, out} {
			login(t, c, "orders")
		}
		send(t, running, 'Q', "select pg_sleep(60)\x00")
		send(t, out, 'Q', "copy (select repeat('x', 100000), generate_series(1, 1000000000)) to stdout\x00")
		readUntil[*pgproto3.CopyOutResponse](t, out)
		watch := s.connect(t, "postgres")
		eventually(t, "both run", func() bool {
			return query[int](t, watch, "select count(*) from pg_stat_activity where application_name like 'dbops:%' and state = 'active'") == 2
		})
		// The backends are killed one by one, with the postmaster stopped: nobody gets to say goodbye.
		rows, err := watch.Query(t.Context(), "select pid from pg_stat_activity where application_name like 'dbops:%'")
		must(t, err)
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		must(t, err)
		must(t, s.signal(syscall.SIGSTOP))
		for _, pid := range pids {
			must(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		for name, c := range map[string]net.Conn{"idle": idle, "running": running} {
			if e := told(t, c); e.Code != "08006" || !strings.Contains(e.Message, "the connection to instance main was lost") || e.Hint == "" {
				t.Errorf("%d %s: %+v", major, name, e)
			}
		}
		f := pgproto3.NewFrontend(out, nil)
		for {
			m, err := f.Receive()
			if err != nil { // the server died inside a message: nothing may be put there
				break
			}
			if e, ok := m.(*pgproto3.ErrorResponse); ok {
				if e.Code != "08006" {
					t.Errorf("%+v", e)
				}
				break
			}
		}
		eventually(t, "the sessions have ended", func() bool { return p.Totals().Open == 0 })
		must(t, s.signal(syscall.SIGCONT))
		eventually(t, "new connections work without a restart of the proxy", func() bool {
			c, err := pgx.ConnectConfig(t.Context(), p.config(t, "orders", "disable"))
			if err == nil {
				_ = c.Close(t.Context())
			}
			return err == nil
		})
	}
}

func TestServerRestartsAreOverWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	s := ownPostgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, StartWait: time.Millisecond})
	c := p.dial(t)
	login(t, c, "orders")
	s.stop(syscall.SIGINT) // fast shutdown
	if e := told(t, c); e.Code != "57P01" || strings.HasPrefix(e.Message, "dbops") {
		t.Errorf("%+v", e)
	}
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "08001" {
		t.Errorf("while it is down: %+v", pe)
	}
	s.start(t)
	p.connect(t, "orders")
}

// playedServer logs anybody in, waits for the first message, and then runs f.
func playedServer(tb testing.TB, f func(c net.Conn)) string {
	tb.Helper()
	return listenLocal(tb, func(c net.Conn) {
		var head [4]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, c, int64(head[2])<<8+int64(head[3])-4); err != nil {
			return
		}
		out := encode(nil, &pgproto3.AuthenticationOk{})
		out = encode(out, &pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{1, 2, 3, 4}})
		out = encode(out, &pgproto3.ReadyForQuery{TxStatus: 'I'})
		if _, err := c.Write(out); err != nil {
			return
		}
		if _, err := io.ReadFull(c, make([]byte, len(firstMessage))); err == nil {
			f(c)
		}
	})
}

var firstMessage = message('Q', "go\x00")

// loginPlayed logs in to a played server, and sends the message it waits for.
func loginPlayed(tb testing.TB, c net.Conn) {
	tb.Helper()
	login(tb, c, "orders")
	_, err := c.Write(firstMessage)
	must(tb, err)
}

func TestNothingIsPutInsideAMessage(t *testing.T) {
	t.Parallel()
	half := message('D', strings.Repeat("x", 1000))[:500]
	for name, end := range map[string]func(p *testProxy, server net.Conn){
		"when the server is lost":      func(_ *testProxy, server net.Conn) { _ = server.Close() },
		"when the connection is ended": func(p *testProxy, _ net.Conn) { p.Kill(1) },
		"when the proxy shuts down":    func(p *testProxy, _ net.Conn) { p.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conns := make(chan net.Conn, 2)
			addr := playedServer(t, func(c net.Conn) {
				_, _ = c.Write(half)
				conns <- c
			})
			p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}, DrainTimeout: 100 * time.Millisecond})
			c := p.dial(t)
			loginPlayed(t, c)
			got := make([]byte, len(half))
			_, err := io.ReadFull(c, got)
			must(t, err)
			end(p, <-conns)
			if rest, _ := io.ReadAll(c); len(rest) != 0 {
				t.Errorf("put inside a message: %q", rest)
			}
		})
	}
}

func TestTheEndComesAfterTheMessageThatIsUnderWay(t *testing.T) {
	t.Parallel()
	m := message('D', strings.Repeat("x", 1000))
	conns := make(chan net.Conn, 2)
	addr := playedServer(t, func(c net.Conn) {
		_, _ = c.Write(m[:500])
		conns <- c
	})
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}})
	c := p.dial(t)
	loginPlayed(t, c)
	_, err := io.ReadFull(c, make([]byte, 500))
	must(t, err)
	p.Kill(1)
	_, err = (<-conns).Write(append(m[500:], message('C', "SELECT 1\x00")...))
	must(t, err)
	_, err = io.ReadFull(c, make([]byte, len(m)-500))
	must(t, err)
	if e := told(t, c); e.Code != "57P01" {
		t.Errorf("%+v", e)
	}
}

func TestAStreamThatIsNotTheProtocolIsPassedOnAsItIs(t *testing.T) {
	odd := strings.Repeat("no protocol at all ", 5000)
	addr := playedServer(t, func(c net.Conn) {
		_, _ = io.WriteString(c, odd)
		_ = c.Close()
	})
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}})
	c := p.dial(t)
	loginPlayed(t, c)
	if got, _ := io.ReadAll(c); string(got) != odd {
		t.Errorf("%d bytes of %d came", len(got), len(odd))
	}
}

func TestAClientThatClosesPolitelyLetsTheServerFinish(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.dial(t)
	login(t, c, "orders")
	// Sent and gone, with a goodbye: what the server was asked to do is done.
	_, err := c.Write(append(message('Q', "drop table if exists sent; create table sent (a int)\x00"), message('X', "")...))
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	readUntil[*pgproto3.ReadyForQuery](t, c)
	if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	if got := query[bool](t, s.connect(t, "shop"), "select to_regclass('sent') is not null"); !got {
		t.Error("the statement was lost")
	}
	eventually(t, "the session has ended", func() bool { return strings.Contains(p.log.String(), `reason="the client said goodbye"`) })

	// Gone without a goodbye while idle.
	c = p.dial(t)
	login(t, c, "orders")
	must(t, c.(*net.TCPConn).CloseWrite())
	if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
		t.Errorf("%q %v", rest, err)
	}
	eventually(t, "the session has ended", func() bool { return strings.Contains(p.log.String(), `reason="the client closed the connection"`) })
}

func TestACopyThatIsCutOffIsNotCompleted(t *testing.T) {
	s := postgres(t, 15)
	boss := s.connect(t, "shop")
	_, err := boss.Exec(t.Context(), "drop table if exists cut; create table cut (a int); alter table cut owner to app")
	must(t, err)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	for _, reset := range []bool{false, true} {
		c := p.dial(t)
		login(t, c, "orders")
		send(t, c, 'Q', "copy cut from stdin\x00")
		readUntil[*pgproto3.CopyInResponse](t, c)
		send(t, c, 'd', "1\n2\n")
		_, err = c.Write(message('d', "3\n")[:6])
		must(t, err)
		if reset {
			must(t, c.(*net.TCPConn).SetLinger(0))
		}
		must(t, c.Close())
		eventually(t, "the session has ended", func() bool { return p.Totals().Open == 0 })
	}
	eventually(t, "the server has noticed", func() bool {
		return query[int](t, boss, "select count(*) from pg_stat_activity where query like 'copy cut%'") == 0
	})
	if n := query[int](t, boss, "select count(*) from cut"); n != 0 {
		t.Errorf("%d rows of a copy that never ended", n)
	}
}

func TestRunningOutOfFilesIsSurvived(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	tired := &tiredListener{Listener: ln, errs: make(chan error, 3)}
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED} {
		tired.errs <- &net.OpError{Op: "accept", Err: errno}
	}
	p := serveOn(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}, tired)
	p.connect(t, "orders")
	eventually(t, "the failures are logged", func() bool { return strings.Count(p.log.String(), "accept failed") == 3 })
	if text := p.log.String(); strings.Count(text, "msg=note") != 1 || !strings.Contains(text, fmt.Sprintf("this process may open %d files", fileLimit())) {
		t.Errorf("whoever runs it is told:\n%s", text)
	}
}

func TestAListenerThatIsBrokenEndsServe(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	p := serveOn(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}, ln)
	c := p.dial(t)
	login(t, c, "orders")
	must(t, ln.Close())
	if e := told(t, c); e.Code != "57P01" {
		t.Errorf("%+v", e)
	}
	if err := <-p.ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
	p.ended <- nil
}

type tiredListener struct {
	net.Listener
	errs chan error
}

func (l *tiredListener) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

// lateConn returns late from its first writes: a starved machine, a slow tunnel. Then pgconn reads in the background, and would
// swallow the first bytes of the first answer.
type lateConn struct {
	net.Conn
	left int
	late time.Duration // far above the 15 ms after which pgconn reads, also where its timer is starved
}

func (c *lateConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if c.left--; c.left >= 0 {
		time.Sleep(c.late)
	}
	return n, err
}

func TestSlowWritesWhileLoggingInDoNotStealTheFirstAnswer(t *testing.T) {
	t.Parallel()
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			for mode, writes := range map[string]int{"disable": 3, "verify-full": 7} { // those of the login, at least
				params := pg.Params{SSLMode: mode, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
					return &lateConn{c, writes, 60 * time.Millisecond}, err
				}}
				if mode == "verify-full" {
					params.CAFile = s.caFile
				}
				p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", params)}})
				c := p.dial(t)
				login(t, c, "orders")
				_ = c.SetDeadline(time.Now().Add(5 * time.Second))
				send(t, c, 'Q', "select 1\x00")
				readUntil[*pgproto3.DataRow](t, c)
				readUntil[*pgproto3.ReadyForQuery](t, c)
			}
		})
	}
}

func TestWritesThatAreSlowForEverEndInAnError(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	// These demands are left to pgconn, which then writes more than once.
	params := pg.Params{SSLMode: "disable", RequireAuth: "scram-sha-256,md5", Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return &lateConn{c, 1 << 30, 300 * time.Millisecond}, err
	}}
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", params)}})
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "08001" || !strings.Contains(pe.Message, "did not come to rest") {
		t.Errorf("%+v", pe)
	}
}
