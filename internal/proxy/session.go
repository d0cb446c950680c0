package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lastWords = time.Second     // for a message of ours to get to the client
	grace     = 5 * time.Second // for the server to end a session whose client left politely
)

// session is one client connection from the password on.
type session struct {
	id       uint64
	up       *Upstream
	app      string
	key      cancelKey
	since    time.Time
	readOnly bool // a client that vanishes takes its statement with it
	pool     *buffers
	peer     *lookup

	loginTook time.Duration // set before begin
	told      chan struct{} // closed when it has been told that the session is open

	client *client
	ctx    context.Context //nolint:containedctx // of the login upstream
	cancel context.CancelCauseFunc
	server *upstream // set by begin; from then on unchanged

	fromClient, toClient atomic.Int64 // bytes
	active               atomic.Int64 // unix nanoseconds of the last byte

	mu       sync.Mutex
	live     bool // server is set
	talk     talk
	draining bool
	goodbye  *refusal  // what the client is told when it has been drained
	stopped  *refusal  // what ends the session from outside
	stopBy   time.Time // when it ends in the middle of a message if need be
	doomed   bool      // what the server still runs is to be cancelled
	lastCall time.Time // when the server must have ended the session by itself
	gone     bool      // the client has left
	ended    bool      // nothing is passed on any more
	reason   string    // why it ended, for the log; the first one stays
	failure  bool
	stuck    time.Time // since when the server acknowledges nothing
	cut      *time.Timer
}

// begin makes the session live. Draining may have begun before.
func (sess *session) begin(u *upstream) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.server, sess.live = u, true
	sess.talk.tx = u.TxStatus
	if sess.draining || sess.stopped != nil {
		sess.wake()
	}
}

// wake makes the server's direction look at the session again. sess.mu is held.
func (sess *session) wake() { _ = sess.server.Conn.SetReadDeadline(time.Unix(1, 0)) }

// drain ends the session with r as soon as nothing runs and no transaction is open.
func (sess *session) drain(r *refusal) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.draining, sess.goodbye = true, r
	if sess.live {
		sess.wake()
	}
}

// stop ends the session now: with r told to the client if a message's end comes in time.
func (sess *session) stop(r *refusal, reason string, failure bool) {
	sess.cancel(r)
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.stopped != nil || sess.ended {
		return
	}
	sess.stopped, sess.stopBy, sess.doomed = r, time.Now().Add(lastWords), true
	sess.say(reason, failure)
	if !sess.live {
		return
	}
	_ = sess.client.SetWriteDeadline(sess.stopBy) // a client that does not read
	sess.wake()
	sess.cut = time.AfterFunc(2*lastWords, sess.sever) // a network connection without deadlines
}

// sever closes both sockets, whatever is under way.
func (sess *session) sever() {
	_ = sess.client.socket.Close()
	if t := tcpOf(sess.server.Conn); t != nil {
		_ = t.Close()
	} else {
		_ = sess.server.Conn.Close()
	}
}

// say keeps the first reason. sess.mu is held.
func (sess *session) say(reason string, failure bool) {
	if sess.reason == "" {
		sess.reason, sess.failure = reason, failure
	}
}

// connection describes the session as of now.
func (sess *session) connection() Connection {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	c := Connection{
		ID:          sess.id,
		Client:      sess.client.from(),
		Peer:        sess.peer.now(),
		Application: sess.app,
		Database:    sess.up.Database,
		Instance:    sess.up.Instance,
		Since:       sess.since,
		State:       "starting",
		FromClient:  sess.fromClient.Load(),
		ToClient:    sess.toClient.Load(),
		LastActive:  time.Unix(0, sess.active.Load()),
	}
	if sess.live {
		c.User, c.State = sess.server.Config.User, sess.talk.state()
	}
	return c
}

// farewell is the last thing a client is told: it is written, the end of the stream follows, and what the client still sends is
// read and dropped, so that the message is not lost to a reset.
func (c *client) farewell(r *refusal) {
	c.tell(r)
	c.drop()
}

func (c *client) tell(r *refusal) {
	_ = c.SetDeadline(time.Now().Add(lastWords))
	_, _ = c.Write(encode(nil, &r.told))
	c.shut()
}

// shut ends the stream to the client, and leaves the other one open.
func (c *client) shut() {
	_ = closeWrite(c.Conn)
	if c.socket != c.Conn {
		_ = closeWrite(c.socket)
	}
}

func (c *client) drop() {
	var b [512]byte
	for {
		if _, err := c.socket.Read(b[:]); err != nil {
			return
		}
	}
}

// closeWrite ends one direction of a connection, where it can be done.
func closeWrite(c net.Conn) bool {
	w, ok := c.(interface{ CloseWrite() error })
	return ok && w.CloseWrite() == nil
}
