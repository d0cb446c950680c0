package edge

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestAPasswordsLoginIsTheServersBusiness(t *testing.T) {
	t.Parallel()
	roles := make(chan string, 1)
	b := serve(t, certificate("server"), func(p *peer) {
		roles <- p.role
		welcome(p)
	})
	e := start(t, b, nil)
	for user, want := range map[string]string{"me": "me", "ünïcode": "ünïcode", "unspeakable": ""} {
		c := enter(t, e, user)
		if m, ok := receive(t, c).(*pgproto3.AuthenticationSASL); !ok || len(m.AuthMechanisms) != 2 {
			t.Errorf("the offer within TLS: %#v", m)
		}
		if got := <-roles; got != want {
			t.Errorf("the server saw a certificate of %q, not of %q", got, want)
		}
		for _, text := range []string{"hello", strings.Repeat("long ", 100000)} {
			go func() { _, _ = io.WriteString(c, text) }()
			if got := read(t, c, len(text)); got != text {
				t.Error("what comes back is something else")
			}
		}
	}
}

func TestWithoutTLSTheOfferHasNoChannelBinding(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	e.SetRequireTLS(false)
	c := dial(t, e)
	if _, err := c.Write(startup(pgproto3.ProtocolVersion30, "user", "me")); err != nil {
		t.Fatal(err)
	}
	if m, ok := receive(t, c).(*pgproto3.AuthenticationSASL); !ok || fmt.Sprint(m.AuthMechanisms) != "[SCRAM-SHA-256]" {
		t.Errorf("%#v", m)
	}
	e.SetRequireTLS(true)
	c = dial(t, e)
	if _, err := c.Write(startup(pgproto3.ProtocolVersion30, "user", "me")); err != nil {
		t.Fatal(err)
	}
	if code, message := fatalOf(t, c); code != "28000" || message != `no pg_hba.conf entry for host "127.0.0.1", user "me", database "me", no encryption` {
		t.Error(code, message)
	}
}

func TestATokenIsAskedForWhereTheCertificateWasTaken(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), func(p *peer) {
		p.send(&pgproto3.NoticeResponse{Severity: "NOTICE", Message: "hello"}, &pgproto3.AuthenticationOk{}, &pgproto3.ReadyForQuery{TxStatus: 'I'})
	})
	e := start(t, b, func(c *Config) { c.BadToken = func(role string) string { return "no token of " + role } })
	answer := func(send []byte) pgproto3.BackendMessage {
		t.Helper()
		c := enter(t, e, "iam")
		if _, ok := receive(t, c).(*pgproto3.NoticeResponse); !ok {
			t.Error("the notice is lost")
		}
		if m, ok := receive(t, c).(*pgproto3.AuthenticationCleartextPassword); !ok {
			t.Fatalf("%#v", m)
		}
		if _, err := c.Write(send); err != nil {
			t.Fatal(err)
		}
		return receive(t, c)
	}
	password := func(s string) []byte {
		b, _ := (&pgproto3.PasswordMessage{Password: s}).Encode(nil)
		return b
	}
	e.SetTokenCheck(func(role, token string) error {
		if role != "iam" || token != "right" {
			return errors.New("not that one")
		}
		return nil
	})
	if m, ok := answer(password("right")).(*pgproto3.AuthenticationOk); !ok {
		t.Errorf("%#v", m)
	}
	for name, test := range map[string]struct {
		send []byte
		want string
	}{
		"a wrong token":             {password("wrong"), "28000 no token of iam"},
		"no token":                  {password(""), "28000 no token of iam"},
		"something else":            {[]byte("Q\x00\x00\x00\x05\x00"), "08P01 expected password response"},
		"a token without an end":    {[]byte("p\x00\x00\x00\x05x"), "08P01 expected password response"},
		"a token that is too long":  {[]byte("p\x7f\xff\xff\xff"), "08P01 expected password response"},
		"a token that is too short": {[]byte("p\x00\x00\x00\x03"), "08P01 expected password response"},
	} {
		m, ok := answer(test.send).(*pgproto3.ErrorResponse)
		if !ok || m.Code+" "+m.Message != test.want {
			t.Errorf("%s: %#v", name, m)
		}
	}
	e.SetTokenCheck(nil)
	c := enter(t, e, "iam")
	receive(t, c)
	if code, message := fatalOf(t, c); code != "28000" || !strings.HasPrefix(message, "pg_hba.conf rejects connection for host") {
		t.Error(code, message)
	}
	if code, _ := fatalOf(t, enter(t, e, "root")); code != "28000" {
		t.Error("a reserved role got through: " + code)
	}
}

