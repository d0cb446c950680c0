//go:build !linux

package proxy

import "net"

// stuck is not known here: the system's own retransmission limit ends the connection.
func stuck(*net.TCPConn) bool { return false }
