package dial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// suspectAfter is how long a connection may wait for an answer before its session is tried.
const suspectAfter = 20 * time.Second

// dial opens a connection in the session. Whether the managed node can make it shows when something is read.
func (p *plugin) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	before, _ := p.failed()
	tcp, err := p.connect(ctx, network)
	if err != nil {
		return nil, err
	}
	c := &forwarded{through: through{TCPConn: tcp, to: place(addr)}, plugin: p, before: before}
	p.mu.Lock()
	p.conns[c] = struct{}{}
	p.mu.Unlock()
	return c, nil
}

func (p *plugin) connect(ctx context.Context, network string) (*net.TCPConn, error) {
	conn, err := direct().DialContext(ctx, network, net.JoinHostPort("localhost", p.port))
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the connection is a %T", conn), conn.Close())
	}
	return tcp, nil
}

// watch tries the session while a connection waits for an answer, until the session has ended. A plugin that lost its WebSocket while it was
// sending does nothing any more, and notices only when somebody connects; then it ends, and all of its connections with it.
func (p *plugin) watch(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			return
		case now := <-tick.C:
			if !p.waits(now.Add(-every)) {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), every)
			if conn, err := p.connect(ctx, "tcp"); err == nil {
				_ = conn.Close()
			}
			cancel()
		}
	}
}

// waits tells whether a connection has been waiting since before then.
func (p *plugin) waits(then time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if since := c.since.Load(); since != 0 && since < then.UnixNano() {
			return true
		}
	}
	return false
}

// forwarded is a connection in a session: one that ends before its first byte is one that the managed node did not make, or one whose session
// has ended.
type forwarded struct {
	through
	plugin *plugin
	before int // failures when it was opened
	heard  atomic.Bool
	since  atomic.Int64 // when it began to wait for an answer; 0: it does not
}

// Write notes that an answer is to come.
func (c *forwarded) Write(b []byte) (int, error) {
	c.since.CompareAndSwap(0, time.Now().UnixNano())
	return c.TCPConn.Write(b)
}

// Read explains the end of a connection on which nothing was ever said.
func (c *forwarded) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 {
		c.heard.Store(true)
		c.since.Store(0)
	}
	if err == nil || c.heard.Load() || isTimeout(err) {
		return n, err
	}
	if c.plugin.hasFailed(c.before) {
		return n, rejected(c.plugin.node, c.to.String())
	}
	if c.plugin.gone() {
		return n, fmt.Errorf("the session of Systems Manager has ended: %w", err)
	}
	return n, err
}

// Close ends the connection; its session goes on.
func (c *forwarded) Close() error {
	c.plugin.mu.Lock()
	delete(c.plugin.conns, c)
	c.plugin.mu.Unlock()
	return c.TCPConn.Close()
}

func isTimeout(err error) bool {
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}
