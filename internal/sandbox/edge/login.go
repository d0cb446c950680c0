package edge

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

const (
	dialTimeout = 10 * time.Second // of the server, which is on this machine
	maxToken    = 65535            // bytes; PostgreSQL's own limit
	maxAnswer   = 65535            // bytes of a message before the login's outcome
)

// login is who wants to log in.
type login struct {
	role      string
	principal string
	encrypted bool
	from      string // for messages
}

// login opens the server's side, takes part in the login if it is an IAM role's, and relays the rest.
func (s *session) login(ctx context.Context, client *started, who login, addr string) error {
	server, err := s.dial(ctx, client, who.role, addr)
	if errors.Is(err, errTwoCertificates) {
		return errors.Join(err, fatal(client, "57P01", "terminating connection due to administrator command"))
	}
	if err != nil {
		return errors.Join(err, fatal(client, "57P03", "the database system is not accepting connections"))
	}
	_ = server.SetDeadline(time.Now().Add(s.edge.cfg.StartupTimeout))
	if _, err := server.Write(client.packet); err != nil {
		return err
	}
	from := bufio.NewReader(server)
	if err := s.firstAnswer(client, from, who); err != nil {
		return err
	}
	_ = client.SetDeadline(time.Time{})
	_ = server.SetDeadline(time.Time{})
	relay(client.Conn, server, from)
	return nil
}

// dial opens TLS to the server, showing it the certificate of role. The server must show the certificate that the client saw:
// the client may bind its login to it.
func (s *session) dial(ctx context.Context, client *started, role, addr string) (*tls.Conn, error) {
	e := s.edge
	e.swap.RLock()
	defer e.swap.RUnlock()
	if client.tls && !bytes.Equal(leaf(client.cert), leaf(e.cert)) {
		return nil, errTwoCertificates
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conf := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // Open compares the certificate
	if own, err := e.cfg.RoleCertificate(role); err == nil {                    // a name that no certificate can hold is no IAM role's
		conf.Certificates = []tls.Certificate{own}
	}
	return Open(ctx, addr, conf, leaf(e.cert), s.attach)
}

func leaf(c tls.Certificate) []byte {
	if len(c.Certificate) == 0 {
		return nil
	}
	return c.Certificate[0]
}

// Open opens TLS to a PostgreSQL server and checks that its certificate is pin, in DER. attach, if not nil, is handed the
// connection as soon as there is one.
func Open(ctx context.Context, addr string, conf *tls.Config, pin []byte, attach func(net.Conn) error) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if attach != nil {
		if err := attach(raw); err != nil {
			return nil, err
		}
	}
	t, err := negotiate(ctx, raw, conf, pin)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return t, nil
}

func negotiate(ctx context.Context, raw net.Conn, conf *tls.Config, pin []byte) (*tls.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(end)
	}
	ask, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := raw.Write(ask); err != nil {
		return nil, err
	}
	var says [1]byte
	if _, err := io.ReadFull(raw, says[:]); err != nil {
		return nil, err
	}
	if says[0] != 'S' {
		return nil, errors.New("the server has no TLS")
	}
	t := tls.Client(raw, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	if got := t.ConnectionState().PeerCertificates; len(got) == 0 || !bytes.Equal(got[0].Raw, pin) {
		return nil, errors.New("the server shows another certificate")
	}
	return t, raw.SetDeadline(time.Time{})
}

// forwardCancel hands a cancel request to the server, which knows its key, and waits until it was taken.
func (s *session) forwardCancel(ctx context.Context, packet []byte) error {
	s.edge.mu.Lock()
	addr := s.edge.server
	s.edge.mu.Unlock()
	if addr == "" {
		return errors.New("a cancel request while the server is down")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	if err := s.attach(c); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(dialTimeout))
	if _, err := c.Write(packet); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c) // it answers nothing, and closes when the signal was sent
	return err
}

// firstAnswer passes the server's messages on until its first word about the login. AuthenticationOk means that PostgreSQL took
// the role's certificate, and so that the role is an IAM role. An offer of channel binding is withdrawn where the edge does not
// end the client's TLS: libpq would not stand for it.
func (s *session) firstAnswer(client *started, from *bufio.Reader, who login) error {
	for {
		head, err := from.Peek(9)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = client.SetDeadline(time.Now().Add(linger)) // its own time is up, too
			return errors.Join(err, fatal(client, "57P03", "the database system is not accepting connections"))
		}
		if err != nil {
			return nil //nolint:nilerr // it ended, or has less to say than that: the relay passes on what there is
		}
		length := binary.BigEndian.Uint32(head[1:])
		switch head[0] {
		case 'v', 'N': // the protocol version, a notice
			if length > maxAnswer {
				return errors.New("the server sent too long a message")
			}
			if _, err := io.CopyN(client, from, 1+int64(length)); err != nil {
				return err
			}
			continue
		case 'R':
		default:
			return nil
		}
		switch binary.BigEndian.Uint32(head[5:]) {
		case pgproto3.AuthTypeOk:
			if who.principal != "" && who.principal == who.role {
				return nil
			}
			return s.askToken(client, who)
		case pgproto3.AuthTypeSASL:
			if client.tls {
				return nil // server and edge show the same certificate: channel binding holds
			}
			return withoutBinding(client, from, length)
		default:
			return nil
		}
	}
}

// withoutBinding passes an offer of SASL mechanisms on without the one that binds to a certificate.
func withoutBinding(client io.Writer, from io.Reader, length uint32) error {
	if length < 8 || length > maxAnswer {
		return errors.New("the server sent a SASL offer of an odd length")
	}
	msg := make([]byte, 1+length)
	if _, err := io.ReadFull(from, msg); err != nil {
		return err
	}
	var offer pgproto3.AuthenticationSASL
	if err := offer.Decode(msg[5:]); err != nil {
		return err
	}
	offer.AuthMechanisms = slices.DeleteFunc(offer.AuthMechanisms, func(m string) bool { return m == "SCRAM-SHA-256-PLUS" })
	msg, err := offer.Encode(nil)
	if err != nil {
		return err
	}
	_, err = client.Write(msg)
	return err
}

// askToken has the client prove that it may be the role, which PostgreSQL has let in by its certificate already.
func (s *session) askToken(client *started, who login) error {
	s.edge.mu.Lock()
	check := s.edge.check
	s.edge.mu.Unlock()
	if !who.encrypted { // no token travels in the clear
		return fatal(client, "28000", "no pg_hba.conf entry for "+who.from)
	}
	if check == nil {
		return fatal(client, "28000", "pg_hba.conf rejects connection for "+who.from)
	}
	ask, err := (&pgproto3.AuthenticationCleartextPassword{}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := client.Write(ask); err != nil {
		return err
	}
	token, err := readToken(client)
	if err != nil {
		return errors.Join(err, fatal(client, "08P01", "expected password response"))
	}
	if err := check(who.role, token); err != nil {
		return errors.Join(fmt.Errorf("token of %q: %w", who.role, err), fatal(client, "28000", s.edge.cfg.BadToken(who.role)))
	}
	return nil
}

// readToken reads a password message.
func readToken(r io.Reader) (string, error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", err
	}
	length := binary.BigEndian.Uint32(head[1:])
	if head[0] != 'p' || length < 5 || length > maxToken {
		return "", fmt.Errorf("message %q of %d bytes", head[0], length)
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", err
	}
	var m pgproto3.PasswordMessage
	if err := m.Decode(body); err != nil {
		return "", err
	}
	return m.Password, nil
}
