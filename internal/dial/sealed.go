package dial

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
)

// sealed is a connection whose encryption ends in a library that does not tell what is below.
type sealed struct {
	net.Conn
	socket        *socket
	library       atomic.Pointer[taken] // until something was read, and where the TLS was taken out
	local, remote net.Addr              // asked for at any time, also while Below changes what is below
}

// socket is what the library has put TLS on.
type socket struct{ net.Conn }

// seal takes over what the library returns, with its TLS on s.
func seal(conn net.Conn, s *socket) *sealed {
	out := &sealed{Conn: conn, socket: s, local: conn.LocalAddr(), remote: conn.RemoteAddr()}
	if inner, t := takeOut(conn); t != nil {
		out.Conn = inner
		out.library.Store(t)
	}
	return out
}

// Read tells the library why the first one failed: with TLS 1.3 a server that does not accept the client's certificate says so only then, and the
// library has to ask for another.
func (s *sealed) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if t := s.library.Load(); t != nil && (n > 0 || err != nil && !errors.Is(err, os.ErrDeadlineExceeded)) && s.library.CompareAndSwap(t, nil) && n == 0 {
		t.failed(err)
	}
	return n, err
}

// LocalAddr implements [net.Conn].
func (s *sealed) LocalAddr() net.Addr { return s.local }

// RemoteAddr implements [net.Conn].
func (s *sealed) RemoteAddr() net.Addr { return s.remote }

// ConnectionState is what the handshake has found out; nothing where the library hides it.
func (s *sealed) ConnectionState() tls.ConnectionState {
	if t, ok := s.Conn.(*tls.Conn); ok {
		return t.ConnectionState()
	}
	return tls.ConnectionState{}
}

// NetConn is the connection below the encryption.
func (s *sealed) NetConn() net.Conn { return s.socket.Conn }

// Below puts what wrap returns between the encryption and the connection below. Nobody may be reading or writing.
func (s *sealed) Below(wrap func(net.Conn) net.Conn) { s.socket.Conn = wrap(s.socket.Conn) }
