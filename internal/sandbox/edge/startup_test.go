package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestAClientThatMakesNoSenseIsAnsweredOrCutOff(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), func(*peer) { t.Error("the server was bothered") })
	e := start(t, b, nil)
	e.Down("57P03", "away")
	long := append([]byte{0, 0, 0x27, 0x11}, make([]byte, 10001-4)...)
	for name, test := range map[string]struct {
		send string
		want string // what is answered, all of it
	}{
		"nothing":                          {"", ""},
		"an HTTP request":                  {"GET / HTTP/1.1\r\n\r\n", ""},
		"a length of 0":                    {"\x00\x00\x00\x00\x00\x03\x00\x00", ""},
		"a length of 7":                    {"\x00\x00\x00\x07\x00\x03\x00", ""},
		"a packet that is too long":        {string(long), ""},
		"half a packet":                    {"\x00\x00\x00\x20\x00\x03\x00\x00user", ""},
		"half a length":                    {"\x00\x00", ""},
		"a TLS record without a handshake": {"\x16\x03\x01\x00\x04abcd", "TLS alert"},
		"encryption asked for for ever":    {strings.Repeat(string(request(gssRequest)), 4), "NNNN"},
		"protocol 2.0":                     {string(startup(0x20000)), "FATAL 0A000 unsupported frontend protocol 2.0: server supports 3.0 to 3.2"},
		"protocol 4.1":                     {string(startup(0x40001)), "FATAL 0A000 unsupported frontend protocol 4.1: server supports 3.0 to 3.2"},
		"a startup that is not terminated": {"\x00\x00\x00\x0c\x00\x03\x00\x00user", "FATAL 08P01 invalid startup packet layout"},
		"a startup without an end":         {"\x00\x00\x00\x0f\x00\x03\x00\x00user\x00x\x00", "FATAL 08P01 invalid startup packet layout"},
		"a startup with bytes after its end": {
			"\x00\x00\x00\x12\x00\x03\x00\x00user\x00x\x00\x00zz", "FATAL 08P01 invalid startup packet layout",
		},
		"a startup without a user":                        {string(startup(pgproto3.ProtocolVersion30, "database", "x")), "FATAL 28000 no PostgreSQL user name specified in startup packet"},
		"a cancel request for a server that is not there": {string(request(cancelRequest)) + "\x00\x00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, e)
			_, _ = c.Write([]byte(test.send))
			if test.want == "" {
				_ = c.CloseWrite() // else it ends by itself
			}
			var got []byte
			soon(t, "the end", func() { got, _ = io.ReadAll(c) }) // some of what is sent is not read, which makes the end a reset
			_ = c.Close()
			if m, err := pgproto3.NewFrontend(bytes.NewReader(got), nil).Receive(); err == nil {
				if f, ok := m.(*pgproto3.ErrorResponse); ok {
					got = []byte(f.Severity + " " + f.Code + " " + f.Message)
				}
			}
			if strings.HasPrefix(string(got), "\x15\x03") {
				got = []byte("TLS alert")
			}
			if string(got) != test.want {
				t.Errorf("it answers %q", got)
			}
			eventually(t, "the session has ended", func() bool { return e.count() == 0 })
		})
	}
}

func TestASilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	const patience = time.Second
	e := start(t, b, func(c *Config) { c.StartupTimeout = patience })
	c := enter(t, e, "me")
	receive(t, c)
	silent := map[string]*net.TCPConn{}
	for name, begin := range map[string][]byte{
		"before its startup":   nil,
		"within its startup":   {0, 0, 0, 20, 0},
		"within its handshake": append(request(sslRequest), 0x16, 3, 1),
	} {
		silent[name] = dial(t, e)
		if _, err := silent[name].Write(begin); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range silent {
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who has logged in may take all the time.
	eventually(t, "only that session is left", func() bool { return e.count() == 1 })
	if _, err := c.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	read(t, c, len("still here"))
}

func TestEncryptionIsNegotiatedInAnyOrder(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	plain := dial(t, e)
	if _, err := plain.Write(request(gssRequest)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, plain, 1); got != "N" {
		t.Fatalf("GSS: %q", got)
	}
	c := encrypt(t, plain)
	for _, code := range []uint32{gssRequest, sslRequest} {
		if _, err := c.Write(request(code)); err != nil {
			t.Fatal(err)
		}
		if code == gssRequest {
			if got := read(t, c, 1); got != "N" {
				t.Errorf("GSS within TLS: %q", got)
			}
		}
	}
	if got := read(t, c, 1); got != "N" {
		t.Errorf("TLS within TLS: %q", got)
	}

	t.Run("what comes together with the request for TLS is not believed", func(t *testing.T) {
		c := dial(t, e)
		if _, err := c.Write(append(request(sslRequest), startup(pgproto3.ProtocolVersion30, "user", "me")...)); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		if len(got) == 0 || got[0] != 'S' || bytes.Contains(got, []byte("SCRAM")) {
			t.Errorf("it answers %q", got)
		}
	})
	t.Run("direct TLS needs the name of the protocol", func(t *testing.T) {
		for _, names := range [][]string{nil, {"h2"}, {"postgresql"}} {
			c := tls.Client(dial(t, e), &tls.Config{RootCAs: authority().Pool(), ServerName: "127.0.0.1", NextProtos: names})
			_, _ = c.Write(startup(pgproto3.ProtocolVersion30, "user", "me"))
			b := make([]byte, 1)
			if _, err := c.Read(b); (err == nil) != slices.Contains(names, "postgresql") {
				t.Errorf("%v: %v", names, err)
			}
		}
	})
	t.Run("an older PostgreSQL knows no direct TLS", func(t *testing.T) {
		e := start(t, b, func(c *Config) { c.Direct = false })
		c := tls.Client(dial(t, e), &tls.Config{RootCAs: authority().Pool(), ServerName: "127.0.0.1", NextProtos: []string{"postgresql"}})
		if err := c.HandshakeContext(t.Context()); err == nil {
			t.Error("it worked")
		}
	})
}

func TestAnyMinorVersionReachesTheServer(t *testing.T) {
	t.Parallel()
	packets := make(chan []byte, 1)
	b := serve(t, certificate("server"), func(p *peer) {
		packets <- p.packet
		p.send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: pgproto3.ProtocolVersion30, UnrecognizedOptions: []string{"_pq_.x"}})
		welcome(p)
	})
	e := start(t, b, nil)
	sent := startup(3<<16|9999, "user", "me", "_pq_.x", "1")
	c := encrypt(t, dial(t, e))
	if _, err := c.Write(sent); err != nil {
		t.Fatal(err)
	}
	if _, ok := receive(t, c).(*pgproto3.NegotiateProtocolVersion); !ok {
		t.Error("the server's answer to the version is lost")
	}
	if m, ok := receive(t, c).(*pgproto3.AuthenticationSASL); !ok || len(m.AuthMechanisms) != 2 {
		t.Errorf("%#v", m)
	}
	if got := <-packets; !bytes.Equal(got, sent) {
		t.Errorf("sent %q, received %q", sent, got)
	}
}

// tape is a connection that plays bytes and forgets what is written.
type tape struct{ *bytes.Reader }

func (tape) Write(b []byte) (int, error)      { return len(b), nil }
func (tape) Close() error                     { return nil }
func (tape) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (tape) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (tape) SetDeadline(time.Time) error      { return nil }
func (tape) SetReadDeadline(time.Time) error  { return nil }
func (tape) SetWriteDeadline(time.Time) error { return nil }

func FuzzStartup(f *testing.F) {
	f.Add(startup(pgproto3.ProtocolVersion30, "user", "me", "database", "db"))
	f.Add(append(request(gssRequest), startup(pgproto3.ProtocolVersion32, "user", "me")...))
	f.Add(append(request(sslRequest), 0x16, 3, 1, 0, 1, 1))
	f.Add([]byte{0x16, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3})
	f.Add(append([]byte{0, 0, 0, 16}, request(cancelRequest)[4:]...))
	cert := certificate("server")
	f.Fuzz(func(t *testing.T, data []byte) {
		e := New(Config{Direct: true, Reserved: []string{"root"}}, cert)
		for _, out := range []outer{{offerTLS: true}, {principal: "me"}} {
			c := tape{bytes.NewReader(data)}
			s := &session{edge: e, client: c}
			client, err := s.startup(context.Background(), out)
			if err != nil {
				continue
			}
			if n := len(client.packet); n < 8 || n > maxStartup || client.code != cancelRequest && client.code>>16 != 3 {
				t.Errorf("%d bytes, code %d", n, client.code)
			}
			if _, err := parameters(client.packet); err == nil && client.packet[len(client.packet)-1] != 0 {
				t.Errorf("parameters of %q", client.packet)
			}
			// With no server there is nothing to do but to end with an error, or without one after a cancel request.
			if err := (&session{edge: e, client: tape{bytes.NewReader(data)}}).serve(context.Background(), out); err == nil {
				t.Error("it logged in")
			}
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte("p\x00\x00\x00\x0atoken\x00"))
	offer, _ := (&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}}).Encode(nil)
	f.Add(offer)
	f.Fuzz(func(t *testing.T, data []byte) {
		if token, err := readToken(bytes.NewReader(data)); err == nil && len(token) > maxToken {
			t.Errorf("%d bytes", len(token))
		}
		if len(data) < 5 {
			return
		}
		var out bytes.Buffer
		length := uint32(data[1])<<24 | uint32(data[2])<<16 | uint32(data[3])<<8 | uint32(data[4])
		if err := withoutBinding(&out, bytes.NewReader(data), length); err == nil && bytes.Contains(out.Bytes(), []byte("\x00SCRAM-SHA-256-PLUS\x00")) {
			t.Errorf("%q", out.Bytes())
		}
	})
}
