//go:build !unix

package proxy

import (
	"net"
	"os"
)

// socket is known on Unix only: elsewhere no connection is one, and each direction keeps a buffer.
type socket struct {
	net.Conn
	now bool
}

func newSocket(net.Conn, *buffers) *socket { return nil }

func (s *socket) NetConn() net.Conn      { return s.Conn }
func (s *socket) wait() error            { return os.ErrInvalid }
func (s *socket) pop() ([]byte, *[]byte) { return nil, nil }
func (s *socket) hold()                  {}
func (s *socket) flush() error           { return nil }
