package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102

	startupMin = 8     // the length and the code
	startupMax = 10000 // PostgreSQL's own limit
	cancelMax  = 256   // bytes of a cancel key

	tlsHandshake = 0x16 // first byte of direct TLS; as the first byte of a length it is far beyond startupMax
	alpn         = "postgresql"
	protocolHint = "only PostgreSQL clients are served here: take the URI that the proxy printed"
	optionPrefix = "_pq_." // of protocol options
)

// param is one name and value of a startup message.
type param struct{ name, value string }

// hello is what a client's first packets ask for: a session, or that another session's statement be cancelled.
type hello struct {
	version uint32   // of the protocol, 3.0 or newer
	params  []param  // in the client's order, without protocol options
	options []string // names of protocol options; the proxy knows none

	cancel cancelKey // set if it is a cancel request
}

// get returns the last value of a parameter, as PostgreSQL takes it.
func (h *hello) get(name string) string {
	for i := len(h.params) - 1; i >= 0; i-- {
		if h.params[i].name == name {
			return h.params[i].value
		}
	}
	return ""
}

// protocol is the version that is spoken with the client.
func (h *hello) protocol() uint32 { return min(h.version, pgproto3.ProtocolVersion32) }

// errSilent is a connection that ended before it said anything, such as a look whether the port is open.
var errSilent = errors.New("the client left without a word")

// client is a client's connection.
type client struct {
	net.Conn          // to read from and to write to: the socket, or TLS on it
	socket   net.Conn // what was accepted
	pool     *buffers
	came     time.Time
	phases   *phases // nil: nobody wants to know
}

// hello reads the first packets. It turns on encryption if the client asks for it and local is set. Nothing is read beyond the
// startup packet. An error is a *refusal if the client can be told.
func (c *client) hello(ctx context.Context, local *tls.Config) (*hello, error) {
	var encrypted, gss bool
	for first := true; ; first = false {
		var head [8]byte
		if _, err := io.ReadFull(c, head[:1]); err != nil {
			if first && errors.Is(err, io.EOF) {
				err = errSilent
			}
			return nil, err
		}
		if head[0] == tlsHandshake && first {
			if err := c.directTLS(ctx, local, head[0]); err != nil {
				return nil, err
			}
			encrypted = true
			continue
		}
		if _, err := io.ReadFull(c, head[1:]); err != nil {
			return nil, err
		}
		size, code := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
		if size < startupMin || size > startupMax {
			return nil, refuse("08P01", "this is not the PostgreSQL protocol: a startup packet of %d bytes", size).hint(protocolHint)
		}
		body := make([]byte, size-startupMin)
		if _, err := io.ReadFull(c, body); err != nil {
			return nil, err
		}
		switch {
		case code == sslRequest && !encrypted && len(body) == 0:
			encrypted = true
			if err := c.answerTLS(ctx, local); err != nil {
				return nil, err
			}
		case code == gssRequest && !gss && len(body) == 0:
			gss = true
			if _, err := c.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case code == sslRequest || code == gssRequest:
			return nil, refuse("08P01", "encryption was asked for twice, or with contents").hint(protocolHint)
		case code == cancelRequest:
			if len(body) < 8 || len(body) > 4+cancelMax {
				return nil, errors.New("a cancel request of a wrong length")
			}
			return &hello{cancel: newCancelKey(binary.BigEndian.Uint32(body), body[4:])}, nil
		case code>>16 == 3:
			return parseStartup(code, body)
		default:
			return nil, refuse("0A000", "unsupported frontend protocol %d.%d: the proxy speaks 3.0 to 3.2", code>>16, code&0xffff).
				hint("use a driver that was made for PostgreSQL 7.4 or later")
		}
	}
}

// parseStartup reads the parameters: names and values, each ended by NUL, and a NUL after the last.
func parseStartup(version uint32, body []byte) (*hello, error) {
	h := &hello{version: version}
	for {
		name, rest, ok := bytes.Cut(body, []byte{0})
		if ok && len(name) == 0 {
			if len(rest) > 0 {
				break
			}
			return h, nil
		}
		value, rest, more := bytes.Cut(rest, []byte{0})
		if !ok || !more {
			break
		}
		if strings.HasPrefix(string(name), optionPrefix) {
			h.options = append(h.options, string(name))
		} else {
			h.params = append(h.params, param{string(name), string(value)})
		}
		body = rest
	}
	return nil, refuse("08P01", "invalid startup packet layout: expected terminator as last byte").hint(protocolHint)
}

func (c *client) answerTLS(ctx context.Context, local *tls.Config) error {
	answer := byte('N')
	if local != nil {
		answer = 'S'
	}
	if _, err := c.Write([]byte{answer}); err != nil {
		return err
	}
	if local == nil {
		return nil
	}
	return c.startTLS(ctx, c.below(), local)
}

// directTLS begins TLS without being asked in the PostgreSQL protocol, as PostgreSQL 17 does it. ALPN is what tells it from TLS
// that was meant for another service.
func (c *client) directTLS(ctx context.Context, local *tls.Config, first byte) error {
	if local == nil {
		return errors.New("TLS was started, and the proxy has none")
	}
	if err := c.startTLS(ctx, &unread{Conn: c.below(), first: []byte{first}}, local); err != nil {
		return err
	}
	if t, ok := c.Conn.(*tls.Conn); !ok || t.ConnectionState().NegotiatedProtocol != alpn {
		return refuse("08P01", "direct TLS without the ALPN protocol %q", alpn).
			hint("let the client ask for it, or use sslnegotiation=postgres")
	}
	return nil
}

// below is what TLS is put on.
func (c *client) below() net.Conn {
	if s := newSocket(c.socket, c.pool); s != nil {
		return s
	}
	return c.socket
}

func (c *client) startTLS(ctx context.Context, below net.Conn, local *tls.Config) error {
	t := tls.Server(below, local)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.Conn = t
	return nil
}

// unread gives back bytes that were read already.
type unread struct {
	net.Conn
	first []byte
}

// NetConn is the connection below.
func (u *unread) NetConn() net.Conn { return u.Conn }

func (u *unread) Read(p []byte) (int, error) {
	if len(u.first) > 0 {
		n := copy(p, u.first)
		u.first = u.first[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}
