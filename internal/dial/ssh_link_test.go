package dial

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// Who sees the end of a stream of a link finds its reason there already.
func TestALinkThatIsLostSaysSoBeforeItsStreamsEnd(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	l := &link{hops: []hop{{name: "bastion"}}, down: make(chan struct{}), first: near}
	stream := &overheard{near, l.lost}
	if err := l.gone(); err != nil {
		t.Fatal(err)
	}
	_ = far.Close()
	if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %v", err)
	}
	if err := l.gone(); err == nil || !strings.Contains(err.Error(), "the SSH connection to bastion was lost: EOF") {
		t.Errorf("gone: %v", err)
	}
	l.end(errSilent) // closes, and changes no reason
	if err := l.gone(); strings.Contains(err.Error(), errSilent.Error()) {
		t.Error(err)
	}
	if _, err := near.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("it is not closed: %v", err)
	}
}
