//go:build !linux

package proxy

import "net"

// stuck is not known here: the system's own retransmission limit ends the connection.
func stuck(*net.TCPConn) bool { return false }

// reset is known only on Linux; elsewhere a read or a write finds out, as soon as there is one.
func reset(*net.TCPConn) bool { return false }
