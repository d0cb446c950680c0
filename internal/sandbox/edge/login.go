package edge

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// dial opens TLS to the server, showing it the certificate of role.
func (e *Edge) dial(ctx context.Context, role string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conf, err := e.cfg.Backend.TLS(role)
	if err != nil {
		return nil, err
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.cfg.Backend.Addr)
	if err != nil {
		return nil, err
	}
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	var ask [8]byte
	binary.BigEndian.PutUint32(ask[:4], 8)
	binary.BigEndian.PutUint32(ask[4:], sslRequest)
	if _, err := raw.Write(ask[:]); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	var says [1]byte
	if _, err := io.ReadFull(raw, says[:]); err != nil || says[0] != 'S' {
		return nil, errors.Join(errors.New("the server has no TLS"), err, raw.Close())
	}
	t := tls.Client(raw, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return t, nil
}

// forwardCancel hands a cancel request to the server, which knows its key, and waits until it was taken.
func (e *Edge) forwardCancel(ctx context.Context, raw []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.cfg.Backend.Addr)
	if err != nil {
		return err
	}
	defer b.Close()
	_ = b.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := b.Write(raw); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, b)
	return err
}

// askToken has the client prove that it may be role. PostgreSQL has let the role in by its certificate already.
func (e *Edge) askToken(client net.Conn, role string) error {
	check := e.tokens.Load()
	if check == nil {
		return fatal(client, "28000", fmt.Sprintf("IAM authentication is not enabled, it is needed for user %q", role))
	}
	ask, err := (&pgproto3.AuthenticationCleartextPassword{}).Encode(nil)
	if err != nil {
		return err
	}
	if _, err := client.Write(ask); err != nil {
		return err
	}
	var head [5]byte
	if _, err := io.ReadFull(client, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if head[0] != 'p' || n < 5 || n > maxToken {
		return fatal(client, "08P01", "expected password response")
	}
	token := make([]byte, n-4)
	if _, err := io.ReadFull(client, token); err != nil {
		return err
	}
	if err := (*check)(role, string(token[:len(token)-1])); err != nil {
		return errors.Join(err, fatal(client, "28000", fmt.Sprintf("PAM authentication failed for user %q", role)))
	}
	return nil
}

// fatal tells the client why and returns that as an error.
func fatal(c net.Conn, code, message string) error {
	b, err := (&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: code, Message: message}).Encode(nil)
	if err == nil {
		_, err = c.Write(b)
	}
	if t, ok := c.(interface{ CloseWrite() error }); ok { // an unread byte of the client would turn the close into a reset
		_ = t.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		_, _ = io.CopyN(io.Discard, c, 1<<16)
	}
	return errors.Join(errors.New(code+": "+message), err)
}

func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

func databaseOf(p map[string]string) string {
	if d := p["database"]; d != "" {
		return d
	}
	return p["user"]
}

// prefixed gives back a byte that was read to see what comes.
type prefixed struct {
	net.Conn
	prefix []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}
