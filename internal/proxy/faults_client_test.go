package proxy

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/pg"
)

// settled waits until n does not change any more, and returns it.
func settled(tb testing.TB, what string, n func() int64) int64 {
	tb.Helper()
	var last int64
	eventually(tb, what, func() bool {
		before := n()
		time.Sleep(200 * time.Millisecond)
		last = n()
		return last > 0 && last == before
	})
	return last
}

func TestFaultSlowClient(t *testing.T) {
	s := postgres(t, 15)
	n := networkTo(t, s.port)
	p := serve(t, Config{Upstreams: []Upstream{s.via(n)}})
	const slow = 10
	before := heap()
	conns := make([]net.Conn, slow)
	for i := range conns {
		conns[i] = p.dial(t)
		login(t, conns[i], "orders")
		send(t, conns[i], 'Q', "copy (select repeat('x', 1000), generate_series(1, 1000000)) to stdout\x00") // 1 GB each
	}
	held := settled(t, "nothing moves any more", func() int64 { return p.Totals().ToClient })
	grown := heap() - before
	measured(t, "slow client", "taken from the server for each client that does not read a COPY of 1 GB", megabytes(held/slow))
	measured(t, "slow client", "memory of this process for each (proxy, network and clients)", megabytes(grown/slow))
	if grown > slow*4<<20 {
		t.Errorf("%d clients that do not read hold %s", slow, megabytes(grown))
	}
	// The server is held up, not only the proxy; and others do not feel it.
	watch := s.connect(t, "postgres")
	eventually(t, "every server waits for its client", func() bool {
		return query[int](t, watch, "select count(*) from pg_stat_activity where query like 'copy (select repeat%' and wait_event = 'ClientWrite'") == slow
	})
	begin := time.Now()
	c := p.connect(t, "orders")
	if got := query[int](t, c, "select 1"); got != 1 {
		t.Error("another client got a wrong answer")
	}
	measured(t, "slow client", "another client connects and asks in", time.Since(begin))
	// One of them reads again, and misses nothing.
	f := pgproto3.NewFrontend(conns[0], nil)
	_ = conns[0].SetDeadline(time.Now().Add(time.Minute))
	for rows := 0; ; {
		m, err := f.Receive()
		must(t, err)
		if _, ok := m.(*pgproto3.CopyData); ok {
			if rows++; rows == 20000 {
				break
			}
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
	eventually(t, "their statements have ended", func() bool {
		return query[int](t, watch, "select count(*) from pg_stat_activity where query like 'copy (select repeat%' and state = 'active'") == 0
	})
}

func TestFaultSlowServer(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	n := networkTo(t, s.port)
	p := serve(t, Config{Access: "write", Upstreams: []Upstream{s.via(n)}}, impatient)
	c := p.dial(t)
	login(t, c, "orders")
	send(t, c, 'Q', "create temp table slow (a text); copy slow from stdin\x00")
	readUntil[*pgproto3.CopyInResponse](t, c)
	n.toxic(t, "bandwidth", "upstream", map[string]any{"rate": 1}) // KB/s
	var sent atomic.Int64
	row := message('d', strings.Repeat("y", 1000)+"\n")
	go func() {
		for {
			k, err := c.Write(row)
			sent.Add(int64(k))
			if err != nil {
				return
			}
		}
	}()
	taken := settledSlowly(t, func() int64 { return sent.Load() })
	measured(t, "slow server", "taken from a client whose server reads 1 KB/s", megabytes(taken))
	if taken > 32<<20 { // sockets' buffers hold most of it
		t.Errorf("%s were taken from the client", megabytes(taken))
	}
	begin := time.Now()
	if got := query[int](t, serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}}).connect(t, "orders"), "select 1"); got != 1 {
		t.Error("wrong")
	}
	measured(t, "slow server", "another database answers in", time.Since(begin))
	must(t, c.(*net.TCPConn).SetLinger(0))
	must(t, c.Close())
	eventually(t, "the session has ended", func() bool { return p.Totals().Open == 0 })
}

// settledSlowly is settled for what goes on at a trickle.
func settledSlowly(tb testing.TB, n func() int64) int64 {
	tb.Helper()
	var last int64
	eventually(tb, "little moves any more", func() bool {
		before := n()
		time.Sleep(300 * time.Millisecond)
		last = n()
		return last > 0 && last-before < 64<<10
	})
	return last
}

func TestFaultClientGoneInMidQuery(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	n := networkTo(t, s.port)
	p := serve(t, Config{Access: "read", Upstreams: []Upstream{s.via(n)}})
	watch := s.connect(t, "postgres")
	running := func() int {
		return query[int](t, watch, "select count(*) from pg_stat_activity where query like '%gone in mid query%' and state = 'active' and pid <> pg_backend_pid()")
	}
	c := p.dial(t)
	login(t, c, "orders")
	send(t, c, 'Q', "select pg_sleep(60) /* gone in mid query */\x00")
	eventually(t, "it runs", func() bool { return running() == 1 })
	begin := time.Now()
	must(t, c.(*net.TCPConn).SetLinger(0))
	must(t, c.Close())
	eventually(t, "it was cancelled", func() bool { return running() == 0 })
	measured(t, "a client is gone in mid-query", "its statement is cancelled on the server after (read access)", time.Since(begin))
}

