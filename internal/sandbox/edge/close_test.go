package edge

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// slow is a listener that does something when it has been closed.
type slow struct {
	net.Listener
	then func()
}

func (s slow) Close() error {
	err := s.Listener.Close()
	s.then()
	return err
}

func TestNobodyListensAfterTheEnd(t *testing.T) {
	t.Parallel()
	e := New(Config{}, certificate("server"))
	if err := e.Listen(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	listened := errors.New("not tried")
	e.mu.Lock()
	e.ln = slow{e.ln, func() { listened = e.Listen(context.Background(), "127.0.0.1:0") }}
	e.mu.Unlock()
	closed := make(chan error, 1)
	go func() { closed <- e.Close() }()
	select {
	case err := <-closed:
		if err != nil || !errors.Is(listened, net.ErrClosed) {
			t.Errorf("closed: %v, in the middle of it: %v", err, listened)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the end waits for somebody who began to listen in the middle of it")
	}
}

func TestManyBeginToListenAtOnce(t *testing.T) {
	t.Parallel()
	e := New(Config{}, certificate("server"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := e.Listen(context.Background(), "127.0.0.1:0"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", e.Addr()); err == nil {
		_ = c.Close()
		t.Error("it listens after the end")
	}
}

func TestAServerThatIsSilentIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), func(p *peer) { _, _ = io.Copy(io.Discard, p) })
	e := start(t, b, func(c *Config) { c.StartupTimeout = time.Second })
	if code, message := fatalOf(t, enter(t, e, "me")); code != "57P03" {
		t.Error(code, message)
	}
	eventually(t, "the session has ended", func() bool { return e.count() == 0 })
}

// late is a listener whose connections take their time between the kernel and the edge.
type late struct {
	net.Listener
	taken, give chan struct{}
}

func (l late) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		close(l.taken)
		<-l.give
	}
	return c, err
}

func TestAConnectionThatIsNotYetASessionIsCut(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	if err := e.Refuse(); err != nil {
		t.Fatal(err)
	}
	raw, err := net.Listen("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ln := late{raw, make(chan struct{}), make(chan struct{})}
	accepted := make(chan struct{})
	e.mu.Lock()
	e.ln, e.accepted = ln, accepted
	e.wg.Go(func() {
		defer close(accepted)
		e.accept(ln)
	})
	e.mu.Unlock()
	c := dial(t, e)
	<-ln.taken
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		_ = e.Refuse()
		e.DropAll()
	}()
	select { // Refuse must not end before it
	case <-cut:
	case <-time.After(50 * time.Millisecond):
	}
	close(ln.give)
	<-cut
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error(err)
	}
}

// moody is a listener that fails before it works.
type moody struct {
	net.Listener
	failures int
}

func (m *moody) Accept() (net.Conn, error) {
	if m.failures > 0 {
		m.failures--
		return nil, errors.New("no descriptors left")
	}
	return m.Listener.Accept()
}

func TestAListenerThatFailsForAWhileGoesOn(t *testing.T) {
	t.Parallel()
	b := serve(t, certificate("server"), welcome)
	e := start(t, b, nil)
	if err := e.Refuse(); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", e.Addr())
	if err != nil {
		t.Fatal(err)
	}
	e.mu.Lock()
	e.ln = ln
	e.wg.Go(func() { e.accept(&moody{ln, 3}) })
	e.mu.Unlock()
	receive(t, enter(t, e, "me"))
}
