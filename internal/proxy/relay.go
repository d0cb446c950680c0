package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// relay copies both ways until the session ends, and leaves both connections closed.
func (sess *session) relay(ctx context.Context) {
	sess.mu.Lock() // who drains or stops it sets deadlines on the same connections
	client, server := newStream(sess.client.Conn, sess.pool), newStream(sess.server.Conn, sess.pool)
	sess.mu.Unlock()
	left := make(chan struct{})
	go func() {
		defer close(left)
		sess.copyFromClient(ctx, client, server)
	}()
	told := sess.copyFromServer(server, client)

	sess.mu.Lock()
	sess.ended = true
	sess.say("the session ended", false)
	working := sess.talk.working() && sess.doomed
	if sess.cut != nil {
		sess.cut.Stop()
	}
	sess.mu.Unlock()

	_ = sess.client.SetDeadline(time.Now().Add(lastWords)) // copyFromClient drops what comes until then
	if told != nil {
		_, _ = sess.client.Write(encode(nil, &told.told))
	}
	sess.client.shut()
	if working {
		sess.abandon(ctx)
	}
	_ = sess.server.Conn.Close()
	<-left
	_ = sess.client.Close()
}

// abandon cancels what the session runs, as nobody will read the answer.
func (sess *session) abandon(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cancelTimeout)
	defer cancel()
	_ = sess.cancelUpstream(ctx) // closing the connection follows in any case
}

// copyFromClient passes on what the client sends. After the end of the session it goes on reading, and drops what comes.
func (sess *session) copyFromClient(ctx context.Context, from, to *stream) {
	defer from.end()
	for {
		p, err := from.next()
		if err != nil {
			sess.clientLeft(ctx, err)
			return
		}
		if sess.takeFromClient(p) && to.send(p) != nil {
			sess.serverDeaf()
		}
	}
}

// takeFromClient follows what the client sent, and tells whether it is to be passed on.
func (sess *session) takeFromClient(p []byte) bool {
	sess.fromClient.Add(int64(len(p)))
	sess.active.Store(time.Now().UnixNano())
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.ended {
		return false
	}
	sess.talk.fromClient(p)
	return true
}

// serverDeaf bounds the time in which a server that takes nothing any more can still say why.
func (sess *session) serverDeaf() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.lastCall.IsZero() {
		sess.lastCall = time.Now().Add(grace)
		_ = sess.server.Conn.SetReadDeadline(sess.lastCall)
	}
}

// clientLeft ends the session upstream. Nothing is said there in the client's name: a message cut short must stay so.
func (sess *session) clientLeft(ctx context.Context, err error) {
	sess.mu.Lock()
	if sess.ended {
		sess.mu.Unlock()
		return
	}
	sess.gone = true
	vanished := sess.talk.working() && !sess.talk.goodbye || !errors.Is(err, io.EOF)
	switch {
	case sess.talk.failed: // and not one of a statement: those are followed by ReadyForQuery
		sess.say("the server ended the session", true)
	case sess.talk.goodbye:
		sess.say("the client said goodbye", false)
	case vanished:
		sess.say("the client vanished", true)
	default:
		sess.say("the client closed the connection", false)
	}
	if !vanished {
		sess.lastCall = time.Now().Add(grace)
		_ = sess.server.Conn.SetReadDeadline(sess.lastCall)
	}
	cancel := vanished && sess.readOnly && sess.talk.working()
	sess.mu.Unlock()

	if !vanished && (closeWrite(sess.server.Conn) || sess.saidGoodbye()) {
		return
	}
	if cancel {
		sess.abandon(ctx)
	}
	_ = sess.server.Conn.Close()
}

func (sess *session) saidGoodbye() bool {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	return sess.talk.goodbye
}

// copyFromServer passes on what the server sends until the session ends. It returns what the client must still be told: only
// after a whole message, else nil.
func (sess *session) copyFromServer(from, to *stream) *refusal {
	defer from.end()
	for {
		p, err := from.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if told, end := sess.woken(); end {
				return told
			}
			continue
		case err != nil:
			return sess.serverLeft(err)
		}
		pass, told, end := sess.takeFromServer(p)
		if to.send(p[:pass]) != nil {
			sess.clientDeaf()
			return nil
		}
		if end {
			return told
		}
	}
}

// takeFromServer follows what the server sent: the first pass bytes go to the client, and if the session ends there, so does told.
func (sess *session) takeFromServer(p []byte) (pass int, told *refusal, end bool) {
	sess.active.Store(time.Now().UnixNano())
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if sess.stopped != nil {
		pass, end = sess.talk.fromServer(p, true)
		told = sess.stopped
	} else {
		pass, _ = sess.talk.fromServer(p, false)
		told, end = sess.drained()
	}
	sess.toClient.Add(int64(pass))
	sess.ended = sess.ended || end
	return pass, told, end
}

// drained tells whether a session that is being drained ends here. sess.mu is held.
func (sess *session) drained() (told *refusal, end bool) {
	if !sess.draining || !sess.talk.between() || sess.gone {
		return nil, false
	}
	sess.say("the proxy shut down", false)
	sess.ended = true
	return sess.goodbye, true
}

// woken decides why reading from the server stopped: the session ends here, or goes on with a new deadline.
func (sess *session) woken() (told *refusal, end bool) {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	now := time.Now()
	next := sess.lastCall
	switch {
	case sess.stopped != nil && sess.talk.server.boundary():
		sess.ended = true
		return sess.stopped, true
	case sess.stopped != nil:
		if !now.Before(sess.stopBy) {
			sess.ended = true
			return nil, true
		}
		next = sess.stopBy
	case !sess.lastCall.IsZero() && !now.Before(sess.lastCall):
		sess.ended = true
		return nil, true
	default:
		if told, end := sess.drained(); end {
			return told, true
		}
	}
	_ = sess.server.Conn.SetReadDeadline(next)
	return nil, false
}

// clientDeaf notes that the client takes nothing any more.
func (sess *session) clientDeaf() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.ended = true
	if sess.stopped == nil {
		sess.say("the client vanished", true)
	}
	sess.doomed = sess.doomed || sess.readOnly
}

// serverLeft decides what a client is told when the server's stream ended: nothing if the server gave its reason, or was asked to
// go, or left in the middle of a message.
func (sess *session) serverLeft(err error) *refusal {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.ended = true
	whole := sess.talk.server.boundary()
	switch {
	case sess.stopped != nil && whole:
		return sess.stopped
	case sess.stopped != nil || sess.gone || sess.talk.goodbye:
		if sess.talk.goodbye { // and the server's end was heard before the client's
			sess.say("the client said goodbye", false)
		}
		return nil
	case whole && sess.talk.failed:
		sess.say("the server ended the session", true)
		return nil
	}
	reason := "the upstream was lost"
	if !errors.Is(err, io.EOF) {
		reason += ": " + err.Error()
	}
	sess.say(reason, true)
	if !whole {
		return nil
	}
	return upstreamLost(sess.up.Instance)
}
