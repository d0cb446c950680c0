package dial

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// stream is one of a library that knows no deadlines.
type stream struct {
	io.Reader
	io.Writer
	close func() error
}

func (s stream) Close() error { return s.close() }

// halves are a stream and its other side.
func halves() (raw stream, in *io.PipeReader, out *io.PipeWriter) {
	fromFar, toNear := io.Pipe()
	in, toFar := io.Pipe()
	return stream{fromFar, toFar, func() error { return errors.Join(fromFar.Close(), toFar.Close()) }}, in, toNear
}

func noReason(error) error { return nil }

func TestABridgedStreamKnowsDeadlines(t *testing.T) {
	leakless(t)
	raw, in, out := halves()
	c := bridge(raw, "db:5432", noReason)
	if err := c.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after its deadline: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = out.Write([]byte("late")) }()
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "late" {
		t.Errorf("what came after it: %q, %v", b, err)
	}
	if _, err := c.Write([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(in); string(all) != "bye" || err != nil {
		t.Errorf("what was written before the end: %q, %v", all, err)
	}
	if _, err := c.Read(b); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("after its end: %v", err)
	}
}

func TestABridgedStreamSaysWhyItEnded(t *testing.T) {
	leakless(t)
	broken := errors.New("broken")
	for name, ends := range map[string]func(in *io.PipeReader, out *io.PipeWriter){
		"while somebody reads": func(_ *io.PipeReader, out *io.PipeWriter) { _ = out.CloseWithError(broken) },
		"while somebody writes, first": func(in *io.PipeReader, out *io.PipeWriter) {
			_, _ = in.CloseWithError(io.EOF), out.CloseWithError(broken)
		},
	} {
		raw, in, out := halves()
		c := bridge(raw, "db:5432", func(err error) error { return err })
		ends(in, out)
		_, _ = c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		_ = c.Close()
		_ = in.Close()
	}
	raw, in, out := halves()
	c := bridge(raw, "db:5432", func(err error) error { return err })
	_ = out.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end of the stream: %v", err)
	}
	if a := c.RemoteAddr(); a.Network() != "tcp" || a.String() != "db:5432" {
		t.Errorf("it leads to %s %s", a.Network(), a)
	}
	_, _ = c.Close(), in.Close()
}
