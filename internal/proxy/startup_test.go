package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// unreachable is a database that no test of the startup must ever dial.
func unreachable(tb testing.TB, name string) Upstream {
	tb.Helper()
	return Upstream{Database: name, Instance: "main", Config: func(context.Context) (*pgconn.Config, error) {
		tb.Error("an upstream was asked for before the client had shown the password")
		return nil, errors.New("unexpected")
	}}
}

// heard is what a client hears until the connection ends, and how it ended.
func heard(t *testing.T, c net.Conn) (said []byte, code string) {
	t.Helper()
	said, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the connection did not end cleanly: %v", err)
	}
	rest := said
	for len(rest) > 0 && (rest[0] == 'N' || rest[0] == 'R' || rest[0] == 'v') { // answers before the error
		n := 1
		if rest[0] != 'N' {
			n = 1 + int(rest[4]) + int(rest[3])<<8
		}
		rest = rest[n:]
	}
	if len(rest) == 0 {
		return said, ""
	}
	m, err := pgproto3.NewFrontend(bytes.NewReader(rest), nil).Receive()
	if e, ok := m.(*pgproto3.ErrorResponse); ok {
		if e.Severity != "FATAL" || e.SeverityUnlocalized != "FATAL" || e.Message == "" || e.Hint == "" {
			t.Errorf("%+v", e)
		}
		return said, e.Code
	}
	t.Errorf("not an error message: %q %v", rest, err)
	return said, ""
}

func TestWhatIsNoStartupIsRefusedCleanly(t *testing.T) {
	const v3 = 196608
	ok := startupPacket(v3, "user", "me", "database", "orders")
	ssl, gss := []byte{0, 0, 0, 8, 4, 210, 22, 47}, []byte{0, 0, 0, 8, 4, 210, 22, 48}
	length := func(n ...byte) []byte { return append(n, 0, 3, 0, 0, 'x', 'x', 'x', 'x') }
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, try := range map[string]struct {
		send []byte
		code string // "": closed without a word
	}{
		"HTTP":                               {[]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "08P01"},
		"HTTP with a long body":              {append([]byte("POST / HTTP/1.1\r\n\r\n"), make([]byte, 8<<20)...), "08P01"},
		"SSH":                                {[]byte("SSH-2.0-OpenSSH_9.2\r\n"), "08P01"},
		"TLS where there is none":            {cat([]byte{0x16, 3, 1, 2, 0, 1, 0}, make([]byte, 300)), ""},
		"length 0":                           {length(0, 0, 0, 0), "08P01"},
		"length 4":                           {length(0, 0, 0, 4), "08P01"},
		"length 7":                           {length(0, 0, 0, 7), "08P01"},
		"length 10001":                       {length(0, 0, 0x27, 0x11), "08P01"},
		"length of 2 GB":                     {length(0x7f, 0xff, 0xff, 0xff), "08P01"},
		"a negative length":                  {length(0xff, 0xff, 0xff, 0xff), "08P01"},
		"protocol 2":                         {startupPacket(2<<16, "user", "me"), "0A000"},
		"protocol 4":                         {startupPacket(4<<16, "user", "me"), "0A000"},
		"cut in the header":                  {ok[:5], ""},
		"cut in the body":                    {ok[:len(ok)-3], ""},
		"no parameters and no terminator":    {[]byte{0, 0, 0, 8, 0, 3, 0, 0}, "08P01"},
		"a name without a value":             {[]byte{0, 0, 0, 13, 0, 3, 0, 0, 'u', 's', 'e', 'r', 0}, "08P01"},
		"no terminator":                      {[]byte{0, 0, 0, 12, 0, 3, 0, 0, 'a', 0, 'b', 0}, "08P01"},
		"something behind the terminator":    {startupPacket(v3, "user", "me", "", "database", "orders"), "08P01"},
		"encryption asked for twice":         {cat(ssl, ssl), "08P01"},
		"GSS asked for twice":                {cat(gss, gss), "08P01"},
		"encryption asked for with contents": {[]byte{0, 0, 0, 9, 4, 210, 22, 47, 0}, "08P01"},
		"a cancel request without a secret":  {[]byte{0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1}, ""},
		"a cancel request that is too long":  {cat([]byte{0, 0, 2, 0, 4, 210, 22, 46}, make([]byte, 504)), ""},
		"a cancel request for nobody":        {[]byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2}, ""},
		"a wrong password":                   {cat(ok, message('p', "wrong\x00")), "28P01"},
		"the password and more":              {cat(ok, message('p', proxyPassword+"x\x00")), "28P01"},
		"the password, NUL, and more":        {cat(ok, message('p', proxyPassword+"\x00x\x00")), "28P01"},
		"an empty password":                  {cat(ok, message('p', "\x00")), "28P01"},
		"a password without an end":          {cat(ok, message('p', proxyPassword)), "08P01"},
		"a password message without a body":  {cat(ok, message('p', "")), "08P01"},
		"a password of 2 kB":                 {cat(ok, message('p', strings.Repeat("x", 2048)+"\x00")), "08P01"},
		"a query in place of the password":   {cat(ok, message('Q', "select 1\x00")), "08P01"},
		"SSL, GSS, then a wrong password":    {cat(ssl, gss, ok, message('p', "wrong\x00")), "28P01"},
		"GSS, SSL, then a wrong password":    {cat(gss, ssl, ok, message('p', "wrong\x00")), "28P01"},
		"nothing after the password request": {ok, ""},
		"nothing at all":                     {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}, TLS: noTLS})
			c := p.dial(t)
			_, err := c.Write(try.send)
			must(t, err)
			if try.code == "" {
				must(t, c.(*net.TCPConn).CloseWrite())
			}
			said, code := heard(t, c)
			if code != try.code {
				t.Errorf("heard %q, want %q", said, try.code)
			}
			refused := int64(0)
			if try.code != "" {
				refused = 1
			}
			if got := p.Totals(); got.Refused != refused {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestANameIsNeededAfterThePassword(t *testing.T) {
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}})
	c := p.dial(t)
	_, err := c.Write(append(startupPacket(196608, "application_name", "x"), message('p', proxyPassword+"\x00")...))
	must(t, err)
	if _, code := heard(t, c); code != "28000" {
		t.Errorf("got %q", code)
	}
}

