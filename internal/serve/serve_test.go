package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// place is a server with the people of a test.
type place struct {
	t    *testing.T
	addr string
	dir  string
	log  *text
	note *text
	stop func() // and wait

	mu     sync.Mutex
	people map[string]Person // by fingerprint
	err    error             // why that cannot be found out
}

// text is written to by many.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
	at chan struct{} // something was written
}

func newText() *text { return &text{at: make(chan struct{}, 1)} }

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case x.at <- struct{}{}:
	default:
	}
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

func (x *text) want(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(x.String(), want) {
		select {
		case <-x.at:
		case <-late:
			t.Fatalf("no %q in:\n%s", want, x)
		}
	}
}

func open(t *testing.T, o Options) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), log: newText(), note: newText(), people: map[string]Person{}}
	key, err := HostKey(filepath.Join(p.dir, "host"), true)
	if err != nil {
		t.Fatal(err)
	}
	o.HostKey, o.Who, o.Log = key, p.who, slog.New(slog.NewTextHandler(p.log, nil))
	o.Note = func(_ context.Context, by Person, _, text string) { fmt.Fprintln(p.note, by.Name+": "+text) }
	if o.Show == nil {
		o.Show = show
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- New(o).Serve(ctx, l) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("it does not end")
		}
	})
	t.Cleanup(p.stop)
	return p
}

func (p *place) who(key ssh.PublicKey) (Person, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return Person{}, p.err
	}
	if one, ok := p.people[ssh.FingerprintSHA256(key)]; ok {
		return one, nil
	}
	return Person{}, fault.Newf(fault.Denied, "", "unknown")
}

func (p *place) set(key ssh.PublicKey, one *Person, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
	id := ssh.FingerprintSHA256(key)
	delete(p.people, id)
	if one != nil {
		p.people[id] = *one
	}
}

// key makes a key, of somebody unless name is empty, and returns its file.
func (p *place) key(name string) (file string, key ssh.Signer) {
	p.t.Helper()
	f, err := os.CreateTemp(p.dir, "key")
	if err != nil {
		p.t.Fatal(err)
	}
	file = f.Name()
	if err := errors.Join(f.Close(), os.Remove(file), makeHostKey(file)); err != nil {
		p.t.Fatal(err)
	}
	key, err = HostKey(file, false)
	if err != nil {
		p.t.Fatal(err)
	}
	if name != "" {
		p.set(key.PublicKey(), &Person{Name: name, May: "read", Key: ssh.FingerprintSHA256(key.PublicKey())}, nil)
	}
	return file, key
}

// show says who is there, repeats what is pressed, and ends with q; p panics, f fills the screen without end.
func show(ctx context.Context, s *Session) error {
	fmt.Fprintf(s.Out, "hello %s %dx%d %s\r\n", s.Person.Name, s.Size.W, s.Size.H, strings.Join(s.Env, " "))
	keys := make(chan byte)
	go func() {
		defer close(keys)
		for b := make([]byte, 1); ; {
			if _, err := io.ReadFull(s.In, b); err != nil {
				return
			}
			select {
			case keys <- b[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return fault.New(fault.Interrupted, "show", context.Cause(ctx))
		case n := <-s.Sizes:
			fmt.Fprintf(s.Out, "now %dx%d\r\n", n.W, n.H)
		case k, ok := <-keys:
			switch {
			case !ok:
				keys = nil
				continue
			case k == 'q':
				return nil
			case k == 'p':
				panic("on purpose")
			case k == 'f':
				for {
					if _, err := s.Out.Write(bytes.Repeat([]byte("x"), 1<<15)); err != nil {
						return err
					}
				}
			}
			fmt.Fprintf(s.Out, "key %c\r\n", k)
		}
	}
}

// client is a session of x/crypto's client.
type client struct {
	t    *testing.T
	conn *ssh.Client
	*ssh.Session
	in       io.Writer
	out, err *text
}

func config(key ssh.Signer) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		User: "anybody", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: patience,
	}
}

func (p *place) dial(key ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", p.addr, config(key))
}

func (p *place) shell(key ssh.Signer) *client {
	p.t.Helper()
	conn, err := p.dial(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	s, err := conn.NewSession()
	if err != nil {
		p.t.Fatal(err)
	}
	c := &client{t: p.t, conn: conn, Session: s, out: newText(), err: newText()}
	s.Stdout, s.Stderr = c.out, c.err
	if c.in, err = s.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	if err := errors.Join(s.RequestPty("xterm", 24, 80, nil), s.Shell()); err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (c *client) press(keys string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, keys); err != nil {
		c.t.Fatal(err)
	}
}

// status is what the session ended with.
func (c *client) status() int {
	c.t.Helper()
	err := c.Wait()
	if exit, ok := errors.AsType[*ssh.ExitError](err); ok {
		return exit.ExitStatus()
	}
	if err != nil {
		c.t.Fatalf("%v: %s%s", err, c.out, c.err)
	}
	return 0
}

// openssh is the real client (Debian: openssh-client).
func (p *place) openssh(key string, args ...string) *exec.Cmd {
	_, port, _ := net.SplitHostPort(p.addr)
	return exec.CommandContext(p.t.Context(), "ssh", append([]string{
		"-F", "none", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "UserKnownHostsFile=" + filepath.Join(p.dir, "known_hosts"),
		"-o", "StrictHostKeyChecking=accept-new", "-o", "BatchMode=yes", "-p", port, "-i", key,
	}, args...)...)
}
