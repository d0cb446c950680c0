package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"dbops/internal/secret"
)

// FuzzFirstPackets is FuzzStartup where the proxy has TLS: what a client sends is the request for it, its own attempt at it, or anything.
func FuzzFirstPackets(f *testing.F) {
	local, _, err := LocalTLS()
	must(f, err)
	local.NextProtos = []string{alpn}
	ssl, gss := []byte{0, 0, 0, 8, 4, 210, 22, 47}, []byte{0, 0, 0, 8, 4, 210, 22, 48}
	hello := clientHello(f)
	for _, seed := range [][]byte{
		nil, ssl, gss, hello, slices.Concat(ssl, hello), slices.Concat(gss, ssl, hello), slices.Concat(ssl, gss), slices.Concat(ssl, startupPacket(196608, "user", "me")),
		hello[:len(hello)/2], slices.Concat(ssl, hello[:7]),
		{0x16},
		{0x16, 3, 1, 0xff, 0xff},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &script{in: bytes.NewReader(sent)}
		c := &client{Conn: conn, socket: conn}
		h, err := c.hello(t.Context(), local)
		if (h == nil) == (err == nil) {
			t.Fatalf("%v %v", h, err)
		}
		if _, inside := c.Conn.(*tls.Conn); !inside && err == nil && h.cancel == "" && bytes.Contains(conn.out.Bytes(), []byte("S")) {
			t.Fatal("encryption was agreed, and what came in the clear was taken")
		}
		if conn.out.Len() > 0 && !strings.ContainsRune("NS\x15\x16", rune(conn.out.Bytes()[0])) {
			t.Fatalf("said %q", &conn.out)
		}
	})
}

// clientHello is how a client begins direct TLS.
func clientHello(tb testing.TB) []byte {
	tb.Helper()
	conn := &script{in: bytes.NewReader(nil)}
	_ = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}}).Handshake()
	return conn.out.Bytes()
}

// FuzzInsideTLS speaks TLS as it should be, asked for or direct, and fuzzes what is inside.
func FuzzInsideTLS(f *testing.F) {
	local, _, err := LocalTLS()
	must(f, err)
	local.NextProtos = []string{alpn}
	for _, seed := range [][]byte{
		nil,
		{0, 0, 0, 8, 4, 210, 22, 47},
		{0, 0, 0, 8, 4, 210, 22, 48},
		clientHello(f), startupPacket(196608, "user", "me", "database", "orders"),
		append(startupPacket(196610, "user", "me"), message('p', proxyPassword+"\x00")...),
		{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2},
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, sent []byte, direct bool) {
		if len(sent) > 2*startupMax {
			return
		}
		near, far := net.Pipe()
		defer near.Close()
		_ = near.SetDeadline(time.Now().Add(10 * time.Second))
		_ = far.SetDeadline(time.Now().Add(10 * time.Second))
		said := make(chan []byte, 1)
		go func() {
			defer far.Close()
			if !direct {
				_, _ = far.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47})
				_, _ = io.ReadFull(far, make([]byte, 1))
			}
			inside := tls.Client(far, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{alpn}})
			if inside.Handshake() != nil {
				said <- nil
				return
			}
			go func() { _, _ = inside.Write(sent); _ = inside.CloseWrite() }()
			all, _ := io.ReadAll(inside)
			said <- all
		}()
		c := &client{Conn: near, socket: near}
		h, err := c.hello(t.Context(), local)
		if (h == nil) == (err == nil) {
			t.Errorf("%v %v", h, err)
		}
		if _, ok := c.Conn.(*tls.Conn); !ok {
			t.Error("encryption was not turned on")
		}
		if err == nil && h.cancel == "" {
			err = c.authenticate(h, secret.New(proxyPassword), "prod")
			if err == nil && !bytes.Contains(sent, []byte(proxyPassword+"\x00")) {
				t.Error("let in without the password")
			}
		}
		if r, ok := errors.AsType[*refusal](err); ok && (len(r.told.Code) != 5 || r.told.Message == "" || r.told.Hint == "") {
			t.Errorf("%+v", r.told)
		}
		_ = c.Close()
		_ = near.Close()
		if all := <-said; bytes.Contains(all, []byte{'R', 0, 0, 0, 8, 0, 0, 0, 0}) {
			t.Errorf("said %q before anything was agreed", all)
		}
	})
}

