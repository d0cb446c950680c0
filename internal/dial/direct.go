// Package dial is how a connection reaches an instance: directly, through the Cloud SQL connector, an SSH bastion ([SSH]), a managed node of
// AWS Systems Manager ([SSM]) or a SOCKS proxy ([SOCKS5]).
//
// Whatever the way, TLS is verified end to end against the instance itself, and dead peers are noticed by keepalives within a
// minute; a session may be silent for hours and still be right. A way opens what it needs with the first connection, shares it among all,
// and opens it again after it was lost; its errors are *fault.Error and say which hop failed, why, and what to do.
package dial

import (
	"context"
	"net"
	"time"
)

// Func opens a network connection, as net.Dialer.DialContext does.
type Func = func(ctx context.Context, network, addr string) (net.Conn, error)

// Way leads to where an instance is. Its methods may be called from any goroutine.
type Way interface {
	// Dial opens a connection to addr, whose host is resolved at the far end. The connection knows deadlines, and its RemoteAddr is addr, so
	// that who dials that again, as a cancel request does, goes the same way.
	Dial(ctx context.Context, network, addr string) (net.Conn, error)

	// Close ends what is shared, and with it the connections that need it. Closing twice is nil.
	Close() error
}

// Patience is how long one address may take to answer at all, well within what a login may take: there may be another by now.
const Patience = 5 * time.Second

// Direct dials TCP with the keepalives every way shares.
func Direct() Func { return direct().DialContext }

func direct() *net.Dialer {
	return &net.Dialer{
		Timeout:         Patience,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
}
