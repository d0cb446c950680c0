package dial

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// place is an address as it was asked for: a name stays one.
type place string

func (place) Network() string  { return "tcp" }
func (p place) String() string { return string(p) }

// through is a TCP connection to the first hop of a way, which knows where the way ends.
type through struct {
	*net.TCPConn
	to place
}

// RemoteAddr is where the way ends.
func (c *through) RemoteAddr() net.Addr { return c.to }

// NetConn is the connection to the first hop.
func (c *through) NetConn() net.Conn { return c.TCPConn }

// bridged is a stream that knows no deadlines, made a connection that does.
type bridged struct {
	net.Conn // the near end of a pipe
	to       place
	lost     func(error) error
	end      func()        // closes raw
	written  chan struct{} // closed when nothing is written to raw any more

	mu  sync.Mutex
	err error // of raw
}

// bridge takes raw over. lost says, of its error or none, why it ended; nil if the peer ended it. Raw is not closed while it is written to, which
// not every library allows, unless that goes on and on.
func bridge(raw io.ReadWriteCloser, to place, lost func(error) error) net.Conn {
	near, far := net.Pipe()
	c := &bridged{Conn: near, to: to, lost: lost, written: make(chan struct{}), end: sync.OnceFunc(func() { _ = raw.Close() })}
	read := make(chan struct{})
	go func() { // ends with the near end's Close, after what was written before it, or with the other
		defer close(c.written)
		defer c.end()
		defer func() { _ = far.Close() }()
		_, err := io.CopyBuffer(writer{raw}, reader{far}, make([]byte, bridgeBuffer))
		if err == nil {
			return
		}
		t := time.NewTimer(reasonWithin)
		defer t.Stop()
		select { // what is read says why
		case <-read:
		case <-t.C:
		}
	}()
	go func() { // ends with raw
		defer func() { _ = far.Close() }()
		defer close(read)
		_, err := io.CopyBuffer(writer{far}, reader{raw}, make([]byte, bridgeBuffer))
		if errors.Is(err, io.ErrClosedPipe) { // the near end was closed
			err = nil
		}
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	}()
	return c
}

// Close ends the stream after what was written, if that is taken in time.
func (c *bridged) Close() error {
	err := c.Conn.Close()
	t := time.AfterFunc(closeWithin, c.end)
	go func() {
		<-c.written
		t.Stop()
	}()
	return err
}

const (
	bridgeBuffer = 64 << 10
	// reasonWithin is how long the reason may take of why nothing can be written any more.
	reasonWithin = time.Second
	// closeWithin is how long what was written before the end may take.
	closeWithin = 5 * time.Second
)

// writer and reader hide a ReadFrom and a WriteTo, which would take no notice of the buffer.
type (
	writer struct{ io.Writer }
	reader struct{ io.Reader }
)

// RemoteAddr is where the way ends.
func (c *bridged) RemoteAddr() net.Addr { return c.to }

// Read tells the end of a stream from the loss of what carried it.
func (c *bridged) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, c.explain(err)
}

// Write is as Read.
func (c *bridged) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, c.explain(err)
}

func (c *bridged) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) {
		c.mu.Lock()
		cause := c.err
		c.mu.Unlock()
		if why := c.lost(cause); why != nil {
			return why
		}
	}
	return err
}
