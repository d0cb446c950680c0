package proxy

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/pg"
)

// choppy reads and writes in pieces of random size.
type choppy struct {
	net.Conn
	rnd *rand.Rand // of reads
}

func (c *choppy) size(n int) int {
	around := []int{1, 5, 100, 8 << 10, 16 << 10, 64 << 10}[c.rnd.IntN(6)]
	return max(1, min(n, around+c.rnd.IntN(9)-4))
}

func (c *choppy) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return c.Conn.Read(p[:c.size(len(p))])
}

// library is a connection whose TLS is in a library: it hides its socket, and lets somebody come between.
type library struct {
	net.Conn
	below *struct{ net.Conn }
}

func (l library) Below(wrap func(net.Conn) net.Conn) { l.below.Conn = wrap(l.below.Conn) }

// libraryDial asks for TLS and shakes hands before pgconn sees the connection.
func libraryDial(s *pgServer, dial func(ctx context.Context, network, addr string) (net.Conn, error)) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return nil, err
		}
		below := &struct{ net.Conn }{c}
		t := tls.Client(below, &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS13})
		return library{struct{ net.Conn }{t}, below}, t.HandshakeContext(ctx)
	}
}

func choppyDial(seed uint64) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &choppy{Conn: c, rnd: rand.New(rand.NewPCG(seed, 1))}, nil
	}
}

func TestEveryByteArrivesWhateverThePieces(t *testing.T) {
	t.Parallel()
	s := postgres(t, 18)
	boss := s.connect(t, "shop")
	// Rows whose messages end around the sizes of records and buffers.
	_, err := boss.Exec(t.Context(), `drop table if exists pieces; create table pieces as
		select n, repeat(chr(97 + n % 26), case n % 7 when 0 then n % 300 when 1 then 8180 + n % 20 when 2 then 16370 + n % 20 when 3 then 65520 + n % 20 else n % 2000 end) as body
		from generate_series(1, 700) n; grant select on pieces to app; alter table pieces alter body set storage external`)
	must(t, err)
	const sql = "copy (select n, body from pieces order by n) to stdout"
	sum := md5.New()
	_, err = boss.PgConn().CopyTo(t.Context(), sum, sql)
	must(t, err)
	want := hex.EncodeToString(sum.Sum(nil))
	for name, params := range map[string]pg.Params{
		"TLS":                         {},
		"TLS, in pieces":              {SSLMode: "verify-full", CAFile: s.caFile, Dial: choppyDial(1)},
		"TLS of a library":            {SSLMode: "disable", Dial: libraryDial(s, (&net.Dialer{}).DialContext)},
		"TLS of a library, in pieces": {SSLMode: "disable", Dial: libraryDial(s, choppyDial(4))},
		"in the clear":                {SSLMode: "disable"},
		"in the clear, in pieces":     {SSLMode: "disable", Dial: choppyDial(2)},
	} {
		p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", params)}})
		for _, mode := range []string{"disable", "require"} {
			for i, dial := range []func(context.Context, string, string) (net.Conn, error){(&net.Dialer{}).DialContext, choppyDial(3)} {
				if i == 1 && mode == "require" && name != "TLS, in pieces" {
					continue // the machine's time
				}
				cfg := p.config(t, "orders", mode)
				cfg.DialFunc = dial
				c := p.connectWith(t, cfg)
				for range 2 {
					sum := md5.New()
					_, err := c.PgConn().CopyTo(t.Context(), sum, sql)
					must(t, err)
					if got := hex.EncodeToString(sum.Sum(nil)); got != want {
						t.Errorf("upstream %s, client %s: %s, want %s", name, mode, got, want)
					}
				}
				var in bytes.Buffer
				_, err := c.PgConn().CopyTo(t.Context(), &in, sql)
				must(t, err)
				_, err = c.Exec(t.Context(), "create temp table back (n int, body text)")
				must(t, err)
				_, err = c.PgConn().CopyFrom(t.Context(), &in, "copy back from stdin")
				must(t, err)
				if n := query[int](t, c, "select count(*) from (select * from back except select * from pieces) x"); n != 0 || query[int](t, c, "select count(*) from back") != 700 {
					t.Errorf("upstream %s, client %s: %d rows went in differently", name, mode, n)
				}
				must(t, c.Close(t.Context()))
			}
		}
	}
}

