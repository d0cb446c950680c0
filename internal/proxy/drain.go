package proxy

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// drain ends every session: idle ones at once, the others when they become idle or when Config.DrainTimeout is over. It returns
// when all of wg have ended. stop ends ctx, and with it the connections that are no session yet.
func (s *Server) drain(ctx context.Context, stop context.CancelCauseFunc, wg *sync.WaitGroup) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	stop(shuttingDown())
	sessions := s.snapshot()
	s.log.InfoContext(ctx, "draining", "open", len(sessions))
	s.hub.send(Event{Kind: "drain", Text: fmt.Sprintf("shutting down: %d connections are open", len(sessions))})
	for _, sess := range sessions {
		sess.drain()
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
		sess.stop(shuttingDown(), "the proxy shut down before the transaction ended", true)
	}
	<-done
}

// watch ends sessions whose server has not acknowledged anything for too long: keepalives are not sent while data is under way.
func (s *Server) watch(ctx context.Context) {
	ticker := time.NewTicker(s.stuckEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, sess := range s.snapshot() {
				if sess.stuckFor(now) >= s.stuckAfter {
					sess.stop(upstreamLost(sess.up.Instance), "the upstream stopped answering", true)
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
