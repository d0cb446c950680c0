package edge

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/pki"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var authority = sync.OnceValue(func() *pki.CA {
	ca, err := pki.NewCA(pkix.Name{CommonName: "test"}, time.Hour)
	if err != nil {
		panic(err)
	}
	return ca
})

func certificate(name string) tls.Certificate {
	leaf, err := authority().Issue(time.Hour, func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	if err != nil {
		panic(err)
	}
	return leaf.TLS
}

// backend plays the server: it takes TLS and the startup message, and then does what the test says.
type backend struct {
	ln   net.Listener
	mu   sync.Mutex
	cert tls.Certificate
	wg   sync.WaitGroup
}

// peer is a session as the server sees it.
type peer struct {
	*tls.Conn
	role   string // that the certificate is of
	packet []byte // the startup message
}

func (p *peer) send(messages ...pgproto3.BackendMessage) {
	var b []byte
	for _, m := range messages {
		b, _ = m.Encode(b)
	}
	_, _ = p.Write(b)
}

func serve(t *testing.T, cert tls.Certificate, script func(*peer)) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: ln, cert: cert}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				b.session(c, script)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		b.wg.Wait()
	})
	return b
}

func (b *backend) session(c net.Conn, script func(*peer)) {
	code, packet, err := readPacket(c, nil)
	if err != nil {
		return
	}
	if code == cancelRequest {
		script(&peer{packet: packet})
		return
	}
	if _, err := c.Write([]byte{'S'}); err != nil {
		return
	}
	t := tls.Server(c, &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			b.mu.Lock()
			defer b.mu.Unlock()
			cert := b.cert
			return &cert, nil
		},
	})
	if err := t.HandshakeContext(context.Background()); err != nil {
		return
	}
	p := &peer{Conn: t}
	if certs := t.ConnectionState().PeerCertificates; len(certs) > 0 {
		p.role = certs[0].Subject.CommonName
	}
	if _, p.packet, err = readPacket(t, nil); err == nil {
		script(p)
	}
	_ = t.CloseWrite()
	_, _ = io.Copy(io.Discard, t)
}

// start runs an edge before a backend.
func start(t *testing.T, b *backend, change func(*Config)) *Edge {
	t.Helper()
	cfg := Config{
		RoleCertificate: func(role string) (tls.Certificate, error) {
			if role == "unspeakable" {
				return tls.Certificate{}, errors.New("no certificate can hold it")
			}
			return certificate(role), nil
		},
		Reserved: []string{"root"}, Direct: true, StartupTimeout: 10 * time.Second,
	}
	if change != nil {
		change(&cfg)
	}
	e := New(cfg, b.cert)
	if err := e.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	e.Up(b.ln.Addr().String())
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// dial opens a connection that gives up after a while.
func dial(t *testing.T, e *Edge) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn) //nolint:forcetypeassert // it is one
}

// encrypt asks for TLS and returns it.
func encrypt(t *testing.T, c net.Conn) *tls.Conn {
	t.Helper()
	if _, err := c.Write(request(sslRequest)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, 1); got != "S" {
		t.Fatalf("asked for TLS: %q", got)
	}
	s := tls.Client(c, &tls.Config{RootCAs: authority().Pool(), ServerName: "127.0.0.1"})
	if err := s.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// enter opens TLS and sends a startup message.
func enter(t *testing.T, e *Edge, user string) *tls.Conn {
	t.Helper()
	c := encrypt(t, dial(t, e))
	if _, err := c.Write(startup(pgproto3.ProtocolVersion30, "user", user, "database", "db")); err != nil {
		t.Fatal(err)
	}
	return c
}

func request(code uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, 8), code)
}

func startup(version uint32, params ...string) []byte {
	body := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range params {
		body = append(append(body, p...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

func read(t *testing.T, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return string(b)
}

// receive reads one message.
func receive(t *testing.T, r io.Reader) pgproto3.BackendMessage {
	t.Helper()
	m, err := pgproto3.NewFrontend(oneByte{r}, nil).Receive()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// oneByte keeps a reader from reading ahead.
type oneByte struct{ io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.Reader.Read(b[:min(len(b), 1)]) }

// fatalOf is the code and message of a FATAL error, and what comes after it.
func fatalOf(t *testing.T, r io.Reader) (code, message string) {
	t.Helper()
	m, ok := receive(t, r).(*pgproto3.ErrorResponse)
	if !ok || m.Severity != "FATAL" {
		t.Fatalf("got %#v", m)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("after the error: %q, %v", rest, err)
	}
	return m.Code, m.Message
}

// sessions is how many the edge has.
func (e *Edge) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// soon fails the test if f takes as long as a time-out of the edge does.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("%s: after %v", what, took)
	}
}

// eventually polls until ok, or fails the test.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// welcome lets the client in, and echoes.
func welcome(p *peer) {
	p.send(&pgproto3.AuthenticationSASL{AuthMechanisms: []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}})
	_, _ = bufio.NewReader(p.Conn).WriteTo(p.Conn)
}
