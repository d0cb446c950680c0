package proxy

import (
	"net"
	"time"
)

// keepAlive lets the kernel notice within a minute that the peer of an idle connection has gone.
func keepAlive(conn net.Conn) {
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3})
	}
}

// tcpOf finds the TCP connection below conn; nil if it is something else, or hidden.
func tcpOf(conn net.Conn) *net.TCPConn {
	for range 4 {
		switch c := conn.(type) {
		case *net.TCPConn:
			return c
		case layered:
			conn = c.NetConn()
		default:
			return nil
		}
	}
	return nil
}
