package serve

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

func TestNoMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Sessions: 3, PerPerson: 2})
	_, alice := p.key("alice@example.com")
	_, bob := p.key("bob@example.com")
	one, two := p.shell(alice), p.shell(alice)
	one.out.want(t, "hello")
	two.out.want(t, "hello")
	third := p.shell(alice)
	third.err.want(t, "alice@example.com has 2 sessions already")
	if got := third.status(); got != 1 {
		t.Errorf("status %d", got)
	}
	b := p.shell(bob)
	b.out.want(t, "hello bob")
	p.shell(bob).err.want(t, "there are 3 sessions already")
	one.press("q")
	if got := one.status(); got != 0 {
		t.Errorf("status %d", got)
	}
	p.shell(alice).out.want(t, "hello") // the room is there when the client hears of the end
}

func TestAKeyThatIsTakenAwayEndsItsSessions(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Recheck: 10 * time.Millisecond})
	_, alice := p.key("alice@example.com")
	_, bob := p.key("bob@example.com")
	a, b := p.shell(alice), p.shell(bob)
	a.out.want(t, "hello")
	b.out.want(t, "hello")

	p.set(alice.PublicKey(), nil, errors.New("line 3: no public key is found in it"))
	p.log.want(t, "open sessions stay")
	if _, err := p.dial(alice); err == nil {
		t.Error("somebody logged in while nobody knew who may")
	}
	a.press("x")
	a.out.want(t, "key x")

	p.set(alice.PublicKey(), nil, nil)
	a.err.want(t, "your key may not log in any more")
	if got := a.status(); got != 130 {
		t.Errorf("status %d", got)
	}
	if _, err := p.dial(alice); err == nil || !strings.Contains(err.Error(), "unable to authenticate") {
		t.Error(err)
	}
	b.press("x")
	b.out.want(t, "key x")
	p.set(bob.PublicKey(), &Person{Name: "bob@example.com", May: "change", Key: ssh.FingerprintSHA256(bob.PublicKey())}, nil)
	b.err.want(t, "what you may do has changed; log in again")
	p.note.want(t, ": your key may not log in any more")
}

func TestWhoPressesNothingLeaves(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Idle: 300 * time.Millisecond})
	_, alice := p.key("alice@example.com")
	c := p.shell(alice)
	c.err.want(t, "no key was pressed for 300ms")
	if got := c.status(); got != 130 {
		t.Errorf("status %d", got)
	}
}

func TestWhoDoesNotLogInIsClosed(t *testing.T) {
	t.Parallel()
	p := open(t, Options{LoginTime: 300 * time.Millisecond, Logins: 2})
	_, alice := p.key("alice@example.com")
	closed := func(c net.Conn) {
		t.Helper()
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it is still open")
		}
		_ = c.Close()
	}
	raw := func() net.Conn {
		t.Helper()
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	closed(raw()) // says nothing
	conn, err := p.dial(alice)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Wait() // logged in, and asks for no terminal

	c := p.shell(alice) // outlives the time for logging in
	time.AfterFunc(600*time.Millisecond, func() { _, _ = io.WriteString(c.in, "x") })
	c.out.want(t, "key x")

	many := []net.Conn{raw(), raw(), raw()}
	p.log.want(t, "2 others are logging in")
	for _, c := range many {
		closed(c)
	}
}

func TestWhoIsSilentIsGone(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Silence: 300 * time.Millisecond})
	_, alice := p.key("alice@example.com")
	c := p.shell(alice)
	c.out.want(t, "hello")
	time.AfterFunc(900*time.Millisecond, func() { _, _ = io.WriteString(c.in, "x") }) // until then the client answers for her
	c.out.want(t, "key x")

	dead := &mute{}
	conn, chans, reqs, err := ssh.NewClientConn(dead.dial(t, p.addr), p.addr, config(alice))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewClient(conn, chans, reqs).NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.RequestPty("xterm", 24, 80, nil), s.Shell()); err != nil {
		t.Fatal(err)
	}
	dead.mute.Store(true)
	p.note.want(t, "the connection was lost")
	_ = conn.Close()
}

// mute is a connection whose other end hears nothing any more.
type mute struct {
	net.Conn
	mute atomic.Bool
}

func (m *mute) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	m.Conn = c
	return m
}

func (m *mute) Write(p []byte) (int, error) {
	if m.mute.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func TestTheEndTellsEverybody(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Grace: 500 * time.Millisecond})
	_, alice := p.key("alice@example.com")
	_, bob := p.key("bob@example.com")
	a := p.shell(alice)
	a.out.want(t, "hello")

	stuck, err := p.dial(bob) // logged in, and reads nothing of what fills the screen
	if err != nil {
		t.Fatal(err)
	}
	s, err := stuck.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := s.StdoutPipe()
	in, _ := s.StdinPipe()
	if err := errors.Join(s.RequestPty("xterm", 24, 80, nil), s.Shell()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAtLeast(out, make([]byte, 5), 5); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "f"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	idle, err := p.dial(bob) // without a session
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	p.stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	a.err.want(t, "the server is being stopped; what runs goes on")
	if got := a.status(); got != 130 {
		t.Errorf("status %d", got)
	}
	_ = stuck.Wait()
	_ = idle.Wait()
	if _, err := p.dial(alice); err == nil {
		t.Error("it still listens")
	}
	p.note.want(t, "alice@example.com: SSH session closed")
	p.note.want(t, "bob@example.com: SSH session closed")
}

func TestHostKey(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "new", "key")
	if _, err := HostKey(file, false); fault.KindOf(err) != fault.Config || !strings.Contains(fault.HintOf(err), "ssh-keygen -t ed25519") {
		t.Errorf("%v, %s", err, fault.HintOf(err))
	}
	first, err := HostKey(file, true)
	if err != nil || first.PublicKey().Type() != ssh.KeyAlgoED25519 {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := makeHostKey(file); err != nil { // by another at the same time
		t.Error(err)
	}
	again, err := HostKey(file, true)
	if err != nil || ssh.FingerprintSHA256(again.PublicKey()) != ssh.FingerprintSHA256(first.PublicKey()) {
		t.Error("another key", err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Error(left, err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := HostKey(file, true); fault.KindOf(err) != fault.Denied {
		t.Error(err)
	}
	if err := errors.Join(os.WriteFile(file, []byte("x"), 0o600), os.Chmod(file, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := HostKey(file, true); fault.KindOf(err) != fault.Config {
		t.Error(err)
	}
}
