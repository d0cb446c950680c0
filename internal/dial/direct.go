// Package dial is how a connection reaches an instance: directly, or through the Cloud SQL connector.
//
// Whatever the way, TLS is verified end to end against the instance itself, and dead peers are noticed by keepalives within a
// minute; a session may be silent for hours and still be right.
package dial

import (
	"context"
	"net"
	"time"
)

// Func opens a network connection, as net.Dialer.DialContext does.
type Func = func(ctx context.Context, network, addr string) (net.Conn, error)

// Direct dials TCP with the keepalives every way shares.
func Direct() Func {
	d := &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	return d.DialContext
}
