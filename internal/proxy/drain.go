package proxy

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// drain ends every session: idle ones at once, the others when they become idle or when Config.DrainTimeout is over. It returns
// when all of wg have ended. stop ends ctx, and with it the connections that are no session yet. bye is what clients are told.
func (s *Server) drain(ctx context.Context, bye *refusal, stop context.CancelCauseFunc, wg *sync.WaitGroup) {
	s.mu.Lock()
	s.draining, s.goodbye = true, bye
	s.mu.Unlock()
	stop(bye)
	sessions := s.snapshot()
	s.log.InfoContext(ctx, "draining", "open", len(sessions))
	s.send(Event{Kind: "drain", Text: fmt.Sprintf("shutting down: %d connections are open", len(sessions))})
	for _, sess := range sessions {
		sess.drain(bye)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	timer := time.NewTimer(s.cfg.DrainTimeout)
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-timer.C:
	}
	for _, sess := range s.snapshot() {
		sess.stop(bye, "the proxy shut down before the transaction ended", true)
	}
	<-done
}

// watch ends sessions whose server has not acknowledged anything for too long: keepalives are not sent while data is under way. And those
// whose client is gone where nobody reads from it, because the server takes nothing.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(s.stuckEvery)
	defer ticker.Stop()
	var rest calm
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if rest.after(s.nextID.Load()) {
				debug.FreeOSMemory()
			}
			for _, sess := range s.snapshot() {
				if sess.stuckFor(now) >= s.stuckAfter {
					sess.stop(upstreamLost(sess.up.Instance), "the upstream stopped answering", true)
				} else if t := tcpOf(sess.client.socket); t != nil && reset(t) {
					sess.desert()
				}
			}
		}
	}
}

// stuckFor tells for how long the server has acknowledged nothing of what it was sent.
func (sess *session) stuckFor(now time.Time) time.Duration {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if !sess.live {
		return 0
	}
	if t := tcpOf(sess.server.Conn); t == nil || !stuck(t) {
		sess.stuck = time.Time{}
		return 0
	}
	if sess.stuck.IsZero() {
		sess.stuck = now
	}
	return now.Sub(sess.stuck)
}

// desert ends a session whose client has broken off.
func (sess *session) desert() {
	sess.mu.Lock()
	defer sess.mu.Unlock()
	if !sess.live || sess.ended {
		return
	}
	sess.say("the client vanished", true)
	sess.doomed = sess.doomed || sess.readOnly
	_ = sess.server.Conn.Close()
}
