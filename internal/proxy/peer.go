package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"
)

// Peer is the process at the other end of a connection, as far as the system tells. What it does not tell is empty.
type Peer struct {
	User    string `json:"local_user,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Process string `json:"process,omitempty"`
}

// identity is what the kernel says of a peer.
type identity struct{ uid, pid int }

// admit says whether a client may come in: on a socket by the kernel's word that it is this user, elsewhere by the password.
func (s *Server) admit(c *client, h *hello) error {
	if u, ok := c.socket.(*net.UnixConn); ok {
		id, err := credentials(u)
		if err != nil {
			return refuse("28000", "the system does not say who is at the other end of the socket: %s", err).
				hint("connect over TCP: take the URI that the proxy printed")
		}
		if id.uid != os.Getuid() {
			return refuse("28000", "this proxy belongs to %s, and the client is %s", userName(os.Getuid()), userName(id.uid)).
				hint("each user opens a proxy of their own: dbops proxy -e %s", s.cfg.Environment)
		}
		if out := h.negotiation(); len(out) > 0 {
			_, err = c.Write(out)
		}
		return err
	}
	if s.cfg.RequireTLS && c.Conn == c.socket {
		return refuse("28000", "the proxy wants TLS, and the client does not encrypt").
			hint("connect with sslmode=require, or verify-full and the proxy's own certificate (dbops proxy -o json prints it as ca)")
	}
	return c.authenticate(h, s.cfg.Password, s.cfg.Environment)
}

// lookup is a search for a peer that goes on beside the login.
type lookup struct {
	done chan struct{}
	peer Peer // once done is closed
}

// now is the peer if it is known by now.
func (l *lookup) now() Peer {
	if l == nil {
		return Peer{}
	}
	select {
	case <-l.done:
		return l.peer
	default:
		return Peer{}
	}
}

// wait returns when the search has ended: it is bounded.
func (l *lookup) wait() {
	if l != nil {
		<-l.done
	}
}

// waitFor is wait for a while.
func (l *lookup) waitFor(d time.Duration) {
	if l == nil {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.done:
	case <-timer.C:
	}
}

// identify looks for the process at the other end of c. It costs the connection nothing: whoever wants to know waits for it.
func (s *Server) identify(c *client) *lookup {
	l := &lookup{done: make(chan struct{})}
	go func() { // ended by lookup.wait's callers, who all come before the connection's end
		defer close(l.done)
		var id identity
		var err error
		if u, ok := c.socket.(*net.UnixConn); ok {
			id, err = credentials(u)
		} else {
			id, err = s.processes.ofTCP(c.socket)
		}
		if err != nil {
			return
		}
		l.peer.User = userName(id.uid)
		if id.pid > 0 {
			l.peer.PID, l.peer.Process = id.pid, processName(id.pid)
		}
	}()
	return l
}

// endpoints are both addresses of a TCP connection, the peer's first.
func endpoints(conn net.Conn) (peer, own netip.AddrPort, ok bool) {
	r, isTCP := conn.RemoteAddr().(*net.TCPAddr)
	l, both := conn.LocalAddr().(*net.TCPAddr)
	if !isTCP || !both {
		return peer, own, false
	}
	peer, own = r.AddrPort(), l.AddrPort()
	return netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()), netip.AddrPortFrom(own.Addr().Unmap(), own.Port()), true
}

// userNames remembers names by uid: to look one up is to read the list of users.
var userNames sync.Map

// userName is a user of this machine for a message.
func userName(uid int) string {
	if uid < 0 {
		return "an unknown user"
	}
	if name, ok := userNames.Load(uid); ok {
		if name, ok := name.(string); ok {
			return name
		}
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return "uid " + strconv.Itoa(uid)
	}
	userNames.Store(uid, u.Username)
	return u.Username
}

// describe is a process for a message: "postgres (pid 123)".
func describe(pid int) string {
	if name := processName(pid); name != "" {
		return fmt.Sprintf("%s (pid %d)", name, pid)
	}
	return fmt.Sprintf("process %d", pid)
}