// Reading stops where the socket is empty, which may be inside a record that crypto/tls holds: nothing of that may make a
// session wait for bytes that have come.
func TestAnswersOfAnySizeDoNotStall(t *testing.T) {
	t.Parallel()
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	errs := make(chan error)
	for worker := range 4 {
		go func() {
			errs <- func() error {
				c, err := pgx.ConnectConfig(ctx, p.config(t, "orders", "disable"))
				if err != nil {
					return err
				}
				defer c.Close(context.Background())
				rnd := rand.New(rand.NewPCG(uint64(worker), 5))
				for range 1000 {
					var text string
					size := rnd.IntN([]int{10, 9000, 40000, 200000}[rnd.IntN(4)])
					if err := c.QueryRow(ctx, "select repeat('x', $1)", size).Scan(&text); err != nil {
						return err
					}
					if len(text) != size {
						t.Errorf("%d bytes of %d", len(text), size)
					}
				}
				return nil
			}()
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestASlowReaderHoldsUpNobodyElseAndNoMemory(t *testing.T) {
	s := postgres(t, 15)
	p := serve(t, Config{Upstreams: []Upstream{s.upstream("orders", pg.Params{})}})
	slow := p.dial(t)
	login(t, slow, "orders")
	send(t, slow, 'Q', "copy (select repeat('x', 1000), generate_series(1, 100000)) to stdout\x00")
	eventually(t, "the buffers are full", func() bool {
		before := p.Totals().ToClient
		time.Sleep(50 * time.Millisecond)
		return before > 0 && before == p.Totals().ToClient
	})
	if got := p.Totals().ToClient; got > 32<<20 {
		t.Errorf("the proxy took %d bytes for a client that does not read", got)
	}
	c := p.connect(t, "orders")
	query[int](t, c, "select 1")
	n, err := io.CopyN(io.Discard, slow, 100_000_000)
	if err != nil {
		t.Errorf("after a pause: %d bytes, %v", n, err)
	}
}

func TestNothingIsPassedOnAfterTheEnd(t *testing.T) {
	sess := &session{}
	if !sess.takeFromClient(message('Q', "select 1\x00")) {
		t.Error("an open session passes nothing on")
	}
	sess.ended = true
	if sess.takeFromClient(message('Q', "delete from orders\x00")) {
		t.Error("a statement was passed on after the client was told that the session is over")
	}
}

func TestABufferThatStaysIsBigOnlyInBulk(t *testing.T) {
	b := buffer{pool: &buffers{}}
	if len(b.space()) != idleSize {
		t.Errorf("at first %d bytes", len(b.space()))
	}
	b.fit(idleSize - 1)
	if len(b.space()) != idleSize {
		t.Error("grew without need")
	}
	b.fit(idleSize)
	if len(b.space()) != bulkSize {
		t.Error("did not grow for bulk")
	}
	b.fit(idleSize)
	if len(b.space()) != bulkSize {
		t.Error("shrank in the middle of bulk")
	}
	b.fit(100)
	if len(b.space()) != idleSize || b.big != nil {
		t.Error("kept a big buffer")
	}
}

func TestMemoryIsGivenBackAfterManyLogins(t *testing.T) {
	var c calm
	for i, step := range []struct {
		begun uint64
		want  bool
	}{{0, false}, {50, false}, {50, false}, {150, false}, {150, true}, {150, false}, {200, false}, {200, false}, {300, false}, {300, true}} {
		if got := c.after(step.begun); got != step.want {
			t.Errorf("step %d, %d sessions: %t", i, step.begun, got)
		}
	}
}
