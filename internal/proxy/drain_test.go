package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
)

// told reads from a raw client up to a fatal error and the end of the stream.
func told(t *testing.T, c net.Conn) *pgproto3.ErrorResponse {
	t.Helper()
	e := readUntil[*pgproto3.ErrorResponse](t, c)
	if rest, err := io.ReadAll(c); len(rest) != 0 || err != nil {
		t.Errorf("behind the last message: %q %v", rest, err)
	}
	_ = c.Close() // as a client does; the proxy waits a moment for it
	if strings.HasPrefix(e.Message, "dbops: ") && (e.Hint == "" || e.Severity != "FATAL" || len(e.Code) != 5) {
		t.Errorf("no error that says what to do: %+v", e)
	}
	return e
}

func send(t *testing.T, c net.Conn, kind byte, body string) {
	t.Helper()
	_, err := c.Write(message(kind, body))
	must(t, err)
}

func TestDrainEndsIdleSessionsAtOnce(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, DrainTimeout: time.Minute})
			events, _ := p.Events(10)
			idle, listening := p.dial(t), p.dial(t)
			login(t, idle, "orders")
			login(t, listening, "orders")
			send(t, listening, 'Q', "listen x\x00")
			readUntil[*pgproto3.ReadyForQuery](t, listening)
			eventually(t, "both are told of", func() bool { return strings.Count(p.log.String(), `msg="connection opened"`) == 2 })
			p.stop()
			for _, c := range []net.Conn{idle, listening} {
				if e := told(t, c); e.Code != "57P01" || e.Severity != "FATAL" || e.Hint == "" {
					t.Errorf("%+v", e)
				}
			}
			p.wait(t)
			if _, err := net.Dial("tcp", p.addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("the port is open after the end: %v", err)
			}
			var kinds []string
			for e := range events { // ends: Serve has returned
				kinds = append(kinds, e.Kind)
			}
			if got := strings.Join(kinds, " "); got != "open open drain close close" {
				t.Error(got)
			}
		})
	}
}

func TestDrainWaitsForTransactionsAndStatements(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, DrainTimeout: time.Minute})
			boss := s.connect(t, "shop")
			_, err := boss.Exec(t.Context(), "drop table if exists drained; create table drained (who text); alter table drained owner to app; select pg_advisory_lock(7)")
			must(t, err)

			inTx, running, copying, pipelined, extended := p.dial(t), p.dial(t), p.dial(t), p.dial(t), p.dial(t)
			for _, c := range []net.Conn{inTx, running, copying, pipelined, extended} {
				login(t, c, "orders")
			}
			send(t, inTx, 'Q', "begin; insert into drained values ('tx')\x00")
			readUntil[*pgproto3.ReadyForQuery](t, inTx)
			send(t, running, 'Q', "select pg_advisory_lock(7), pg_advisory_unlock(7)\x00")
			send(t, copying, 'Q', "copy drained from stdin\x00")
			readUntil[*pgproto3.CopyInResponse](t, copying)
			send(t, copying, 'd', "copied ")
			// Two statements ahead: after the first ReadyForQuery the second one still waits for its lock.
			_, err = pipelined.Write(append(message('Q', "select 1\x00"), message('Q', "insert into drained select 'piped' from pg_advisory_lock(7)\x00")...))
			must(t, err)
			readUntil[*pgproto3.ReadyForQuery](t, pipelined)
			// An extended query that is not synced yet.
			_, err = extended.Write(append(append(message('P', "\x00insert into drained values ('extended')\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00")...), message('H', "")...))
			must(t, err)
			readUntil[*pgproto3.BindComplete](t, extended)

			p.stop()
			eventually(t, "the drain has begun", func() bool { return strings.Contains(p.log.String(), "msg=draining") })
			if got := p.Totals().Open; got != 5 {
				t.Errorf("%d sessions are left", got)
			}
			send(t, copying, 'd', "after the drain\n")
			send(t, copying, 'c', "")
			_, err = extended.Write(append(message('E', "\x00\x00\x00\x00\x00"), message('S', "")...))
			must(t, err)
			send(t, inTx, 'Q', "insert into drained values ('tx again')\x00")
			readUntil[*pgproto3.ReadyForQuery](t, inTx)
			send(t, inTx, 'Q', "commit\x00")
			_, err = boss.Exec(t.Context(), "select pg_advisory_unlock(7)")
			must(t, err)
			for name, c := range map[string]net.Conn{"in transaction": inTx, "running": running, "copying": copying, "pipelined": pipelined, "extended": extended} {
				readUntil[*pgproto3.CommandComplete](t, c)
				readUntil[*pgproto3.ReadyForQuery](t, c)
				if e := told(t, c); e.Code != "57P01" {
					t.Errorf("%s: %+v", name, e)
				}
			}
			p.wait(t)
			got := query[string](t, boss, "select string_agg(who, ',' order by who) from drained")
			if got != "copied after the drain,extended,piped,tx,tx again" {
				t.Errorf("what was done: %s", got)
			}
		})
	}
}

