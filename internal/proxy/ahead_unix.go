//go:build unix

package proxy

import (
	"net"
	"os"
	"syscall"
)

// ahead is a socket below TLS that can be read without waiting. PostgreSQL sends records of 8 KiB, and crypto/tls returns one of
// them a read: taking what has come already, many records cost one read below and one write to the client.
//
// It may be read without waiting only by who reads the TLS connection. Where nothing is ahead it holds no memory.
type ahead struct {
	net.Conn
	pool *buffers
	raw  syscall.RawConn
	now  bool   // a read does not wait
	data []byte // read and not taken yet
	buf  *[]byte
	err  error // of a read that did not wait, for the next one that does
}

func (a *ahead) Read(p []byte) (int, error) {
	if len(a.data) == 0 {
		if !a.now {
			if err := a.err; err != nil {
				a.err = nil
				return 0, err
			}
			return a.Conn.Read(p)
		}
		a.fill()
		if len(a.data) == 0 {
			return 0, os.ErrDeadlineExceeded // temporary for crypto/tls, which keeps what it has of a record
		}
	}
	n := copy(p, a.data)
	a.data = a.data[n:]
	if len(a.data) == 0 {
		a.release()
	}
	return n, nil
}

// fill takes what the socket has, and does not wait for more.
func (a *ahead) fill() {
	if a.raw == nil {
		c, ok := a.Conn.(syscall.Conn)
		if !ok {
			return
		}
		raw, err := c.SyscallConn()
		if err != nil {
			return
		}
		a.raw = raw
	}
	a.buf = a.pool.take()
	n := 0
	err := a.raw.Read(func(fd uintptr) bool {
		for {
			var errno error
			n, errno = syscall.Read(int(fd), *a.buf)
			if errno == syscall.EINTR {
				continue
			}
			if errno != nil && errno != syscall.EAGAIN {
				a.err = os.NewSyscallError("read", errno)
			}
			return true // never waits; the end of the stream is found by the next read that does
		}
	})
	if err != nil || n <= 0 {
		a.release()
		return
	}
	a.data = (*a.buf)[:n]
}

func (a *ahead) release() {
	if a.buf != nil {
		a.pool.give(a.buf)
		a.buf, a.data = nil, nil
	}
}
