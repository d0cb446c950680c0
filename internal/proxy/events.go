package proxy

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// hub hands events to subscribers. Who does not keep up loses the oldest ones; nobody waits for a subscriber.
type hub struct {
	mu     sync.Mutex
	subs   map[chan Event]struct{}
	missed int64
	closed bool
}

// send tells everybody.
func (s *Server) send(e Event) {
	e.At = time.Now()
	if s.cfg.Observe != nil {
		s.cfg.Observe(e)
	}
	s.hub.send(e)
}

// Note tells subscribers, and the log, what whoever runs the proxy has to say.
func (s *Server) Note(ctx context.Context, failure bool, text string) {
	level := slog.LevelInfo
	if failure {
		level = slog.LevelWarn
	}
	s.log.LogAttrs(ctx, level, "note", slog.String("text", text))
	s.send(Event{Kind: "note", Failure: failure, Text: text})
}

func (h *hub) send(e Event) {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.subs {
		select {
		case c <- e:
			continue
		default:
		}
		select { // only send writes to c, so there is room after this
		case <-c:
			h.missed++
		default:
		}
		c <- e
	}
}

func (h *hub) subscribe(buffer int) (events <-chan Event, cancel func()) {
	c := make(chan Event, max(1, buffer))
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		close(c)
		return c, func() {}
	}
	if h.subs == nil {
		h.subs = map[chan Event]struct{}{}
	}
	h.subs[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if _, ok := h.subs[c]; ok {
			delete(h.subs, c)
			close(c)
		}
	}
}

func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c := range h.subs {
		close(c)
	}
	h.subs = nil
}

func (h *hub) missedCount() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// Events subscribes to what happens from now on. When buffer (at least 1) events wait to be read, the oldest is dropped and
// counted in [Totals]. The channel is closed by cancel, and when Serve returns; cancel may be called more than once.
func (s *Server) Events(buffer int) (events <-chan Event, cancel func()) {
	return s.hub.subscribe(buffer)
}
