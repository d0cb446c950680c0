package op

import (
	"sync"
	"time"

	"dbops/internal/state"
)

// fence is what a runner knows of its own lease. It counts from when a renewal was sent, by whichever of two clocks says that more time
// passed: the monotonic one stands still while a laptop sleeps, and the wall clock can be set back.
type fence struct {
	ttl   time.Duration
	clock func() instant

	mu   sync.Mutex
	held bool
	sent instant // when the last renewal that was granted was sent
}

// instant is a moment by both clocks.
type instant struct {
	mono time.Duration
	wall time.Time
}

// newFence returns a fence that lets nothing pass until it is extended.
func newFence(ttl time.Duration) *fence {
	start := time.Now()
	return &fence{ttl: ttl, clock: func() instant {
		now := time.Now()
		return instant{now.Sub(start), now.Round(0)}
	}}
}

// extend asks the store for more time. That it grants it proves that nobody had the lease in between.
func (f *fence) extend(renew func() error) error {
	sent := f.clock()
	if err := renew(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held, f.sent = true, sent
	return nil
}

// check returns state.ErrLost when the lease may be over.
func (f *fence) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.clock()
	mono, wall := now.mono-f.sent.mono, now.wall.Sub(f.sent.wall)
	if !f.held || wall < 0 || max(mono, wall) >= f.ttl { // set back below the renewal: nobody knows how much passed
		return state.ErrLost
	}
	return nil
}
