package op

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dbops/internal/state"
)

// Leases of one target in a world with a fake clock: the store answers late or not at all, laptops sleep, clocks are set. What is looked
// for is an older holder that acts after a newer one has acted.

const simTTL = 30 * time.Second

// simStore is the store's part of package state, by its own clock.
type simStore struct {
	token   int
	holder  *holder
	expires time.Time
	down    bool
	lag     time.Duration // of each way
}

var errDown = errors.New("the store is down")

func (s *simStore) ask(h *holder, grant func() error) error {
	time.Sleep(s.lag)
	defer time.Sleep(s.lag)
	if s.down {
		return errDown
	}
	if err := grant(); err != nil {
		return err
	}
	s.holder, s.expires = h, time.Now().Add(simTTL)
	return nil
}

// holder is a process on a laptop of its own.
type holder struct {
	fence  *fence
	token  int
	asleep time.Duration // how long it was, of which its monotonic clock knows nothing
	set    time.Duration // how far its wall clock was set
}

func newHolder() *holder {
	h := &holder{fence: newFence(simTTL)}
	real := h.fence.clock
	h.fence.clock = func() instant {
		now := real()
		return instant{now.mono - h.asleep, now.wall.Add(h.set)}
	}
	return h
}

func (h *holder) take(s *simStore) error {
	return h.fence.extend(func() error {
		return s.ask(h, func() error {
			if s.holder != nil && s.holder != h && time.Now().Before(s.expires) {
				return state.ErrLost
			}
			s.token++
			h.token = s.token
			return nil
		})
	})
}

func (h *holder) renew(s *simStore) error {
	return h.fence.extend(func() error {
		return s.ask(h, func() error {
			if s.holder != h || s.token != h.token || !time.Now().Before(s.expires) {
				return state.ErrLost
			}
			return nil
		})
	})
}

// simOp is something that happens.
type simOp struct {
	What string
	Who  int
	For  time.Duration
}

func TestAnOlderHolderNeverActsAfterANewerOne(t *testing.T) {
	t.Parallel()
	happens := []string{"take", "renew", "act", "act", "time passes", "the store goes or comes", "the store is slow"}
	for name, more := range map[string][]string{
		"laptops sleep, and clocks are set forward": {"sleeps", "is set forward"},
		"clocks are set back and forward":           {"is set back", "is set forward"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ops := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) simOp {
				return simOp{
					rapid.SampledFrom(append(happens, more...)).Draw(t, "what"), rapid.IntRange(0, 2).Draw(t, "who"),
					rapid.SampledFrom([]time.Duration{time.Millisecond, 700 * time.Millisecond, 5 * time.Second, 10 * time.Second, 21 * time.Second, 29 * time.Second, 31 * time.Second, time.Hour}).Draw(t, "for"),
				}
			}), 1, 60)
			many(t, 4000, func(rt *rapid.T) {
				plan := ops.Draw(rt, "what happens")
				wrong := false
				synctest.Test(t, func(*testing.T) { wrong = simulateLeases(plan) })
				if wrong {
					rt.Fatal("an older holder acted after a newer one")
				}
			})
		})
	}
}

func simulateLeases(plan []simOp) (wrong bool) {
	s := &simStore{}
	holders := make([]*holder, 3)
	newest := 0
	for _, o := range plan {
		h := holders[o.Who]
		switch o.What {
		case "take": // a process that starts
			n := newHolder()
			if n.take(s) == nil {
				holders[o.Who] = n
			}
			continue
		case "time passes":
			time.Sleep(o.For)
			continue
		case "the store goes or comes":
			s.down = !s.down
			continue
		case "the store is slow":
			s.lag = o.For / 4
			continue
		}
		if h == nil {
			continue
		}
		switch o.What {
		case "renew":
			_ = h.renew(s)
		case "sleeps":
			h.asleep += o.For
			time.Sleep(o.For)
		case "is set forward":
			h.set += o.For
		case "is set back":
			h.set -= o.For
		case "act":
			if h.fence.check() == nil {
				wrong = wrong || h.token < newest
				newest = max(newest, h.token)
			}
		}
	}
	return wrong
}

// What chance may take long to find.
func TestALeaseIsOverInTime(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		plan func(s *simStore, h *holder)
		held bool
	}{
		"just before its end":             {func(_ *simStore, _ *holder) { time.Sleep(simTTL - 1) }, true},
		"at its end":                      {func(_ *simStore, _ *holder) { time.Sleep(simTTL) }, false},
		"the laptop slept":                {func(_ *simStore, h *holder) { h.asleep = time.Hour; time.Sleep(time.Hour) }, false},
		"the clock was set back a little": {func(_ *simStore, h *holder) { time.Sleep(simTTL); h.set = -3 * time.Second }, false},
		"the clock was set back far":      {func(_ *simStore, h *holder) { h.set = -time.Hour }, false},
		"the clock was set forward far":   {func(_ *simStore, h *holder) { h.set = time.Hour }, false},
		"the clock was set back and the lease renewed": {func(s *simStore, h *holder) {
			h.set = -time.Hour
			if err := h.renew(s); err != nil {
				panic(err)
			}
		}, true},
		"the answer to a renewal came late": {func(s *simStore, h *holder) {
			s.lag = 10 * time.Second
			if err := h.renew(s); err != nil {
				panic(err)
			}
			time.Sleep(10 * time.Second) // 30 s after it was sent, 10 s before its end in the store
		}, false},
		"the store was down for two renewals": {func(s *simStore, h *holder) {
			time.Sleep(6 * time.Second)
			s.down = true
			for range 2 {
				if h.renew(s) == nil {
					panic("it was renewed by nobody")
				}
				time.Sleep(6 * time.Second)
			}
			s.down = false
			if err := h.renew(s); err != nil {
				panic(err)
			}
			time.Sleep(simTTL - 1)
		}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, h := &simStore{}, newHolder()
			if h.fence.check() == nil {
				t.Errorf("%s: it is held before it was granted", name)
			}
			if err := h.take(s); err != nil {
				t.Fatal(err)
			}
			c.plan(s, h)
			if err := h.fence.check(); (err == nil) != c.held {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
}
