package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// swallow makes the network swallow all that comes to c: the peer hears nothing any more, no acknowledgement and no reset.
func swallow(t *testing.T, c net.Conn) {
	t.Helper()
	raw, err := c.(*net.TCPConn).SyscallConn()
	must(t, err)
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	var failed error
	must(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	}))
	must(t, failed)
}

func impatient(s *Server) { s.stuckAfter, s.stuckEvery = time.Second, 50*time.Millisecond }

func TestAServerThatTheNetworkSwallowedIsNoticed(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 2)
	addr := playedServer(t, func(c net.Conn) { conns <- c })
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}}, impatient)
	c := p.dial(t)
	loginPlayed(t, c)
	swallow(t, <-conns)
	send(t, c, 'Q', "select 1\x00")
	if e := told(t, c); e.Code != "08006" {
		t.Errorf("%+v", e)
	}
	eventually(t, "the reason is in the log", func() bool { return strings.Contains(p.log.String(), "the upstream stopped answering") })
}

func TestAServerThatDoesNotReadForLongIsLeftInPeace(t *testing.T) {
	t.Parallel()
	conns := make(chan net.Conn, 1)
	addr := playedServer(t, func(c net.Conn) { conns <- c })
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}}, impatient)
	c := p.dial(t)
	loginPlayed(t, c)
	const size = 16 << 20 // more than all buffers on the way
	go func() { _, _ = c.Write(message('d', strings.Repeat("x", size))) }()
	server := <-conns
	eventually(t, "nothing moves", func() bool {
		before := p.Totals().FromClient
		time.Sleep(100 * time.Millisecond)
		return before > 0 && before == p.Totals().FromClient
	})
	time.Sleep(2 * time.Second) // twice the limit of those who are really gone
	if n, err := io.CopyN(io.Discard, server, size); err != nil {
		t.Errorf("%d bytes, then %v\n%s", n, err, p.log)
	}
}

func TestKeepAlivesAreSetOnBothSides(t *testing.T) {
	conns := make(chan net.Conn, 1)
	addr := playedServer(t, func(c net.Conn) { conns <- c })
	p := serve(t, Config{Upstreams: []Upstream{plainUpstream(t, "orders", addr)}})
	loginPlayed(t, p.dial(t))
	<-conns
	sess := p.snapshot()[0]
	for name, c := range map[string]net.Conn{"client": sess.client.socket, "server": sess.server.Conn} {
		raw, err := tcpOf(c).SyscallConn()
		must(t, err)
		must(t, raw.Control(func(fd uintptr) {
			for option, want := range map[int]int{unix.TCP_KEEPIDLE: 30, unix.TCP_KEEPINTVL: 10, unix.TCP_KEEPCNT: 3, unix.TCP_USER_TIMEOUT: 0} {
				if got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option); got != want || err != nil {
					t.Errorf("%s: option %d is %d, want %d (%v)", name, option, got, want, err)
				}
			}
		}))
	}
}
