package driver

import (
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
)

// Relay is a way to a server that is as long as one wants. It delays what passes and does not limit how much does.
type Relay struct {
	listen net.Listener
	server string
	delay  time.Duration // in each direction
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	ways  []*way
}

// way is one session.
type way struct {
	asked atomic.Bool
	trips atomic.Int64 // answers to what the client has sent since the answer before
}

// NewRelay opens a relay of a round-trip time. It ends with the test.
func NewRelay(t testing.TB, s *pgtest.Server, roundTrip time.Duration) *Relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{listen: l, server: net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port))), delay: roundTrip / 2}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			_ = c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// Reach makes a configuration go through the relay.
func (r *Relay) Reach(c *pgconn.Config) { c.Port = uint16(r.listen.Addr().(*net.TCPAddr).Port) }

// Trips are the round trips of each session so far, in the order in which they were opened.
func (r *Relay) Trips() (all []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.ways {
		all = append(all, int(w.trips.Load()))
	}
	return all
}

func (r *Relay) accept() {
	for {
		client, err := r.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		w := &way{}
		r.mu.Lock()
		r.conns = append(r.conns, client, server)
		r.ways = append(r.ways, w)
		r.mu.Unlock()
		r.wg.Go(func() { r.pass(server, client, func() { w.asked.Store(true) }) })
		r.wg.Go(func() {
			r.pass(client, server, func() {
				if w.asked.Swap(false) {
					w.trips.Add(1)
				}
			})
		})
	}
}

// pass passes on what comes from one side to the other, each part as long after it came as the way is.
func (r *Relay) pass(to, from net.Conn, saw func()) {
	type part struct {
		at    time.Time
		bytes []byte
	}
	under := make(chan part, 4096)
	r.wg.Go(func() {
		for p := range under {
			if wait := time.Until(p.at); wait > 0 {
				time.Sleep(wait)
			}
			if _, err := to.Write(p.bytes); err != nil {
				break
			}
		}
		_ = to.Close()
		for range under { // what still comes goes nowhere
		}
	})
	defer close(under)
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			saw()
			under <- part{time.Now().Add(r.delay), slices.Clone(buf[:n])}
		}
		if err != nil {
			return
		}
	}
}
