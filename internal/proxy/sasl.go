package proxy

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/fault"
)

const (
	authMax = 64 << 10 // bytes of a message before the login
	proving = "prove the password"
	whoIsIt = "is it PostgreSQL that answers at this address?"

	askSASL, goOnSASL, endSASL = 10, 11, 12 // kinds of authentication messages
)

// sasl is a connection that answers for pgconn when the server asks for SCRAM, because pgconn derives its keys anew for each login. pgconn sees
// everything else, and does what it does with any other way to log in. It is out of the path when the session has begun.
type sasl struct {
	net.Conn
	only  bool // nothing else will do
	keyOf func(salt string, iterations int) (*scramKey, error)

	done bool
	out  []byte // for pgconn

	writing sync.Mutex // pgconn reads in the background while a write of its own is slow
}

// saslFor returns how to put a sasl on a connection for cfg; nil leaves everything to pgconn: rules that only it knows, and passwords that have
// to be prepared for SCRAM.
func (k *scramKeys) saslFor(instance string, cfg *pgconn.Config) func(net.Conn) net.Conn {
	only := cfg.RequireAuth == "scram-sha-256"
	switch {
	case !only && cfg.RequireAuth != "" && cfg.RequireAuth != "!password",
		cfg.ChannelBinding != "prefer", cfg.OAuthTokenProvider != nil, !printable(cfg.Password):
		return nil
	case only:
		cfg.RequireAuth = "" // it would miss the exchange
	}
	password := cfg.Password
	return func(conn net.Conn) net.Conn {
		return &sasl{Conn: conn, only: only, keyOf: func(salt string, iterations int) (*scramKey, error) {
			return k.of(instance, password, salt, iterations)
		}}
	}
}

// printable tells whether a password is of those that SASLprep leaves as they are.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// NetConn is the connection below.
func (s *sasl) NetConn() net.Conn { return s.Conn }

func (s *sasl) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.Conn.Write(p)
}

func (s *sasl) Read(p []byte) (int, error) {
	for !s.done && len(s.out) == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	if len(s.out) > 0 {
		n := copy(p, s.out)
		s.out = s.out[n:]
		return n, nil
	}
	return s.Conn.Read(p)
}

// next takes the server's next message.
func (s *sasl) next() error {
	m, err := s.message()
	if err != nil {
		return err
	}
	if m[0] != 'R' || len(m) < 9 {
		s.out = m
		return nil
	}
	kind := binary.BigEndian.Uint32(m[5:])
	if kind == askSASL {
		var offer pgproto3.AuthenticationSASL
		if err := offer.Decode(m[5:]); err == nil && slices.Contains(offer.AuthMechanisms, scramPlain) {
			s.done = true
			return s.exchange(offer.AuthMechanisms)
		}
	} else if s.only {
		return fault.Newf(fault.Unavailable, proving, "the server wants %s, and only SCRAM-SHA-256 will do", method(kind)).
			Hint("SET password_encryption = 'scram-sha-256' and set the role's password anew; then see that pg_hba.conf asks for scram-sha-256")
	}
	s.done, s.out = true, m
	return nil
}

func method(kind uint32) string {
	switch kind {
	case 0:
		return "no password at all"
	case 3:
		return "the password in the clear"
	case 5:
		return "an MD5 hash of it"
	default:
		return fmt.Sprintf("authentication method %d", kind)
	}
}

// exchange proves the password, and has the server prove that it knows it. An error of the server's is left to pgconn.
func (s *sasl) exchange(offered []string) error {
	t, _ := s.Conn.(*tls.Conn)
	x, mechanism := newScram(offered, t)
	first, err := s.ask(&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(x.header + x.first)}, goOnSASL)
	if err != nil || first == nil {
		return err
	}
	second, err := x.answer(first, s.keyOf)
	if err != nil {
		return fault.New(fault.Unavailable, proving, err).Hint(whoIsIt)
	}
	last, err := s.ask(&pgproto3.SASLResponse{Data: []byte(second)}, endSASL)
	if err != nil || last == nil {
		return err
	}
	if !x.verify(last) {
		return fault.Newf(fault.Unavailable, proving, "the server's SCRAM signature is wrong: it does not know the password").
			Hint("what answers at this address is not the server that it claims to be: check the address, and who is in between")
	}
	return nil
}

// ask sends m and returns the server's answer, which must be of a kind; nil if it is an error of the server's, or what pgconn may call one.
func (s *sasl) ask(m pgproto3.FrontendMessage, kind uint32) ([]byte, error) {
	out, err := m.Encode(nil)
	if err != nil {
		return nil, err
	}
	if _, err := s.Write(out); err != nil {
		return nil, err
	}
	for {
		in, err := s.message()
		switch {
		case err != nil:
			return nil, err
		case in[0] == 'R' && len(in) >= 9 && binary.BigEndian.Uint32(in[5:]) == kind:
			return in[9:], nil
		case in[0] == 'E':
			s.out = append(s.out, in...)
			return nil, nil
		case in[0] == 'N':
			s.out = append(s.out, in...)
		default:
			return nil, fault.Newf(fault.Unavailable, proving, "the server answers out of turn, with a message of type %q", in[:1]).
				Hint(whoIsIt)
		}
	}
}

// message reads one message and nothing beyond, so that nothing is left here when the session begins.
func (s *sasl) message() ([]byte, error) {
	m := make([]byte, 5, 256)
	if _, err := io.ReadFull(s.Conn, m); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(m[1:])
	if size < 4 || size > authMax {
		return nil, fault.Newf(fault.Unavailable, proving, "the server answers with a message %q of %d bytes", m[:1], size).Hint(whoIsIt)
	}
	m = append(m, make([]byte, size-4)...)
	_, err := io.ReadFull(s.Conn, m[5:])
	return m, err
}
