//go:build !unix

package proxy

import (
	"net"
	"os"
)

// ahead is a socket below TLS. Reading without waiting is known on Unix only: here nothing is ever ahead.
type ahead struct {
	net.Conn
	pool *buffers
	now  bool
}

func (a *ahead) Read(p []byte) (int, error) {
	if a.now {
		return 0, os.ErrDeadlineExceeded
	}
	return a.Conn.Read(p)
}
