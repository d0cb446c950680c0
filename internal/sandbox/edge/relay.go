package edge

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// linger is how long a client may take to read what was last said to it.
const linger = time.Second

// relay carries bytes both ways until the server has ended; a client that ends is not heard any more, but may still read.
// from holds what was read of the server already.
func relay(client, server net.Conn, from *bufio.Reader) {
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = io.Copy(server, client)
		halfClose(server)
	})
	if _, err := io.CopyN(client, from, int64(from.Buffered())); err == nil {
		_, _ = io.Copy(client, server)
	}
	halfClose(client)
	_ = client.SetReadDeadline(time.Now().Add(linger))
	_ = server.Close()
	wg.Wait()
	drain(client)
}

// fatal tells the client why its session ends, and returns that as an error.
func fatal(c *started, code, message string) error {
	why := errors.New(code + ": " + message)
	b, err := (&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message}).Encode(nil)
	if err != nil {
		return errors.Join(why, err)
	}
	if _, err := c.Write(b); err != nil {
		return errors.Join(why, err)
	}
	halfClose(c.Conn)
	drain(c)
	return why
}

// drain reads what the client still sends: a byte left unread would turn the close into a reset, and the last words be lost.
func drain(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(linger))
	_, _ = io.Copy(io.Discard, c)
}

// halfClose says on c, and on the connections below it, that nothing more will come.
func halfClose(c net.Conn) {
	for c != nil {
		if w, ok := c.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
		c = below(c)
	}
}

// cut closes so that the other side sees a reset, as when a host goes away, and waits for nothing.
func cut(c net.Conn) {
	for next := below(c); next != nil; next = below(c) {
		c = next
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func below(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *tls.Conn:
		return c.NetConn()
	case *prefixed:
		return c.Conn
	case *started:
		return c.Conn
	}
	return nil
}
