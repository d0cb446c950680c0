package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// Address is one at which a server can be looked at.
type Address struct {
	HostPort string `json:"address"`
	// Connector says that TLS begins with the first byte, as at the port of Cloud SQL's connectors. It shows the server's certificate
	// to everybody, also where only named networks may reach the other port.
	Connector bool `json:"connector,omitempty"`
}

// Seen is what a server showed in a handshake. Nothing of it has been verified: see [Seen.Judge].
type Seen struct {
	Address
	Version uint16
	Cipher  string
	Chain   []*x509.Certificate // the server's own first
}

// lookTimeout bounds one handshake.
const lookTimeout = 8 * time.Second

var (
	errNoTLS  = errors.New("the server does not offer TLS")
	errNoCert = errors.New("the server shows no certificate")
)

// Look makes a handshake at the first of the addresses that answers, and notes what the server shows. It logs in nowhere. That no address
// answers is a fault.Unavailable.
func Look(ctx context.Context, what string, addrs []Address, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*Seen, error) {
	err := fault.Newf(fault.Unavailable, what, "it has no address")
	for _, a := range addrs {
		seen, lookErr := lookAt(ctx, a, dial)
		if lookErr == nil {
			return seen, nil
		}
		if errors.Is(lookErr, errNoTLS) { // it was reached: this is what it is like
			return nil, fault.New(fault.Invalid, what, lookErr).Hint("switch TLS on at the server")
		}
		if ctx.Err() != nil {
			return nil, fault.New(fault.KindOf(context.Cause(ctx)), what, context.Cause(ctx))
		}
		err = unreached(what, a, lookErr)
	}
	return nil, err
}

func unreached(what string, a Address, err error) *fault.Error {
	if way, ok := errors.AsType[*fault.Error](err); ok { // of a hop on the way, which knows what to do
		return fault.New(fault.Unavailable, what, way)
	}
	_, why := cloud.Unreached(err)
	if why == "" {
		why = err.Error()
	}
	f := fault.New(fault.Unavailable, what, cloud.Because(why, err))
	if a.Connector {
		return f.Hint("this machine must reach port 5432 (an authorised network) or 3307 of the instance")
	}
	return f.Hint("this machine must be in a network that reaches %s", a.HostPort)
}

func lookAt(ctx context.Context, a Address, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (*Seen, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, state, err := handshake(ctx, a, dial, &tls.Config{})
	if err != nil {
		return nil, err
	}
	_ = conn.Close()
	return &Seen{Address: a, Version: state.Version, Cipher: tls.CipherSuiteName(state.CipherSuite), Chain: state.PeerCertificates}, nil
}

// handshake opens TLS without judging the server's certificate.
func handshake(
	ctx context.Context, a Address, dial func(ctx context.Context, network, addr string) (net.Conn, error), cfg *tls.Config,
) (*tls.Conn, tls.ConnectionState, error) {
	none := tls.ConnectionState{}
	raw, err := dial(ctx, "tcp", a.HostPort)
	if err != nil {
		return nil, none, err
	}
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	if !a.Connector {
		if err := askTLS(raw); err != nil {
			return nil, none, timely(ctx, errors.Join(err, raw.Close()))
		}
	}
	host, _, err := net.SplitHostPort(a.HostPort)
	if err != nil {
		return nil, none, errors.Join(err, raw.Close())
	}
	// The certificate is what is looked at: Judge verifies it, and nothing is sent before. An old protocol is a finding.
	cfg.InsecureSkipVerify, cfg.ServerName, cfg.MinVersion = true, host, tls.VersionTLS10
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, none, timely(ctx, errors.Join(err, raw.Close()))
	}
	state := conn.ConnectionState()
	if len(state.PeerCertificates) == 0 {
		return nil, none, errors.Join(errNoCert, conn.Close())
	}
	return conn, state, nil
}

// timely is err, which a deadline of ours may have brought about.
func timely(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// askTLS is PostgreSQL's way to begin TLS.
func askTLS(c net.Conn) error {
	ask, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := c.Write(ask); err != nil {
		return err
	}
	var says [1]byte
	if _, err := io.ReadFull(c, says[:]); err != nil {
		return err
	}
	switch says[0] {
	case 'S':
		return nil
	case 'N':
		return errNoTLS
	default:
		return fmt.Errorf("what listens there is no PostgreSQL: it answers %q", says[0])
	}
}

// errRefused is that a server does not take a client's certificate.
var errRefused = errors.New("the server does not take the client's certificate")

// accepts tells whether a server goes on with a client that has that certificate, up to the question for its password. No login is tried.
func accepts(
	ctx context.Context, a Address, dial func(ctx context.Context, network, addr string) (net.Conn, error), cert tls.Certificate, user string,
) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, _, err := handshake(ctx, a, dial, &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		return rejected(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	hello, err := (&pgproto3.StartupMessage{
		ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": user, "database": "postgres", "application_name": "dbops"},
	}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := conn.Write(hello); err != nil {
		return rejected(err)
	}
	head := make([]byte, 5) // with TLS 1.3 this is where a refusal shows
	if _, err := io.ReadFull(conn, head); err != nil {
		return rejected(timely(ctx, err))
	}
	if head[0] != 'E' {
		return nil
	}
	length := min(binary.BigEndian.Uint32(head[1:]), 8192)
	body := make([]byte, max(length, 4)-4)
	if _, err := io.ReadFull(conn, body); err != nil {
		return rejected(timely(ctx, err))
	}
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", errRefused, bytes.TrimSpace([]byte(m.Message)))
}

// rejected marks an error that is the server's answer to a certificate: an alert.
func rejected(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		return fmt.Errorf("%w: %w", errRefused, op.Err)
	}
	return err
}
