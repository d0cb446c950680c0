package island

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Gate passes connections on from a port of the loopback interface, or from a socket, until it is told otherwise.
type Gate struct {
	Addr    string
	at      string // the network it listens on
	network string
	to      string

	mu     sync.Mutex
	ln     net.Listener
	silent bool
	heard  *sync.Cond // that it is silent no more, or closed
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

// NewGate opens a gate to an address or a socket. It ends with the test.
func NewGate(t testing.TB, network, to string) *Gate {
	t.Helper()
	return newGate(t, "tcp", "127.0.0.1:0", network, to)
}

// NewBridge opens a gate from a socket, such as the end of an island's bridge.
func NewBridge(t testing.TB, socket, network, to string) *Gate {
	t.Helper()
	return newGate(t, "unix", socket, network, to)
}

func newGate(t testing.TB, at, addr, network, to string) *Gate {
	t.Helper()
	ln, err := net.Listen(at, addr)
	if err != nil {
		t.Fatal(err)
	}
	g := &Gate{Addr: ln.Addr().String(), at: at, network: network, to: to, ln: ln, conns: map[net.Conn]struct{}{}}
	g.heard = sync.NewCond(&g.mu)
	g.wg.Go(func() { g.accept(ln) })
	t.Cleanup(func() {
		g.Close()
		g.wg.Wait()
	})
	return g
}

// Port is that of Addr.
func (g *Gate) Port() string {
	_, port, _ := net.SplitHostPort(g.Addr)
	return port
}

// Close lets nobody in any more, and cuts who is.
func (g *Gate) Close() {
	g.mu.Lock()
	_ = g.ln.Close()
	g.mu.Unlock()
	g.Cut()
}

// Open lets people in again after Close.
func (g *Gate) Open(t testing.TB) {
	t.Helper()
	ln, err := net.Listen(g.at, g.Addr)
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	g.ln, g.silent = ln, false
	g.heard.Broadcast()
	g.mu.Unlock()
	g.wg.Go(func() { g.accept(ln) })
}

// Cut ends the connections that are open.
func (g *Gate) Cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Close()
		delete(g.conns, c)
	}
	g.heard.Broadcast()
}

// Count is how many connections are open.
func (g *Gate) Count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns) / 2
}

// Silence holds everything back from now on, as a network that loses its packets, or lets it through again.
func (g *Gate) Silence(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = on
	g.heard.Broadcast()
}

// wait returns when something may pass.
func (g *Gate) wait(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.silent {
		if _, open := g.conns[c]; !open {
			return
		}
		g.heard.Wait()
	}
}

func (g *Gate) accept(ln net.Listener) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		g.wg.Go(func() { g.pass(in) })
	}
}

func (g *Gate) pass(in net.Conn) {
	out, err := (&net.Dialer{}).DialContext(context.Background(), g.network, g.to)
	if err != nil {
		_ = in.Close()
		return
	}
	g.mu.Lock()
	g.conns[in], g.conns[out] = struct{}{}, struct{}{}
	g.mu.Unlock()
	var wg sync.WaitGroup
	end := func() { _, _ = in.Close(), out.Close() }
	wg.Go(func() { defer end(); g.copy(out, in, in) })
	wg.Go(func() { defer end(); g.copy(in, out, in) })
	wg.Wait()
	g.mu.Lock()
	delete(g.conns, in)
	delete(g.conns, out)
	g.mu.Unlock()
}

func (g *Gate) copy(to io.Writer, from io.Reader, in net.Conn) {
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			g.wait(in)
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
