package proxy

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/secret"
)

// script is a client that has sent all it will ever send.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)     { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)    { return s.out.Write(p) }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return nil }
func (*script) RemoteAddr() net.Addr             { return nil }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

func FuzzStartup(f *testing.F) {
	const v3 = 196608
	for _, seed := range [][]byte{
		nil,
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		{0, 0, 0, 8, 4, 210, 22, 47},
		{0, 0, 0, 8, 4, 210, 22, 48, 0, 0, 0, 8, 4, 210, 22, 47},
		{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2},
		{0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0},
		startupPacket(2<<16, "user", "me"),
		append(startupPacket(v3, "user", "me", "database", "orders"), message('p', proxyPassword+"\x00")...),
		append(startupPacket(v3+9, "user", "me", "_pq_.x", "1"), message('p', "x\x00")...),
		startupPacket(v3, "user", "me", "", "database", "x"),
		append(startupPacket(v3), message('p', "")...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &script{in: bytes.NewReader(sent)}
		c := &client{Conn: conn, socket: conn}
		h, err := c.hello(t.Context(), nil)
		if (h == nil) == (err == nil) {
			t.Fatalf("%v %v", h, err)
		}
		if strings.Trim(conn.out.String(), "N") != "" || conn.out.Len() > 2 {
			t.Fatalf("said %q before anything was agreed", &conn.out)
		}
		if err != nil {
			return
		}
		if used := len(sent) - conn.in.Len(); used > startupMax+16 {
			t.Fatalf("%d bytes were read", used)
		}
		if h.cancel != "" {
			if n := len(h.cancel.secret()); n < 4 || n > cancelMax {
				t.Fatalf("a cancel key of %d bytes", n)
			}
			return
		}
		for _, p := range h.params {
			if p.name == "" || strings.Contains(p.name+p.value, "\x00") || strings.HasPrefix(p.name, optionPrefix) {
				t.Fatalf("%q", p)
			}
		}
		for name := range runtimeParams(h.params, map[string]string{"default_transaction_read_only": "on"}, "x") {
			if low := strings.ToLower(name); low == "user" || low == "database" || low == "password" {
				t.Fatalf("%q is passed on", name)
			}
		}
		before := conn.in.Len()
		err = c.authenticate(h, secret.New(proxyPassword), "prod")
		if err == nil && !bytes.Contains(sent, []byte(proxyPassword+"\x00")) {
			t.Fatal("let in without the password")
		}
		if used := before - conn.in.Len(); used > passwordMax+5 {
			t.Fatalf("%d bytes were read for a password", used)
		}
		if err != nil {
			if r, ok := errors.AsType[*refusal](err); ok && (len(r.told.Code) != 5 || r.told.Message == "") {
				t.Fatalf("%+v", r.told)
			}
		}
	})
}

func nobody(context.Context) (*pgconn.Config, error) { return nil, errors.New("nobody") }
