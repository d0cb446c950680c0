//go:build unix

package proxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair is both ends of a connection of the kernel's.
func pair(tb testing.TB) (ours, theirs net.Conn) {
	tb.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	defer ln.Close()
	theirs, err = net.Dial("tcp", ln.Addr().String())
	must(tb, err)
	ours, err = ln.Accept()
	must(tb, err)
	tb.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

func TestASocketIsReadWithoutWaiting(t *testing.T) {
	ours, theirs := pair(t)
	s := newSocket(ours, &buffers{})
	p := make([]byte, 10)
	s.now = true
	if n, err := s.Read(p); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nothing was sent: %d %v", n, err)
	}
	_, err := theirs.Write([]byte("hello, world"))
	must(t, err)
	s.now = false
	_, err = io.ReadFull(s, p[:1])
	must(t, err)
	must(t, s.wait())
	s.now = true
	n, err := s.Read(p)
	must(t, err)
	if string(p[:n]) != "ello, worl" {
		t.Errorf("%q", p[:n])
	}
	s.now = false
	n, err = s.Read(p) // what was read and not taken comes first
	if string(p[:n]) != "d" || err != nil || s.buf != nil {
		t.Errorf("%q %v, holds a buffer: %t", p[:n], err, s.buf != nil)
	}
	must(t, theirs.Close())
	must(t, s.wait())
	for range 2 {
		if n, err := s.Read(p); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d %v", n, err)
		}
	}
}

// held counts the buffers that are out.
func held(b *buffers) func() int {
	var mu sync.Mutex
	out := 0
	b.watch = func(n int) {
		mu.Lock()
		defer mu.Unlock()
		out += n
	}
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return out
	}
}

// sealedPair is both ends of TLS; ours is on a socket.
func sealedPair(tb testing.TB, pool *buffers) (ours, theirs *tls.Conn) {
	tb.Helper()
	local, ca, err := LocalTLS()
	must(tb, err)
	local.DynamicRecordSizingDisabled = true // as New sets it
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(ca)
	a, b := pair(tb)
	ours = tls.Server(newSocket(a, pool), local)
	theirs = tls.Client(b, &tls.Config{RootCAs: cas, ServerName: "localhost", MinVersion: tls.VersionTLS12})
	done := make(chan error)
	go func() { done <- ours.Handshake() }()
	must(tb, theirs.Handshake())
	must(tb, <-done)
	return ours, theirs
}

func TestWhoWaitsHoldsNoBuffer(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		pool := &buffers{}
		out := held(pool)
		var ours, theirs net.Conn
		if sealed {
			ours, theirs = sealedPair(t, pool)
		} else {
			ours, theirs = pair(t)
		}
		s := newStream(ours, pool)
		if s.sock == nil || s.sealed != sealed {
			t.Fatalf("sealed %t: %+v", sealed, s)
		}
		got := make(chan string)
		go func() {
			for {
				p, err := s.next()
				if err != nil {
					close(got)
					return
				}
				got <- string(p)
			}
		}()
		for _, text := range []string{"one", "two", string(bytes.Repeat([]byte("many"), 100_000))} {
			go func() { _, _ = io.WriteString(theirs, text) }()
			var all []byte
			for len(all) < len(text) {
				all = append(all, <-got...)
			}
			if string(all) != text {
				t.Errorf("sealed %t: %d bytes, not those that were sent", sealed, len(all))
			}
			eventually(t, "no buffer is held", func() bool { return out() == 0 })
		}
		must(t, theirs.Close())
		if _, more := <-got; more {
			t.Error("there is something after the end")
		}
		if out() != 0 {
			t.Errorf("%d buffers are held after the end", out())
		}
	}
}

func TestADeadlineWakesWhoWaits(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		pool := &buffers{}
		ours, theirs := pair(t)
		conn, far := ours, theirs
		if sealed {
			conn, far = sealedPair(t, pool)
		}
		s := newStream(conn, pool)
		woken := make(chan error)
		go func() {
			_, err := s.next()
			woken <- err
		}()
		must(t, conn.SetReadDeadline(time.Unix(1, 0)))
		if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("sealed %t: %v", sealed, err)
		}
		must(t, conn.SetReadDeadline(time.Time{}))
		_, err := far.Write([]byte("and on"))
		must(t, err)
		if p, err := s.next(); string(p) != "and on" || err != nil {
			t.Errorf("sealed %t: %q %v", sealed, p, err)
		}
		go func() {
			_, err := s.next()
			woken <- err
		}()
		must(t, conn.Close())
		if err := <-woken; err == nil {
			t.Error("a closed connection is still read")
		}
		s.end()
	}
}

func TestManyRecordsAreOneWrite(t *testing.T) {
	pool := &buffers{}
	out := held(pool)
	ours, theirs := sealedPair(t, pool)
	s := newStream(ours, pool)
	var sizes []int // of the writes
	put := s.sock.write
	s.sock.write = func(fd uintptr) bool {
		sizes = append(sizes, len(s.sock.rest))
		return put(fd)
	}
	text := make([]byte, bulkSize)
	fill(text)
	for _, size := range []int{10, recordTo, recordTo + 1, bulkSize} {
		sizes = nil
		must(t, s.send(text[:size])) // the kernel has room for it
		got := make([]byte, size)
		_, err := io.ReadFull(theirs, got)
		must(t, err)
		if !bytes.Equal(got, text[:size]) {
			t.Errorf("%d bytes came as others", size)
		}
		if len(sizes) != 1 {
			t.Errorf("%d bytes are %d writes: %v", size, len(sizes), sizes)
		}
	}
	must(t, theirs.Close())
	must(t, ours.NetConn().(*socket).NetConn().Close())
	if err := s.send(text); err == nil {
		t.Error("a write to a closed connection succeeds")
	}
	if out() != 0 {
		t.Errorf("%d buffers are held", out())
	}
}

func TestAWriteThatHasNoRoomWaits(t *testing.T) {
	ours, theirs := pair(t)
	s := newSocket(ours, &buffers{})
	text := make([]byte, 16<<20)
	fill(text)
	sent := make(chan error)
	go func() {
		_, err := s.Write(text)
		sent <- err
	}()
	got := make([]byte, len(text))
	_, err := io.ReadFull(theirs, got)
	must(t, err)
	must(t, <-sent)
	if !bytes.Equal(got, text) {
		t.Error("other bytes came than were sent")
	}

	go func() {
		n, err := s.Write(text) // nobody reads
		if n == 0 || n == len(text) {
			err = errors.New("all or nothing was written")
		}
		sent <- err
	}()
	eventually(t, "some has come", func() bool { n, err := theirs.Read(got[:1]); return n == 1 && err == nil })
	must(t, s.SetWriteDeadline(time.Unix(1, 0)))
	err = <-sent
	if oe, ok := errors.AsType[*net.OpError](err); !ok || oe.Op != "write" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	must(t, s.SetWriteDeadline(time.Time{}))
	must(t, ours.(*net.TCPConn).SetLinger(0))
	must(t, ours.(*net.TCPConn).CloseWrite())
	if _, err := s.Write(text); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after the end: %v", err)
	}
}
