package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"dbops/internal/fault"
)

// personKey is where a login keeps whose it is.
type personKey struct{}

// loggedIn is what is known of a login.
type loggedIn struct {
	person Person
	key    ssh.PublicKey
}

// login is how anybody logs in: with a key of somebody known, and in no other way.
func (s *Server) login() *ssh.ServerConfig {
	c := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-dbops",
		MaxAuthTries:  10, // an agent offers all its keys
		PublicKeyCallback: func(c ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			p, err := s.o.Who(key)
			if err != nil {
				s.o.Log.Warn("login refused", "key", ssh.FingerprintSHA256(key), "from", c.RemoteAddr().String(), "err", err)
				return nil, err
			}
			return &ssh.Permissions{ExtraData: map[any]any{personKey{}: loggedIn{p, key}}}, nil
		},
	}
	c.AddHostKey(s.o.HostKey)
	return c
}

// serve has one connection until it ends. What goes wrong in it ends only it.
func (s *Server) serve(ctx context.Context, raw net.Conn) {
	defer func() { _ = raw.Close() }()
	defer s.survive(raw)
	c := &conn{Conn: raw, silence: s.o.Silence, limit: time.Now().Add(s.o.LoginTime)}
	sc, chans, reqs, err := s.handshake(ctx, c)
	if err != nil {
		s.o.Log.Info("nobody logged in", "from", raw.RemoteAddr().String(), "err", err)
		return
	}
	defer func() { _ = sc.Close() }()
	who, ok := sc.Permissions.ExtraData[personKey{}].(loggedIn)
	if !ok {
		return
	}
	s.wg.Go(func() { ssh.DiscardRequests(reqs) }) // forwarding is asked for here: nothing is granted
	s.channels(ctx, c, sc, who, chans)
}

func (s *Server) handshake(ctx context.Context, c *conn) (*ssh.ServerConn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	select {
	case s.logins <- struct{}{}:
		defer func() { <-s.logins }()
	default:
		return nil, nil, nil, fmt.Errorf("%d others are logging in", cap(s.logins))
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	return ssh.NewServerConn(c, s.config)
}

// channels gives a connection its one session, and closes it when that is over.
func (s *Server) channels(ctx context.Context, c *conn, sc *ssh.ServerConn, who loggedIn, chans <-chan ssh.NewChannel) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errLost)
	s.wg.Go(func() { s.part(ctx, sc) })
	taken := false
	for n := range chans {
		switch {
		case n.ChannelType() != "session":
			_ = n.Reject(ssh.Prohibited, "there is nothing here but the terminal UI")
			continue
		case taken:
			_ = n.Reject(ssh.ResourceShortage, "there is one session in a connection: log in again for another")
			continue
		}
		ch, reqs, err := n.Accept()
		if err != nil {
			return
		}
		taken = true
		s.wg.Go(func() {
			defer cancel(nil)
			defer s.survive(c)
			v := &visit{server: s, conn: c, ssh: sc, who: who, ch: ch, sizes: make(chan Size, 1)}
			v.serve(ctx, cancel, reqs)
		})
	}
}

// errLost is why a session ends whose client has gone.
var errLost = errors.New("the connection was lost")

// part closes a connection some time after ctx has ended: until then the client may read the last words.
func (s *Server) part(ctx context.Context, sc *ssh.ServerConn) {
	closed := make(chan struct{})
	s.wg.Go(func() { _ = sc.Wait(); close(closed) })
	select {
	case <-closed:
		return
	case <-ctx.Done():
	}
	timer := time.NewTimer(s.o.Grace)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
		_ = sc.Close()
	}
}

// survive keeps a bug that one connection came upon from the others.
func (s *Server) survive(c net.Conn) {
	if v := recover(); v != nil {
		s.o.Log.Error("a connection ended in a bug of dbops", "from", c.RemoteAddr().String(), "panic", v, "stack", string(debug.Stack()))
	}
}

// conn is a connection that ends by itself: at a time until a terminal is shown, from then on when the other end is silent.
type conn struct {
	net.Conn
	silence time.Duration
	limit   time.Time
	shown   atomic.Bool
}

func (c *conn) until() time.Time {
	if c.shown.Load() {
		return time.Now().Add(c.silence)
	}
	return c.limit
}

func (c *conn) Read(p []byte) (int, error) {
	c.SetReadDeadline(c.until())
	return c.Conn.Read(p)
}

func (c *conn) Write(p []byte) (int, error) {
	c.SetWriteDeadline(c.until())
	return c.Conn.Write(p)
}

// show is when a terminal is shown: the reads that wait already have new time.
func (c *conn) show() {
	c.shown.Store(true)
	c.SetReadDeadline(c.until())
}

// denied tells whether an answer of Who is a no.
func denied(err error) bool { return fault.KindOf(err) == fault.Denied }
