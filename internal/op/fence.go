package op

import (
	"sync"
	"time"

	"dbops/internal/state"
)

// fence is what a runner knows of its own lease. It counts from when a renewal was sent, by the wall clock: the monotonic one stands still
// while a laptop sleeps, and its lease would seem fresh after days.
type fence struct {
	ttl time.Duration
	now func() time.Time

	mu      sync.Mutex
	expires time.Time
}

func newFence(ttl time.Duration) *fence { return &fence{ttl: ttl, now: wall} }

func wall() time.Time { return time.Now().Round(0) }

// extend asks the store for more time.
func (f *fence) extend(renew func() error) error {
	sent := f.now()
	if err := renew(); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expires = sent.Add(f.ttl)
	return nil
}

// check returns state.ErrLost when the lease may be over. A clock that jumped back does not make it longer than it was given for.
func (f *fence) check() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	if left := f.expires.Sub(now); left <= 0 || left > f.ttl {
		return state.ErrLost
	}
	return nil
}
