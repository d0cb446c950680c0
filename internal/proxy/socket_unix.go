//go:build unix

package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// socket is a connection of the kernel's, with TLS on it or not. It is waited for without a buffer, and what has come is read in one
// piece: a PostgreSQL server sends records of 8 KiB, and crypto/tls would ask the kernel twice for each. What is written can be held back,
// because crypto/tls writes each record by itself.
//
// It has one reader at a time.
type socket struct {
	net.Conn
	raw  syscall.RawConn
	pool *buffers
	read func(fd uintptr) bool

	waits bool    // the read under way waits
	now   bool    // Read does not wait
	more  bool    // the kernel may have more
	data  []byte  // read and not taken yet
	buf   *[]byte // that holds it
	err   error   // the end of the stream

	out   sync.Mutex
	held  *[]byte // nil: nothing is held back
	kept  int
	write func(fd uintptr) bool
	rest  []byte // of the write under way
	wrong error  // that it came to
}

// newSocket returns nil for a connection that is not the kernel's own.
func newSocket(conn net.Conn, pool *buffers) *socket {
	var raw syscall.RawConn
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		raw, err = c.SyscallConn()
	case *net.UnixConn:
		raw, err = c.SyscallConn()
	default:
		return nil
	}
	if err != nil {
		return nil
	}
	s := &socket{Conn: conn, raw: raw, pool: pool, more: true}
	s.read, s.write = s.take, s.put
	return s
}

// NetConn is the connection as the standard library knows it.
func (s *socket) NetConn() net.Conn { return s.Conn }

func (s *socket) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		switch {
		case s.err != nil:
			return 0, s.err
		case !s.now:
			return s.Conn.Read(p)
		case s.more:
			_ = s.fill(false) // an error comes again when somebody waits
		}
		if len(s.data) == 0 {
			if s.err != nil {
				return 0, s.err
			}
			return 0, os.ErrDeadlineExceeded // temporary for crypto/tls, which keeps what it has of a record
		}
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	if len(s.data) == 0 {
		s.pool.give(s.buf)
		s.buf, s.data = nil, nil
	}
	return n, nil
}

// wait returns when there is something to read, be it the end. Its error is a passed deadline or a closed connection.
func (s *socket) wait() error {
	if len(s.data) == 0 && s.err == nil {
		return s.fill(true)
	}
	return nil
}

// pop takes what was read, and the buffer that it is in.
func (s *socket) pop() (p []byte, buf *[]byte) {
	p, buf = s.data, s.buf
	s.data, s.buf = nil, nil
	return p, buf
}

func (s *socket) fill(wait bool) error {
	s.waits = wait
	return plainly("read", s.raw.Read(s.read))
}

// plainly names the operation, which is raw-read or raw-write in an error of a [syscall.RawConn].
func plainly(op string, err error) error {
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		oe.Op = op
	}
	return err
}

// take reads what the kernel has. False: nothing yet.
func (s *socket) take(fd uintptr) bool {
	buf := s.pool.take()
	n, err := readFD(fd, (*buf)[:bulkSize])
	for errors.Is(err, syscall.EINTR) {
		n, err = readFD(fd, (*buf)[:bulkSize])
	}
	switch {
	case n > 0:
		s.buf, s.data, s.more = buf, (*buf)[:n], n == bulkSize
		return true
	case errors.Is(err, syscall.EAGAIN):
		s.pool.give(buf)
		s.more = false
		return !s.waits
	case err != nil:
		s.err = s.failed("read", err)
	default:
		s.err = io.EOF
	}
	s.pool.give(buf)
	return true
}

func (s *socket) Write(p []byte) (int, error) {
	s.out.Lock()
	defer s.out.Unlock()
	if s.held == nil {
		return s.send(p)
	}
	if s.kept+len(p) > len(*s.held) {
		if err := s.push(); err != nil {
			return 0, err
		}
		if len(p) > len(*s.held) {
			return s.send(p)
		}
	}
	s.kept += copy((*s.held)[s.kept:], p)
	return len(p), nil
}

// hold keeps back what is written until flush.
func (s *socket) hold() {
	s.out.Lock()
	defer s.out.Unlock()
	s.held, s.kept = s.pool.take(), 0
}

func (s *socket) flush() error {
	s.out.Lock()
	defer s.out.Unlock()
	err := s.push()
	s.pool.give(s.held)
	s.held = nil
	return err
}

func (s *socket) push() error {
	if s.kept == 0 {
		return nil
	}
	_, err := s.send((*s.held)[:s.kept])
	s.kept = 0
	return err
}

// send writes all of p. s.out is held.
func (s *socket) send(p []byte) (int, error) {
	s.rest, s.wrong = p, nil
	err := plainly("write", s.raw.Write(s.write))
	if err == nil {
		err = s.wrong
	}
	n := len(p) - len(s.rest)
	s.rest = nil
	return n, err
}

// put writes what the kernel takes. False: there is more.
func (s *socket) put(fd uintptr) bool {
	for len(s.rest) > 0 {
		n, err := writeFD(fd, s.rest)
		switch {
		case n > 0:
			s.rest = s.rest[n:]
		case errors.Is(err, syscall.EAGAIN):
			return false
		case !errors.Is(err, syscall.EINTR):
			s.wrong = s.failed("write", err)
			return true
		}
	}
	return true
}

func (s *socket) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: s.LocalAddr().Network(), Source: s.LocalAddr(), Addr: s.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