func TestNewerProtocolsAreNegotiatedDown(t *testing.T) {
	for name, try := range map[string]struct {
		version uint32
		options []string
		newest  uint32 // 0: nothing to negotiate
	}{
		"3.0":                      {196608, nil, 0},
		"3.2":                      {196610, nil, 0},
		"3.9999, as libpq greases": {3<<16 | 9999, []string{"_pq_.test_protocol_negotiation"}, 196610},
		"3.3":                      {196611, nil, 196610},
		"3.0 with an option":       {196608, []string{"_pq_.a", "_pq_.b"}, 196608},
		"3.2 with an option":       {196610, []string{"_pq_.a"}, 196610},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}})
			c := p.dial(t)
			pairs := []string{"user", "me"}
			for _, o := range try.options {
				pairs = append(pairs, o, "x")
			}
			_, err := c.Write(startupPacket(try.version, pairs...))
			must(t, err)
			f := pgproto3.NewFrontend(c, nil)
			if try.newest != 0 {
				m, err := f.Receive()
				must(t, err)
				n, ok := m.(*pgproto3.NegotiateProtocolVersion)
				if !ok || n.NewestMinorProtocol != try.newest || !slices.Equal(n.UnrecognizedOptions, try.options) {
					t.Errorf("got %+v", m)
				}
			}
			m, err := f.Receive()
			must(t, err)
			if _, ok := m.(*pgproto3.AuthenticationCleartextPassword); !ok {
				t.Errorf("got %T", m)
			}
		})
	}
}

func TestDirectTLSNeedsTheALPNProtocol(t *testing.T) {
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}})
	c := tls.Client(p.dial(t), &tls.Config{InsecureSkipVerify: true})
	must(t, c.Handshake())
	if _, code := heard(t, c); code != "08P01" {
		t.Errorf("without ALPN: %q", code)
	}
	c = tls.Client(p.dial(t), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err := c.Handshake(); err == nil {
		t.Error("a client of HTTP/2 was let in")
	}
	c = tls.Client(p.dial(t), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"postgresql"}})
	must(t, c.Handshake())
	_, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}) // and asks for encryption again, inside
	must(t, err)
	if _, code := heard(t, c); code != "08P01" {
		t.Errorf("encryption inside encryption: %q", code)
	}
}

func TestNothingSentBeforeTLSCountsAsSentInside(t *testing.T) {
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}})
	c := p.dial(t)
	_, err := c.Write(append([]byte{0, 0, 0, 8, 4, 210, 22, 47}, startupPacket(196608, "user", "me", "database", "orders")...))
	must(t, err)
	all, _ := io.ReadAll(c)
	if len(all) == 0 || all[0] != 'S' || bytes.Contains(all[1:], []byte{'R', 0, 0, 0, 8}) {
		t.Errorf("plaintext behind the request for encryption was answered: %q", all)
	}
}

func TestSlowClientsAreBoundedInTimeAndNumber(t *testing.T) {
	t.Parallel()
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}, StartupTimeout: 500 * time.Millisecond, MaxStartups: 3})
	begin := time.Now()
	silent := []net.Conn{p.dial(t), p.dial(t), p.dial(t)}
	for _, c := range silent { // one says nothing, one dribbles, one does not send the password
		if c != silent[0] {
			_, _ = c.Write(startupPacket(196608, "user", "me")[:9])
		}
	}
	_, _ = silent[2].Write(startupPacket(196608, "user", "me")[9:])
	late := p.dial(t) // waits for a place
	_, err := late.Write(append(startupPacket(196608, "user", "me", "database", "orders"), message('p', "wrong\x00")...))
	must(t, err)
	for _, c := range silent {
		_, _ = io.ReadAll(c)
	}
	if _, code := heard(t, late); code != "28P01" {
		t.Errorf("a client that had to wait heard %q", code)
	}
	if took := time.Since(begin); took < 400*time.Millisecond || took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestACrowdThatDoesNotLogInIsRefused(t *testing.T) {
	t.Parallel()
	p := serve(t, Config{Upstreams: []Upstream{unreachable(t, "orders")}, MaxStartups: 1}, func(s *Server) { s.queue = 50 * time.Millisecond })
	_ = p.dial(t) // stays
	eventually(t, "the place is taken", func() bool { return len(p.startups) == 1 })
	c := p.dial(t)
	_, err := c.Write(startupPacket(196608, "user", "me", "database", "orders"))
	must(t, err)
	if _, code := heard(t, c); code != "53300" {
		t.Errorf("got %q", code)
	}
}

func TestParseStartupTakesTheLastOfAName(t *testing.T) {
	h, err := parseStartup(196608, startupPacket(196608, "user", "a", "database", "x", "user", "b", "empty", "")[8:])
	must(t, err)
	if h.get("user") != "b" || h.get("database") != "x" || h.get("empty") != "" || h.get("other") != "" || len(h.params) != 4 {
		t.Errorf("%+v", h)
	}
}