func TestDrainEndsWhatDoesNotFinishInTime(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, DrainTimeout: 300 * time.Millisecond})
			inTx, running, copyingIn, copyingOut := p.dial(t), p.dial(t), p.dial(t), p.dial(t)
			for _, c := range []net.Conn{inTx, running, copyingIn, copyingOut} {
				login(t, c, "orders")
			}
			send(t, inTx, 'Q', "begin; create table never (a int)\x00")
			readUntil[*pgproto3.ReadyForQuery](t, inTx)
			send(t, running, 'Q', "select pg_sleep(60) /* too long */\x00")
			send(t, copyingIn, 'Q', "create temp table c (a text); copy c from stdin\x00")
			readUntil[*pgproto3.CopyInResponse](t, copyingIn)
			send(t, copyingIn, 'd', "half a li")
			send(t, copyingOut, 'Q', "copy (select repeat('x', 1000), generate_series(1, 1000000000)) to stdout\x00")
			readUntil[*pgproto3.CopyOutResponse](t, copyingOut)
			type end struct {
				name string
				e    *pgproto3.ErrorResponse
			}
			ends := make(chan end)
			for name, c := range map[string]net.Conn{"in transaction": inTx, "running": running, "copying in": copyingIn, "copying out": copyingOut} {
				go func() {
					f := pgproto3.NewFrontend(c, nil) // a whole message each: the error must come between two
					for {
						m, err := f.Receive()
						if err != nil {
							ends <- end{name, nil}
							return
						}
						if e, ok := m.(*pgproto3.ErrorResponse); ok {
							ends <- end{name, e}
							return
						}
					}
				}()
			}
			p.stop()
			for range 4 {
				if got := <-ends; got.e == nil || got.e.Code != "57P01" {
					t.Errorf("%s: %+v", got.name, got.e)
				}
			}
			p.wait(t)
			watch := s.connect(t, "postgres")
			eventually(t, "nothing runs on the server", func() bool {
				return query[int](t, watch, "select count(*) from pg_stat_activity where application_name like 'dbops:%'") == 0
			})
		})
	}
}

func TestDrainWithAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, DrainTimeout: 200 * time.Millisecond})
	c := p.dial(t)
	login(t, c, "orders")
	send(t, c, 'Q', "select repeat('x', 1000), generate_series(1, 1000000000)\x00")
	eventually(t, "the buffers are full", func() bool {
		before := p.Totals().ToClient
		time.Sleep(50 * time.Millisecond)
		return before > 0 && before == p.Totals().ToClient
	})
	begin := time.Now()
	p.stop()
	p.wait(t)
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestDrainTellsThoseWhoAreLoggingIn(t *testing.T) {
	t.Parallel()
	waits := make(chan struct{}, 1)
	up := Upstream{Database: "orders", Instance: "main", Config: func(ctx context.Context) (*pgconn.Config, error) {
		waits <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	p := serve(t, Config{Upstreams: []Upstream{up}, DrainTimeout: time.Minute})
	asked, starting := p.dial(t), p.dial(t)
	_, err := asked.Write(startupPacket(196608, "user", "me", "database", "orders"))
	must(t, err)
	readUntil[*pgproto3.AuthenticationCleartextPassword](t, asked)
	_, err = starting.Write(append(startupPacket(196608, "user", "me", "database", "orders"), message('p', proxyPassword+"\x00")...))
	must(t, err)
	<-waits
	if got := p.Connections(); len(got) != 1 || got[0].State != "starting" {
		t.Errorf("%+v", got)
	}
	p.stop()
	for _, c := range []net.Conn{asked, starting} {
		if e := told(t, c); e.Code != "57P01" {
			t.Errorf("%+v", e)
		}
	}
	p.wait(t)
}

func TestKill(t *testing.T) {
	for _, major := range majors {
		t.Run(versionName(major), func(t *testing.T) {
			s := postgres(t, major)
			p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
			idle, running := p.dial(t), p.dial(t)
			login(t, idle, "orders")
			login(t, running, "orders")
			send(t, running, 'Q', "select pg_sleep(60) /* to be killed */\x00")
			watch := s.connect(t, "postgres")
			runs := func() int {
				return query[int](t, watch, "select count(*) from pg_stat_activity where query like '%* to be killed *%' and state = 'active' and pid <> pg_backend_pid()")
			}
			eventually(t, "it runs", func() bool { return runs() == 1 })
			states := map[string]bool{}
			for _, c := range p.Connections() {
				states[c.State] = true
				if !p.Kill(c.ID) {
					t.Error("an open connection is not found")
				}
			}
			if !states["idle"] || !states["active"] {
				t.Errorf("states %v", states)
			}
			for _, c := range []net.Conn{idle, running} {
				if e := told(t, c); e.Code != "57P01" {
					t.Errorf("%+v", e)
				}
			}
			eventually(t, "the statement has ended", func() bool { return runs() == 0 })
			eventually(t, "the sessions have ended", func() bool { return p.Totals().Open == 0 })
			if p.Kill(1) || p.Kill(999) {
				t.Error("a connection that is gone was found")
			}
		})
	}
}

func TestStates(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	c := p.connect(t, "orders")
	state := func() string { return p.Connections()[0].State }
	for _, step := range []struct{ sql, want string }{
		{"select 1", "idle"}, {"begin", "in transaction"}, {"select 1/0", "failed transaction"}, {"rollback", "idle"},
	} {
		_, _ = c.Exec(t.Context(), step.sql)
		if got := state(); got != step.want {
			t.Errorf("after %s: %s", step.sql, got)
		}
	}
	// libpq sends Sync right behind Execute, and again behind CopyDone: the server skips the first one.
	raw := p.dial(t)
	login(t, raw, "orders")
	last := func() string { all := p.Connections(); return all[len(all)-1].State }
	extendedCopy := bytes.Join([][]byte{
		message('P', "\x00copy (select 1) to stdout\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00"),
		message('E', "\x00\x00\x00\x00\x00"), message('S', ""),
		message('Q', "create temp table c (a int)\x00"),
		message('P', "\x00copy c from stdin\x00\x00\x00"), message('B', "\x00\x00\x00\x00\x00\x00\x00\x00"),
		message('E', "\x00\x00\x00\x00\x00"), message('S', ""),
	}, nil)
	_, err := raw.Write(extendedCopy)
	must(t, err)
	readUntil[*pgproto3.CopyInResponse](t, raw)
	if got := last(); got != "active" {
		t.Errorf("in COPY: %s", got)
	}
	_, err = raw.Write(bytes.Join([][]byte{message('d', "1\n"), message('c', ""), message('S', "")}, nil))
	must(t, err)
	readUntil[*pgproto3.ReadyForQuery](t, raw)
	if got := last(); got != "idle" {
		t.Errorf("after COPY in the extended protocol: %s", got)
	}
	send(t, raw, 'Q', "copy c from stdin\x00")
	readUntil[*pgproto3.CopyInResponse](t, raw)
	_, err = raw.Write(append(message('d', "nonsense\n"), message('c', "")...))
	must(t, err)
	readUntil[*pgproto3.ReadyForQuery](t, raw)
	send(t, raw, 'c', "") // too late, the server ignores it
	send(t, raw, 'Q', "select 1\x00")
	readUntil[*pgproto3.ReadyForQuery](t, raw)
	if got := last(); got != "idle" {
		t.Errorf("after COPY that failed: %s", got)
	}
}

func TestServeOnce(t *testing.T) {
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}})
	ln, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	eventually(t, "it serves", func() bool { return p.served.Load() })
	if err := p.Serve(t.Context(), ln); err == nil {
		t.Error("a second Serve began")
	}
}
