package edge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"time"
)

// Ports that are taken when any will do: below those that systems give to outgoing connections, so that a port which is to be
// kept is free again when it is needed again.
const (
	firstPort = 20000
	lastPort  = 31999
)

// FreePort is a port of host that was free a moment ago, and that no outgoing connection takes by chance.
func FreePort(ctx context.Context, host string) (int, error) {
	ln, err := listenAny(ctx, host)
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func listenAny(ctx context.Context, host string) (net.Listener, error) {
	var lc net.ListenConfig
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port))); err == nil {
			return ln, nil
		}
	}
	return lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
}

// Listen begins to take connections at addr, host:port; port 0 takes a free one. Later calls, after [Edge.Refuse], take the
// first one's address again, whatever addr is; if somebody else has it then, they wait for it until ctx ends.
func (e *Edge) Listen(ctx context.Context, addr string) error {
	e.mu.Lock()
	known, listens := e.addr, e.ln != nil
	e.mu.Unlock()
	if listens {
		return nil
	}
	ln, err := open(ctx, addr, known)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", addr, err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return errors.Join(net.ErrClosed, ln.Close())
	case e.ln != nil:
		return ln.Close() // somebody else was faster
	}
	accepted := make(chan struct{})
	e.ln, e.addr, e.accepted = ln, ln.Addr().String(), accepted
	e.wg.Go(func() {
		defer close(accepted)
		e.accept(ln)
	})
	return nil
}

func open(ctx context.Context, addr, known string) (net.Listener, error) {
	var lc net.ListenConfig
	if known == "" {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if port == "0" || port == "" {
			return listenAny(ctx, host)
		}
		return lc.Listen(ctx, "tcp", addr)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ln, err := lc.Listen(ctx, "tcp", known)
		if err == nil {
			return ln, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// Addr is where the edge listens, or listened before [Edge.Refuse]: host:port.
func (e *Edge) Addr() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.addr
}

// Refuse stops listening: connections are refused, as by a host where nothing runs. Sessions that run go on. Afterwards no
// session begins but by [Edge.Handle], so that [Edge.DropAll] cuts all.
func (e *Edge) Refuse() error {
	e.mu.Lock()
	ln, accepted := e.ln, e.accepted
	e.ln = nil
	e.mu.Unlock()
	if ln == nil {
		return nil
	}
	err := ln.Close()
	<-accepted
	return err
}

func (e *Edge) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			e.cfg.Log.Warn("connection not accepted", "error", err)
			<-time.NewTimer(10 * time.Millisecond).C // out of descriptors: the only thing that helps is time
			continue
		}
		s, err := e.begin(c)
		if err != nil {
			cut(c)
			continue
		}
		go func() {
			defer s.end()
			if err := s.serve(context.Background(), outer{offerTLS: true}); err != nil {
				e.cfg.Log.Debug("session ended", "client", c.RemoteAddr(), "error", err)
			}
		}()
	}
}