func TestASessionOfAnOuterOne(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), func(p *peer) { p.send(&pgproto3.AuthenticationOk{}) })
	e := start(t, b, nil)
	e.SetTokenCheck(func(string, string) error { return errors.New("no") })
	handle := func(ctx context.Context, principal, user string) (net.Conn, chan error) {
		t.Helper()
		client, server := net.Pipe()
		_ = client.SetDeadline(time.Now().Add(20 * time.Second))
		t.Cleanup(func() { _ = client.Close() })
		done := make(chan error, 1)
		go func() { done <- e.Handle(ctx, server, principal) }()
		if user != "" {
			if _, err := client.Write(startup(pgproto3.ProtocolVersion30, "user", user)); err != nil {
				t.Fatal(err)
			}
		}
		return client, done
	}
	c, done := handle(t.Context(), "me", "me")
	if m, ok := receive(t, c).(*pgproto3.AuthenticationOk); !ok {
		t.Errorf("%#v", m)
	}
	_ = c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	c, done = handle(t.Context(), "other", "me")
	if m, ok := receive(t, c).(*pgproto3.AuthenticationCleartextPassword); !ok {
		t.Errorf("%#v", m)
	}
	_ = c.Close()
	if err := <-done; err == nil {
		t.Error("a session that did not come about has no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, done = handle(ctx, "", "")
	cancel()
	soon(t, "the end of the context", func() {
		if err := <-done; err == nil {
			t.Error("the end of the context is no error")
		}
	})
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is open")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, done = handle(t.Context(), "", "")
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestLastWordsArrive(t *testing.T) {
	t.Parallel()
	farewell, _ := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: "57P01", Message: "farewell"}).Encode(nil)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // more than all buffers on the way hold
	b := serve(t, certificate("server"), func(p *peer) {
		p.send(&pgproto3.AuthenticationMD5Password{})
		_, _ = io.ReadFull(p, make([]byte, 1))
		_, _ = p.Write(big)
		_, _ = p.Write(farewell)
	})
	e := start(t, b, nil)
	c := enter(t, e, "me")
	receive(t, c)
	// The client still talks while the server has stopped listening, and reads slowly.
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := c.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}
	})
	if got := read(t, c, len(big)); got != string(big) {
		t.Error("the answer is another one")
	}
	if m, ok := receive(t, c).(*pgproto3.ErrorResponse); !ok || m.Message != "farewell" {
		t.Errorf("%#v", m)
	}
	close(stop)
	wg.Wait()
}

func TestTheEndOfTheServerIsHeardAtOnce(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Time, 1)
	b := serve(t, certificate("server"), func(p *peer) {
		p.send(&pgproto3.AuthenticationMD5Password{})
		ended <- time.Now()
	})
	c := enter(t, start(t, b, nil), "me")
	receive(t, c)
	if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	if took := time.Since(<-ended); took > linger/2 {
		t.Errorf("after %v", took)
	}
}

func TestAClientThatHasSaidAllStillGetsItsAnswer(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), func(p *peer) {
		p.send(&pgproto3.AuthenticationMD5Password{})
		question, _ := io.ReadAll(p)
		_, _ = p.Write(bytes.ToUpper(question))
	})
	e := start(t, b, nil)
	c := enter(t, e, "me")
	receive(t, c)
	if _, err := c.Write([]byte("answer me")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "ANSWER ME" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAServerThatIsAwayIsExcused(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	running := enter(t, e, "me")
	receive(t, running)
	e.Down("57P03", "gone fishing")
	if code, message := fatalOf(t, enter(t, e, "me")); code != "57P03" || message != "gone fishing" {
		t.Error(code, message)
	}
	if _, err := running.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	read(t, running, 1)

	e.Up("127.0.0.1:1")
	if code, message := fatalOf(t, enter(t, e, "me")); code != "57P03" || !strings.Contains(message, "not accepting connections") {
		t.Error(code, message)
	}
	// Somebody else has the server's port: it does not get to see a password.
	thief := serve(t, certificate("thief"), func(*peer) { t.Error("a stranger was talked to") })
	e.Up(thief.ln.Addr().String())
	if code, _ := fatalOf(t, enter(t, e, "me")); code != "57P03" {
		t.Error(code)
	}
	e.Up(b.ln.Addr().String())
	receive(t, enter(t, e, "me"))
}

func TestRefusingIsNotListening(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	running := enter(t, e, "me")
	receive(t, running)
	addr := e.Addr()
	for range 2 {
		if err := e.Refuse(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a new connection: %v", err)
	}
	if _, err := running.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	read(t, running, 1)

	squatter, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := e.Listen(ctx, "127.0.0.1:0"); !errors.Is(err, syscall.EADDRINUSE) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while somebody else has the address: %v", err)
	}
	listening := make(chan error, 1)
	go func() { listening <- e.Listen(t.Context(), "127.0.0.1:0") }()
	_ = squatter.Close()
	if err := <-listening; err != nil || e.Addr() != addr {
		t.Errorf("%v, at %s", err, e.Addr())
	}
	receive(t, enter(t, e, "me"))
	if err := e.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Error(err)
	}
}