// FuzzNegotiation asks for any version and any options of it, and checks what is agreed.
func FuzzNegotiation(f *testing.F) {
	f.Add(uint16(0), "user", "me", "_pq_.x", "1")
	f.Add(uint16(2), "user", "me", "database", "orders")
	f.Add(uint16(9999), "_pq_.", "", "_pq_.a", "b")
	f.Add(uint16(1), "options", `-c a=b\`, "user", "")
	f.Fuzz(func(t *testing.T, minor uint16, n1, v1, n2, v2 string) {
		if strings.ContainsRune(n1+v1+n2+v2, 0) || n1 == "" || n2 == "" || len(n1)+len(v1)+len(n2)+len(v2) > startupMax-20 {
			return
		}
		version := uint32(3)<<16 | uint32(minor)
		conn := &script{in: bytes.NewReader(append(startupPacket(version, n1, v1, n2, v2), message('p', proxyPassword+"\x00")...))}
		c := &client{Conn: conn, socket: conn}
		h, err := c.hello(t.Context(), nil)
		must(t, err)
		must(t, c.authenticate(h, secret.New(proxyPassword), "prod"))
		var options []string
		for _, n := range []string{n1, n2} {
			if strings.HasPrefix(n, optionPrefix) {
				options = append(options, n)
			}
		}
		fe := pgproto3.NewFrontend(&conn.out, nil)
		m, err := fe.Receive()
		must(t, err)
		if n, ok := m.(*pgproto3.NegotiateProtocolVersion); ok != (version > pgproto3.ProtocolVersion32 || len(options) > 0) {
			t.Fatalf("version %x, options %q: %+v", version, options, m)
		} else if ok {
			if n.NewestMinorProtocol != min(version, pgproto3.ProtocolVersion32) || !slices.Equal(n.UnrecognizedOptions, options) {
				t.Fatalf("%+v", n)
			}
			m, err = fe.Receive()
			must(t, err)
		}
		if _, ok := m.(*pgproto3.AuthenticationCleartextPassword); !ok {
			t.Fatalf("%T", m)
		}
		if size := len(mintCancelKey(h.protocol(), 7).secret()); size != 4 && (size != 32 || version < pgproto3.ProtocolVersion32) {
			t.Fatalf("a cancel key of %d bytes for version %x", size, version)
		}
		if h.get(n2) != v2 && !strings.HasPrefix(n2, optionPrefix) {
			t.Fatalf("%q is %q", n2, h.get(n2))
		}
	})
}

// FuzzPassword lets nobody in who does not have it.
func FuzzPassword(f *testing.F) {
	for _, seed := range []string{"", "\x00", proxyPassword, proxyPassword + "\x00", proxyPassword + "\x00\x00", "x\x00"} {
		f.Add(byte('p'), int32(len(seed)+4), []byte(seed))
	}
	f.Add(byte('Q'), int32(-1), []byte("x"))
	f.Fuzz(func(t *testing.T, kind byte, size int32, body []byte) {
		sent := append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(size)), body...)
		conn := &script{in: bytes.NewReader(sent)}
		c := &client{Conn: conn, socket: conn}
		err := c.authenticate(&hello{version: 196608}, secret.New(proxyPassword), "prod")
		right := kind == 'p' && int(size) == len(proxyPassword)+5 && bytes.HasPrefix(body, []byte(proxyPassword+"\x00"))
		if (err == nil) != right {
			t.Fatalf("%q: %v", sent, err)
		}
		if used := len(sent) - conn.in.Len(); used > 5+passwordMax {
			t.Fatalf("%d bytes were read", used)
		}
		if r, ok := errors.AsType[*refusal](err); ok && r.told.Hint == "" {
			t.Fatalf("%+v", r.told)
		}
	})
}

// FuzzCancel takes any key for nobody's, and never for another's.
func FuzzCancel(f *testing.F) {
	s, err := New(Config{Environment: "prod", Password: secret.New("x"), Upstreams: []Upstream{{Database: "orders", Config: nobody}}})
	must(f, err)
	key := newCancelKey(7, []byte{1, 2, 3, 4})
	s.keys[key] = &session{}
	f.Add(uint32(7), []byte{1, 2, 3, 5})
	f.Add(uint32(7), []byte{1, 2, 3, 4, 0})
	f.Add(uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, process uint32, word []byte) {
		if len(word) > startupMax {
			return
		}
		b := binary.BigEndian.AppendUint32(nil, uint32(12+len(word)))
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, cancelRequest), process)
		b = append(b, word...)
		conn := &script{in: bytes.NewReader(b)}
		c := &client{Conn: conn, socket: conn}
		h, err := c.hello(t.Context(), nil)
		if ok := len(word) >= 4 && len(word) <= cancelMax; ok != (err == nil) {
			t.Fatalf("%d bytes: %v", len(word), err)
		}
		if conn.out.Len() > 0 {
			t.Fatalf("answered %q", &conn.out)
		}
		if err != nil {
			return
		}
		if h.cancel.process() != process || !bytes.Equal(h.cancel.secret(), word) {
			t.Fatalf("%q", h.cancel)
		}
		if found := s.keys[h.cancel] != nil; found != (h.cancel == key) {
			t.Fatal("another's key was taken")
		}
		if h.cancel != key {
			s.cancelStatement(t.Context(), h.cancel)
		}
	})
}

// FuzzTracker cuts both streams anywhere: what is known of a session does not depend on where.
func FuzzTracker(f *testing.F) {
	f.Add(append(message('Q', "x\x00"), message('S', "")...), append(message('C', "x\x00"), message('Z', "I")...), uint16(3))
	f.Add(message('d', "x"), message('G', "\x00\x00\x00"), uint16(1))
	f.Add([]byte("no protocol"), []byte{'Z', 0, 0, 0, 0}, uint16(2))
	f.Fuzz(func(t *testing.T, fromClient, fromServer []byte, at uint16) {
		var whole, cut talk
		whole.fromClient(fromClient)
		whole.fromServer(fromServer, false)
		for piece := range slices.Chunk(fromClient, 1+int(at)%64) {
			cut.fromClient(piece)
		}
		for rest := fromServer; len(rest) > 0; {
			piece := rest[:min(len(rest), 1+int(at)%64)]
			n, _ := cut.fromServer(piece, false)
			if n != len(piece) {
				t.Fatalf("stopped after %d of %d bytes", n, len(piece))
			}
			rest = rest[n:]
		}
		whole.client.head, cut.client.head, whole.server.head, cut.server.head = [5]byte{}, [5]byte{}, [5]byte{}, [5]byte{}
		if whole != cut {
			t.Fatalf("in one piece %+v\nin many      %+v", whole, cut)
		}
		if whole.owed < 0 {
			t.Fatalf("%+v", whole)
		}
	})
}
