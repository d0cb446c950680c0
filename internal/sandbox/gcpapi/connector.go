package gcpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	handshakeTimeout = 20 * time.Second
	maxHandshakes    = 64  // at a time, for one instance
	maxSessions      = 500 // for one instance
	maxMetadata      = 4 << 10

	// mdxSignature starts the metadata exchange, which a client may or may not begin with.
	mdxSignature = "CSQLMDEX"
)

// connector is the server-side proxy of one instance: TLS 1.3 on port 3307, with a certificate from both sides; inside it speaks
// PostgreSQL in the clear.
type connector struct {
	listener net.Listener
	config   func() *tls.Config
	serve    func(ctx context.Context, conn net.Conn, email string) error
	log      *slog.Logger

	ctx   context.Context //nolint:containedctx // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup
	slots chan struct{} // handshakes

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// openPort starts the connector port of an instance.
func (s *Server) openPort(ctx context.Context, inst *instance) (*connector, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(inst.IP, connectorPort))
	if err != nil {
		return nil, fmt.Errorf("open the connector port of %s: %w (where only 127.0.0.1 exists: `sudo ifconfig lo0 alias %s`)",
			inst.DB.Name, err, inst.IP)
	}
	p := &connector{
		listener: l, log: s.cfg.Log.With("instance", inst.DB.Name), slots: make(chan struct{}, maxHandshakes),
		conns:  map[net.Conn]struct{}{},
		config: func() *tls.Config { return s.portConfig(inst) },
		serve: func(ctx context.Context, conn net.Conn, email string) error {
			s.mu.Lock()
			srv := inst.server
			s.mu.Unlock()
			if srv == nil {
				return errors.New("the instance has no server")
			}
			return srv.Handle(ctx, conn, s.databaseUser(inst, email))
		},
	}
	p.ctx, p.stop = context.WithCancel(s.ctx)
	p.wg.Go(p.accept)
	return p, nil
}

// portConfig is the TLS side of the port: the server's certificate as it is now, and the client CA.
func (s *Server) portConfig(inst *instance) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{inst.cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: inst.ClientCA.CA.Pool(),
		SessionTicketsDisabled: true, // a resumed session would outlive its certificate
	}
}

func (p *connector) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() == nil {
				p.log.Error("connector port", "error", err)
			}
			return
		}
		if !p.add(conn) {
			_ = conn.Close()
			continue
		}
		p.wg.Go(func() {
			defer p.drop(conn)
			if err := p.session(conn); err != nil {
				p.log.Info("connector session", "client", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// add counts a connection in, unless there are too many.
func (p *connector) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil || len(p.conns) >= maxSessions {
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *connector) drop(conn net.Conn) {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	_ = conn.Close()
}

func (p *connector) session(raw net.Conn) error {
	conn, email, err := p.handshake(raw)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // says goodbye, if somebody still listens
	return p.serve(p.ctx, conn, email)
}

// handshake proves both sides to each other and answers the metadata exchange, if there is one.
func (p *connector) handshake(raw net.Conn) (net.Conn, string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, handshakeTimeout)
	defer cancel()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, "", errors.New("too many handshakes at a time")
	}
	conn := tls.Server(raw, p.config())
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, "", fmt.Errorf("handshake: %w", err)
	}
	email, err := principal(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, "", err
	}
	deadline, _ := ctx.Deadline()
	raw.SetDeadline(deadline)
	rest, err := exchangeMetadata(conn)
	if err != nil {
		return nil, "", fmt.Errorf("metadata exchange: %w", err)
	}
	raw.SetDeadline(time.Time{})
	return &prefixed{Conn: conn, rest: rest}, email, nil
}

// exchangeMetadata answers a metadata exchange with OK. It returns what it has read of the session that follows.
func exchangeMetadata(rw io.ReadWriter) ([]byte, error) {
	first := make([]byte, len(mdxSignature)) // no PostgreSQL session starts with less
	if _, err := io.ReadFull(rw, first); err != nil {
		return nil, err
	}
	if !bytes.Equal(first, []byte(mdxSignature)) {
		return first, nil
	}
	var size uint32
	if err := binary.Read(rw, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	if size > maxMetadata {
		return nil, fmt.Errorf("the message has %d bytes", size)
	}
	if _, err := io.CopyN(io.Discard, rw, int64(size)); err != nil {
		return nil, err
	}
	answer := []byte{0x08, 0x01} // MetadataExchangeResponse{response_code: OK}
	out := binary.BigEndian.AppendUint32([]byte(mdxSignature), uint32(len(answer)))
	_, err := rw.Write(append(out, answer...))
	return nil, err
}

// prefixed is a connection some of which was read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (c *prefixed) Read(b []byte) (int, error) {
	if len(c.rest) > 0 {
		n := copy(b, c.rest)
		c.rest = c.rest[n:]
		return n, nil
	}
	return c.Conn.Read(b)
}

// CloseWrite tells the client that nothing more comes: some wait for that before they end.
func (c *prefixed) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the port, cuts its sessions and waits for them.
func (p *connector) Close() error {
	p.stop()
	err := p.listener.Close()
	p.mu.Lock()
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return err
}