func TestSessionsAreCut(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, func(c *Config) { c.MaxSessions = 3 })
	c := enter(t, e, "me")
	receive(t, c)
	half, silent := dial(t, e), dial(t, e)
	if _, err := half.Write([]byte{0, 0}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there are three sessions", func() bool { return e.count() == 3 })
	fourth, err := net.Dial("tcp", e.Addr())
	if err == nil {
		_, err = fourth.Read(make([]byte, 1))
		_ = fourth.Close()
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a fourth session: %v", err)
	}
	e.DropAll()
	for name, c := range map[string]net.Conn{"one that works": c, "one that begins": half, "one that is silent": silent} {
		if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	eventually(t, "there are none", func() bool { return e.count() == 0 })
	receive(t, enter(t, e, "me"))
	soon(t, "closing twice", func() {
		for range 2 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if e.count() != 0 {
		t.Error("sessions are left")
	}
	if err := e.Listen(t.Context(), "127.0.0.1:0"); !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestACancelRequestIsForwardedAsItIs(t *testing.T) {
	t.Parallel()
	packets := make(chan []byte, 1)
	b := serve(t, certificate("server"), func(p *peer) { packets <- p.packet })
	e := start(t, b, nil)
	sent := append([]byte{0, 0, 0, 44}, append(request(cancelRequest)[4:], bytes.Repeat([]byte{7}, 36)...)...) // the long key of 3.2
	for name, c := range map[string]net.Conn{"in the clear": dial(t, e), "within TLS": encrypt(t, dial(t, e))} {
		if _, err := c.Write(sent); err != nil {
			t.Fatal(err)
		}
		if got := <-packets; !bytes.Equal(got, sent) {
			t.Errorf("%s: %q", name, got)
		}
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v", name, rest, err)
		}
	}
}

func TestNoSessionSeesTwoCertificates(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	change := func(cert tls.Certificate) error {
		return e.Swap(cert, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.cert = cert
			return nil
		})
	}
	early := encrypt(t, dial(t, e))
	next := certificate("next")
	if err := change(next); err != nil {
		t.Fatal(err)
	}
	if _, err := early.Write(startup(pgproto3.ProtocolVersion30, "user", "me")); err != nil {
		t.Fatal(err)
	}
	if code, _ := fatalOf(t, early); code != "57P01" {
		t.Errorf("between the certificates: %s", code)
	}
	c := enter(t, e, "me")
	receive(t, c)
	if got := c.ConnectionState().PeerCertificates[0]; !bytes.Equal(got.Raw, next.Certificate[0]) {
		t.Errorf("the certificate of %s", got.Subject)
	}
	want := errors.New("it does not like it")
	if err := e.Swap(certificate("bad"), func() error { return want }); !errors.Is(err, want) {
		t.Error(err)
	}
	c = enter(t, e, "me")
	receive(t, c)
	if got := c.ConnectionState().PeerCertificates[0]; !bytes.Equal(got.Raw, next.Certificate[0]) {
		t.Errorf("after a change that failed: the certificate of %s", got.Subject)
	}
}

func TestManySessionsAtOnce(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			c := enter(t, e, fmt.Sprintf("user%d", i))
			receive(t, c)
			for range 20 {
				text := strings.Repeat(fmt.Sprint(i), 1000)
				if _, err := io.WriteString(c, text); err != nil {
					t.Error(err)
					return
				}
				if got := read(t, c, len(text)); got != text {
					t.Error("another session's bytes")
					return
				}
			}
			_ = c.Close()
		})
	}
	wg.Wait()
	eventually(t, "all sessions have ended", func() bool { return e.count() == 0 })
}
