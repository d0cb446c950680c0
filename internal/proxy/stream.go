package proxy

import (
	"errors"
	"net"
	"os"
)

// stream is one connection of a session, as the relay reads and writes it: the socket, or TLS on it. Each direction belongs to one
// goroutine.
type stream struct {
	conn   net.Conn // encrypts, or is the socket
	sock   *socket  // below; nil where it is not the kernel's or not known
	sealed bool     // there is TLS between the two
	pool   *buffers

	drained bool    // TLS has handed out all that the socket gave it
	buf     *[]byte // that holds what next returned
	own     buffer  // without a socket
	last    int     // bytes that the last read without one gave
	err     error   // that came with them
}

// What connections that encrypt are on, where they tell: TLS of the standard library's, or a connection that lets wrap come between.
type (
	layered interface{ NetConn() net.Conn }
	opaque  interface {
		Below(wrap func(net.Conn) net.Conn)
	}
)

// newStream finds the socket below conn, or makes it. Nobody may be reading conn.
func newStream(conn net.Conn, pool *buffers) *stream {
	s := &stream{conn: conn, pool: pool, own: buffer{pool: pool}}
	if o, ok := conn.(opaque); ok {
		o.Below(func(c net.Conn) net.Conn {
			if s.sock = newSocket(c, pool); s.sock == nil {
				return c
			}
			s.sealed = true
			return s.sock
		})
		return s
	}
	if s.sock = newSocket(conn, pool); s.sock != nil {
		return s
	}
	for c, ok := conn.(layered); ok; c, ok = c.NetConn().(layered) {
		if sock, ok := c.NetConn().(*socket); ok {
			s.sock, s.sealed = sock, true
			return s
		}
	}
	return s
}

// next waits for bytes and returns what has come. They are good until the next call of next or release. While it waits it holds no buffer,
// where there is a socket.
func (s *stream) next() ([]byte, error) {
	s.release()
	switch {
	case s.err != nil:
		err := s.err
		s.err = nil
		return nil, err
	case s.sock == nil:
		p := s.own.space()
		n, err := s.conn.Read(p)
		s.last = n
		if n > 0 {
			s.err = err
			return p[:n], nil
		}
		return nil, err
	case s.sealed:
		return s.open()
	}
	if err := s.sock.wait(); err != nil {
		return nil, err
	}
	var p []byte
	if p, s.buf = s.sock.pop(); len(p) > 0 {
		return p, nil
	}
	return nil, s.sock.err
}

// open is next for TLS. Only TLS itself knows when it has nothing left: a whole record may wait in it while the socket is empty.
func (s *stream) open() ([]byte, error) {
	for {
		if s.drained {
			if err := s.sock.wait(); err != nil {
				return nil, err
			}
		}
		s.buf = s.pool.take()
		n, err := s.records((*s.buf)[:bulkSize])
		if n > 0 {
			return (*s.buf)[:n], nil // an error comes again
		}
		s.release()
		if !s.drained {
			return nil, err
		}
	}
}

// records reads all records that have come, as far as there is room for one more.
func (s *stream) records(p []byte) (n int, err error) {
	s.sock.now, s.drained = true, false
	defer func() { s.sock.now = false }()
	for len(p)-n >= recordTo {
		k, err := s.conn.Read(p[n:])
		n += k
		if err != nil {
			s.drained = errors.Is(err, os.ErrDeadlineExceeded)
			return n, err
		}
	}
	return n, nil
}

// send writes p, in one piece if possible.
func (s *stream) send(p []byte) error {
	if s.sealed && len(p) > recordTo {
		s.sock.hold()
		_, err := s.conn.Write(p)
		return errors.Join(err, s.sock.flush())
	}
	var err error
	if s.sock != nil && !s.sealed {
		_, err = s.sock.Write(p)
	} else {
		_, err = s.conn.Write(p)
	}
	return err
}

// release gives back the buffer that next filled.
func (s *stream) release() {
	if s.buf != nil {
		s.pool.give(s.buf)
		s.buf = nil
	}
	if s.last > 0 {
		s.own.fit(s.last)
		s.last = 0
	}
}

// end gives back all that is held.
func (s *stream) end() {
	s.release()
	s.own.release()
}