// garbage is a first packet that no PostgreSQL client sends.
func garbage(r *rand.Rand) []byte {
	switch r.IntN(6) {
	case 0:
		return []byte("GET /" + strings.Repeat("a", r.IntN(200)) + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
	case 1:
		return append([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 32)...)
	case 2:
		return startupPacket(uint32(r.Uint64()), "user", "me")
	case 3:
		return append(startupPacket(196608, "user", "me", "database", "orders"), message('p', "guess\x00")...)
	case 4:
		p := startupPacket(196608, "user", "me")
		return p[:r.IntN(len(p))]
	default:
		b := make([]byte, 1+r.IntN(300))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
}

func TestFaultGarbageAndDribblingClients(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}, StartupTimeout: 2 * time.Second})
	total, dribbling := 1000, 150
	if inFull() {
		total, dribbling = 10000, 600
	}
	must(t, p.connect(t, "orders").Close(t.Context()))
	eventually(t, "nobody is there", func() bool { return p.Totals().Open == 0 })
	goroutines, files, memory := runtime.NumGoroutine(), openFiles(t), heap()

	// Some send a byte now and then, and never finish.
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var slow sync.WaitGroup
	for range dribbling {
		slow.Go(func() {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				return
			}
			defer c.Close()
			for _, b := range startupPacket(196608, "user", "me", "database", "orders", "application_name", "slow") {
				if _, err := c.Write([]byte{b}); err != nil || !pause(ctx, 100*time.Millisecond) {
					return
				}
			}
		})
	}
	// Many send something else.
	var sent atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for sent.Add(1) <= int64(total) {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(30 * time.Second))
				_, _ = c.Write(garbage(r))
				_ = c.(*net.TCPConn).CloseWrite()
				if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
					t.Errorf("a client that sent garbage was left hanging: %v", err)
				}
				_ = c.Close()
			}
		})
	}
	// And one wants to work.
	var worst, sum time.Duration
	var served int
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for working := true; working; {
		begin := time.Now()
		c := p.dial(t)
		if _, err := c.Write(append(startupPacket(196608, "user", "me", "database", "orders"), message('p', proxyPassword+"\x00")...)); err != nil {
			t.Fatal(err)
		}
		if _, code := first(c); code == "" {
			served++
			took := time.Since(begin)
			worst, sum = max(worst, took), sum+took
		} else if code != "53300" {
			t.Errorf("a client that wanted to work was told %s", code)
		}
		_ = c.Close()
		select {
		case <-done:
			working = false
		case <-time.After(50 * time.Millisecond):
		}
	}
	stop()
	slow.Wait()
	if served == 0 {
		t.Error("nobody could work")
	} else {
		measured(t, "garbage and dribbling clients", fmt.Sprintf("%d first packets that are none and %d slow ones: a client that works logs in after, mean", total, dribbling), sum/time.Duration(served))
		measured(t, "garbage and dribbling clients", "at worst", worst)
	}
	eventually(t, "all are gone", func() bool {
		return runtime.NumGoroutine() <= goroutines+2 && openFiles(t) <= files+2 && p.Totals().Open == 0
	})
	measured(t, "garbage and dribbling clients", "goroutines, files and memory left behind", fmt.Sprintf("%d, %d, %s",
		max(0, runtime.NumGoroutine()-goroutines), max(0, openFiles(t)-files), megabytes(max(0, heap()-memory))))
	p.connect(t, "orders")
}

// first reads up to ReadyForQuery or an error, of which it returns the SQLSTATE.
func first(c net.Conn) (ready bool, code string) {
	f := pgproto3.NewFrontend(c, nil)
	for {
		m, err := f.Receive()
		if err != nil {
			return false, err.Error()
		}
		switch m := m.(type) {
		case *pgproto3.ReadyForQuery:
			return true, ""
		case *pgproto3.ErrorResponse:
			return false, m.Code
		}
	}
}

func TestFaultManyConnections(t *testing.T) {
	many := 200
	if inFull() {
		many = 2000
	}
	s := ownPostgres(t, 15, fmt.Sprintf("max_connections=%d", many+20), "shared_buffers=16MB")
	p := serve(t, Config{Upstreams: []Upstream{s.via(networkTo(t, s.port))}, MaxConns: many, DrainTimeout: time.Minute})
	begin := time.Now()
	conns := make([]net.Conn, many)
	var wg sync.WaitGroup
	next := make(chan int)
	for range 16 {
		wg.Go(func() {
			for i := range next {
				c, err := net.Dial("tcp", p.addr)
				if err != nil {
					t.Error(err)
					continue
				}
				_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
				_, _ = c.Write(append(startupPacket(196608, "user", "me", "database", "orders"), message('p', proxyPassword+"\x00")...))
				if ready, code := first(c); !ready {
					t.Errorf("connection %d: %s", i, code)
				}
				conns[i] = c
			}
		})
	}
	for i := range many {
		next <- i
	}
	close(next)
	wg.Wait()
	if t.Failed() {
		return
	}
	took := time.Since(begin)
	measured(t, "many connections", fmt.Sprintf("%d clients logged in, 16 at a time, in", many), took)
	if pe := p.refusedWith(t, p.config(t, "orders", "disable")); pe.Code != "53300" || !strings.Contains(pe.Hint, "--max-connections") {
		t.Errorf("one more: %+v", pe)
	}
	begin = time.Now()
	for _, c := range conns {
		_, err := c.Write(message('Q', "select 1\x00"))
		must(t, err)
	}
	for i, c := range conns {
		if ready, code := first(c); !ready {
			t.Errorf("connection %d: %s", i, code)
		}
	}
	measured(t, "many connections", "each has asked and has its answer in", time.Since(begin))
	begin = time.Now()
	p.stop()
	codes := map[string]int{}
	for _, c := range conns {
		_, code := first(c)
		codes[code]++
		_ = c.Close()
	}
	p.wait(t)
	measured(t, "many connections", "all are told that the proxy shuts down, and it has ended after", time.Since(begin))
	if codes["57P01"] != many {
		t.Errorf("they were told %v", codes)
	}
}
