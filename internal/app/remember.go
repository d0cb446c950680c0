package app

import (
	"context"
	"sync"
	"time"

	"dbops/internal/fault"
)

// room is where questions to control planes run: who asked may go away, the answer is for all. It ends with the App.
type room struct {
	ctx  context.Context //nolint:containedctx // of the questions
	stop context.CancelFunc
	wg   sync.WaitGroup
	now  func() time.Time // the wall clock: the monotonic one stands still while a laptop sleeps
}

func newRoom() *room {
	r := &room{now: func() time.Time { return time.Now().Round(0) }}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// close ends the questions that are under way, and waits for that.
func (r *room) close() {
	r.stop()
	r.wg.Wait()
}

// terms say how long an answer may be used.
type terms struct {
	op    string        // what the question is, for errors
	fresh time.Duration // without asking again
	keep  time.Duration // while whoever knows does not answer; 0: for ever
}

const (
	rememberRetry  = 10 * time.Second       // between two questions nobody answers, as long as an older answer can be used
	rememberWait   = 250 * time.Millisecond // for a new answer when an older one can be used
	rememberDoubt  = 3 * time.Second        // the same, when the older one is doubted
	rememberGiveUp = 20 * time.Second       // on one question
)

// remembered is an answer of a control plane, which many connections use and one asks for. While the control plane is down, or slow,
// the last answer goes on being used.
type remembered[T any] struct {
	terms terms
	ask   func(context.Context) (T, error)

	mu      sync.Mutex
	last    T
	known   bool
	at      time.Time     // of last
	until   time.Time     // it is not asked for again
	doubted bool          // what it led to did not work
	asking  chan struct{} // closed when the question under way is answered; nil if there is none
	err     error         // of the last question
}

// get returns the answer: a fresh one, else a new one, else the last one that was had.
func (m *remembered[T]) get(ctx context.Context, r *room) (T, error) {
	m.mu.Lock()
	now := r.now()
	if m.usable(now) && now.Before(m.until) {
		defer m.mu.Unlock()
		return m.last, nil
	}
	if m.asking == nil {
		if r.ctx.Err() != nil {
			defer m.mu.Unlock()
			return m.last, fault.New(fault.Interrupted, m.terms.op, context.Canceled)
		}
		m.asking = make(chan struct{})
		r.wg.Go(func() { m.question(r) })
	}
	asking, usable, doubted := m.asking, m.usable(now), m.doubted
	m.mu.Unlock()

	if err := wait(ctx, asking, usable, doubted); err != nil {
		var none T
		return none, unanswered(m.terms.op, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.usable(r.now()) {
		return m.last, nil
	}
	return m.last, m.err
}

// from is get for whoever does not know the room.
func (m *remembered[T]) from(r *room) func(context.Context) (T, error) {
	return func(ctx context.Context) (T, error) { return m.get(ctx, r) }
}

// usable tells whether the last answer may be given although it is not fresh. m.mu is held.
func (m *remembered[T]) usable(now time.Time) bool {
	return m.known && (m.terms.keep == 0 || now.Before(m.at.Add(m.terms.keep)))
}

// wait waits for an answer: as long as ctx lets it, or only a moment if an older one is at hand.
func wait(ctx context.Context, answered <-chan struct{}, usable, doubted bool) error {
	var over <-chan time.Time
	if usable {
		patience := rememberWait
		if doubted {
			patience = rememberDoubt
		}
		t := time.NewTimer(patience)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-answered:
	case <-over:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func unanswered(op string, err error) error {
	if fault.KindOf(err) == fault.Interrupted {
		return fault.New(fault.Interrupted, op, err)
	}
	return fault.Newf(fault.Unavailable, op, "no answer in time").
		Hint("the cloud's API does not answer; check the network and the VPN. Connections that are open go on")
}

// question asks, for all who wait.
func (m *remembered[T]) question(r *room) {
	ctx, cancel := context.WithTimeout(r.ctx, rememberGiveUp)
	defer cancel()
	answer, err := m.ask(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := r.now()
	switch m.err = err; {
	case err == nil:
		m.last, m.known, m.doubted, m.at, m.until = answer, true, false, now, now.Add(m.terms.fresh)
	case fault.KindOf(err) == fault.NotFound: // that is an answer
		m.known = false
	default:
		m.until = now.Add(rememberRetry)
	}
	close(m.asking)
	m.asking = nil
}

// learn takes an answer that was given to somebody else for one, unless there is one.
func (m *remembered[T]) learn(answer T, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		m.last, m.known, m.at, m.until = answer, true, now, now.Add(m.terms.fresh)
	}
}

// doubt makes the next get ask again, for what was answered led nowhere. It tells whether there was an answer to doubt.
func (m *remembered[T]) doubt() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until, m.doubted = time.Time{}, m.known
	return m.known
}
