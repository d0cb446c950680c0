package proxy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"dbops/internal/pg"
)

// ---- a network with faults ----

// network is what lies between the proxy and a server.
type network struct{ *toxiproxy.Proxy }

// networkLeftovers are goroutines that toxiproxy forgets when one end of a link breaks while the other still sends. They are the test's
// network, none is the proxy's.
var networkLeftovers = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
	goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
}

func networkTo(tb testing.TB, port uint16) *network {
	tb.Helper()
	n := &network{toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), tb.Name(), "127.0.0.1:0", fmt.Sprintf("127.0.0.1:%d", port))}
	must(tb, n.Start())
	tb.Cleanup(n.Stop)
	return n
}

// toxic makes the network faulty in one direction: downstream is from the server.
func (n *network) toxic(tb testing.TB, kind, stream string, attributes map[string]any) {
	tb.Helper()
	b, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "attributes": attributes})
	must(tb, err)
	_, err = n.Toxics.AddToxicJson(bytes.NewReader(b))
	must(tb, err)
}

func (n *network) port() (port uint16) {
	_, text, _ := net.SplitHostPort(n.Listen)
	_, _ = fmt.Sscan(text, &port)
	return port
}

// via is database orders at the server, reached through n.
func (s *pgServer) via(n *network) Upstream {
	p := s.params(pg.Params{})
	p.Port = n.port()
	return Upstream{
		Database: "orders", Instance: "main",
		Config: func(context.Context) (*pgconn.Config, error) { return pg.Config(p) },
	}
}

// cable joins the proxy and a server without looking, and can be cut so that nobody hears of it.
type cable struct {
	addr string

	mu    sync.Mutex
	conns []net.Conn // the proxy's ends
}

func cableTo(tb testing.TB, port uint16) *cable {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	c := &cable{addr: ln.Addr().String()}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				_ = near.Close()
				continue
			}
			c.mu.Lock()
			c.conns = append(c.conns, near, far)
			c.mu.Unlock()
			wg.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
			wg.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		}
	})
	tb.Cleanup(func() {
		_ = ln.Close()
		c.mu.Lock()
		for _, conn := range c.conns {
			_ = conn.Close()
		}
		c.mu.Unlock()
		wg.Wait()
	})
	return c
}

func (c *cable) port() (port uint16) {
	_, text, _ := net.SplitHostPort(c.addr)
	_, _ = fmt.Sscan(text, &port)
	return port
}

// ---- figures ----

// inFull is set by make faults: faults are then as big and as long as they are outside.
func inFull() bool { return os.Getenv("DBOPS_FAULTS") != "" }

// measured says what a test measured, for the table of make faults.
func measured(tb testing.TB, fault, what string, value any) {
	tb.Helper()
	if d, ok := value.(time.Duration); ok {
		value = d.Round(time.Millisecond)
	}
	tb.Logf("measured | %s | %s | %v |", fault, what, value)
}

// openFiles counts what this process holds.
func openFiles(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(tb, err)
	return len(entries)
}

// heap is the memory in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
