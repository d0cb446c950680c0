package play

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how many requests a cloud takes from one caller: a bucket that holds Burst and gets PerSecond more. Its zero value takes all.
type Rate struct {
	Burst     int
	PerSecond float64
}

// Limits are the buckets of one service. Nil takes all.
type Limits struct {
	rate    Rate
	refused atomic.Int64
	lifted  atomic.Bool

	mu      sync.Mutex
	buckets map[string]*rate.Limiter // by caller
}

// NewLimits returns full buckets; nil for the zero Rate.
func NewLimits(r Rate) *Limits {
	if r == (Rate{}) {
		return nil
	}
	return &Limits{rate: r, buckets: map[string]*rate.Limiter{}}
}

// Take takes a request of a caller's. If the bucket is empty it takes none, and tells how long that will be so.
func (l *Limits) Take(caller string) (wait time.Duration, ok bool) {
	if l == nil || l.lifted.Load() {
		return 0, true
	}
	l.mu.Lock()
	b := l.buckets[caller]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(l.rate.PerSecond), l.rate.Burst)
		l.buckets[caller] = b
	}
	l.mu.Unlock()
	if b.Allow() {
		return 0, true
	}
	l.refused.Add(1)
	return time.Duration((1 - b.Tokens()) / l.rate.PerSecond * float64(time.Second)), false
}

// Lift has all be taken from now on.
func (l *Limits) Lift() {
	if l != nil {
		l.lifted.Store(true)
	}
}

// Refused is how many requests were not taken.
func (l *Limits) Refused() int {
	if l == nil {
		return 0
	}
	return int(l.refused.Load())
}
