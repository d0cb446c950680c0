package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// The request codes of the startup phase.
const (
	sslRequest    = 80877103
	gssRequest    = 80877104
	cancelRequest = 80877102

	maxStartup = 10000
	maxToken   = 64 << 10
)

// session serves one connection. With offerTLS the edge ends the client's TLS itself; without it that has happened before.
func (e *Edge) session(ctx context.Context, c net.Conn, offerTLS bool, principal string) error {
	defer c.Close()
	if !e.track(c) {
		return net.ErrClosed
	}
	defer e.untrack(c)
	_ = c.SetDeadline(time.Now().Add(e.cfg.StartupTimeout))

	client, encrypted, code, raw, err := e.startup(ctx, c, offerTLS)
	if err != nil {
		return err
	}
	if code == cancelRequest {
		return e.forwardCancel(ctx, raw)
	}
	var start pgproto3.StartupMessage
	if code>>16 != 3 {
		return fatal(client, "0A000", fmt.Sprintf("unsupported frontend protocol %d.%d", code>>16, code&0xffff))
	}
	// The message is passed on as it came; only its parameters matter here, whatever the minor version.
	body := slices.Clone(raw[4:])
	binary.BigEndian.PutUint32(body, pgproto3.ProtocolVersion30)
	if err := start.Decode(body); err != nil {
		return fatal(client, "08P01", "invalid startup packet")
	}
	role := start.Parameters["user"]
	if role == "" {
		return fatal(client, "28000", "no PostgreSQL user name specified in startup packet")
	}
	if !encrypted && !e.allowPlain.Load() {
		return fatal(client, "28000", fmt.Sprintf("no pg_hba.conf entry for host %q, user %q, database %q, no encryption",
			hostOf(c), role, databaseOf(start.Parameters)))
	}
	if r := e.refuse.Load(); r != nil {
		return fatal(client, r.code, r.message)
	}
	return e.login(ctx, client, offerTLS && encrypted, role, principal, raw)
}

// startup reads until the startup or cancel message, answering requests for encryption on the way.
func (e *Edge) startup(ctx context.Context, c net.Conn, offerTLS bool) (client net.Conn, encrypted bool, code uint32, raw []byte, err error) {
	client, encrypted = c, !offerTLS
	for range 4 { // TLS, GSS, and a startup: whoever asks more often plays
		var head [8]byte
		if _, err := io.ReadFull(client, head[:1]); err != nil {
			return nil, false, 0, nil, err
		}
		if head[0] == 0x16 && offerTLS && client == c { // direct TLS, as PostgreSQL 17 knows it
			t := tls.Server(&prefixed{Conn: c, prefix: head[:1]}, e.tlsConfig("postgresql"))
			if err := t.HandshakeContext(ctx); err != nil {
				return nil, false, 0, nil, err
			}
			if t.ConnectionState().NegotiatedProtocol != "postgresql" {
				return nil, false, 0, nil, errors.New("direct TLS without ALPN")
			}
			client, encrypted = t, true
			continue
		}
		if _, err := io.ReadFull(client, head[1:]); err != nil {
			return nil, false, 0, nil, err
		}
		n := binary.BigEndian.Uint32(head[:4])
		code = binary.BigEndian.Uint32(head[4:])
		if n < 8 || n > maxStartup {
			return nil, false, 0, nil, fmt.Errorf("a startup packet of %d bytes", n)
		}
		raw = make([]byte, n)
		copy(raw, head[:])
		if _, err := io.ReadFull(client, raw[8:]); err != nil {
			return nil, false, 0, nil, err
		}
		switch {
		case code == sslRequest && offerTLS && client == c:
			if _, err := client.Write([]byte{'S'}); err != nil {
				return nil, false, 0, nil, err
			}
			t := tls.Server(c, e.tlsConfig())
			if err := t.HandshakeContext(ctx); err != nil {
				return nil, false, 0, nil, err
			}
			client, encrypted = t, true
		case code == sslRequest || code == gssRequest:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, false, 0, nil, err
			}
		default:
			return client, encrypted, code, raw, nil
		}
	}
	return nil, false, 0, nil, errors.New("too many requests for encryption")
}

func (e *Edge) tlsConfig(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return e.cert.Load(), nil
		},
	}
}

// login opens the server's side for role, takes part in the login if it is an IAM role's, and relays the rest.
func (e *Edge) login(ctx context.Context, client net.Conn, tlsHere bool, role, principal string, startup []byte) error {
	server, err := e.dial(ctx, role)
	if err != nil {
		return errors.Join(err, fatal(client, "57P03", "the database system is not accepting connections"))
	}
	defer server.Close()
	if !e.track(server) {
		return net.ErrClosed
	}
	defer e.untrack(server)
	_ = server.SetDeadline(time.Now().Add(e.cfg.StartupTimeout))
	if _, err := server.Write(startup); err != nil {
		return err
	}
	from := bufio.NewReader(server)
	if err := e.firstAnswer(client, tlsHere, from, role, principal); err != nil {
		return err
	}
	_ = client.SetDeadline(time.Time{})
	_ = server.SetDeadline(time.Time{})
	relay(client, from, server)
	return nil
}

// firstAnswer looks at the server's first message: an AuthenticationOk means that PostgreSQL took the role's certificate, and so
// that the role is an IAM role, and an offer of channel binding is withdrawn where the client's side has no TLS of ours.
func (e *Edge) firstAnswer(client net.Conn, tlsHere bool, from *bufio.Reader, role, principal string) error {
	head, err := from.Peek(9)
	if err != nil || head[0] != 'R' {
		return nil //nolint:nilerr // an error message or an end is relayed as it is
	}
	switch binary.BigEndian.Uint32(head[5:9]) {
	case pgproto3.AuthTypeOk:
		if principal != "" && principal == role {
			return nil
		}
		return e.askToken(client, role)
	case pgproto3.AuthTypeSASL:
		if tlsHere {
			return nil // server and edge show the same certificate, so channel binding holds
		}
		n := binary.BigEndian.Uint32(head[1:5])
		if n < 8 || n > 4096 {
			return errors.New("a SASL offer of an odd length")
		}
		msg := make([]byte, 1+n)
		if _, err := io.ReadFull(from, msg); err != nil {
			return err
		}
		var offer pgproto3.AuthenticationSASL
		if err := offer.Decode(msg[5:]); err != nil {
			return err
		}
		offer.AuthMechanisms = slices.DeleteFunc(offer.AuthMechanisms, func(m string) bool { return m == "SCRAM-SHA-256-PLUS" })
		if msg, err = offer.Encode(nil); err != nil {
			return err
		}
		_, err = client.Write(msg)
		return err
	}
	return nil
}
