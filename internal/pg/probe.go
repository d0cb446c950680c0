package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ProbeOptions say how a [Probe] asks.
type ProbeOptions struct {
	// Try makes one attempt and ends with its context: see [Answers].
	Try func(ctx context.Context) error
	// Interval between the beginnings of two attempts; one that takes longer delays the next. Defaults to 200 ms.
	Interval time.Duration
	// Timeout of one attempt, after which it has failed. Defaults to 2 s.
	Timeout time.Duration
}

// Measured is what a probe has seen. An outage lasts from the beginning of the first attempt that failed to the end of the first that
// was served again, which is what a client that tries all the time would notice; it is exact to an interval.
type Measured struct {
	Since    time.Time
	Until    time.Time
	Attempts int
	Failures int // attempts that were not served

	FirstFailure time.Time // when it was made; zero without one
	LastFailure  time.Time
	Cause        string // of the last failure, in words that hold no secret: "57P03 the database system is starting up"

	Outages int
	Longest time.Duration
	Total   time.Duration // of all outages
	Down    bool          // the last attempt failed: the last outage is counted up to Until
	Slowest time.Duration // of the attempts that were served
}

// Probe asks a server again and again whether it answers.
type Probe struct {
	o    ProbeOptions
	stop context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	m      Measured
	served time.Time     // when the last served attempt ended
	closed time.Duration // of the outages that are over
	since  time.Time     // of the outage that is not; zero without one
	tick   chan struct{} // closed and renewed after each attempt
}

// StartProbe begins to ask, at once. The caller ends it with [Probe.Stop], also when ctx has ended.
func StartProbe(ctx context.Context, o ProbeOptions) *Probe {
	if o.Interval <= 0 {
		o.Interval = 200 * time.Millisecond
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	p := &Probe{o: o, done: make(chan struct{}), tick: make(chan struct{})}
	p.m.Since = time.Now()
	ctx, p.stop = context.WithCancel(ctx)
	go p.run(ctx)
	return p
}

func (p *Probe) run(ctx context.Context) {
	defer close(p.done)
	t := time.NewTicker(p.o.Interval)
	defer t.Stop()
	for {
		begun := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return // this attempt failed because nobody waits for it
		}
		p.note(begun, time.Now(), err)
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// once makes one attempt.
func (p *Probe) once(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("it panicked: %v", v)
		}
	}()
	if err := p.o.Try(ctx); err != nil {
		return err
	}
	return ctx.Err() // served too late
}

func (p *Probe) note(begun, ended time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.tick)
	p.tick = make(chan struct{})
	p.m.Attempts++
	if err != nil {
		p.m.Failures++
		if p.m.FirstFailure.IsZero() {
			p.m.FirstFailure = begun
		}
		p.m.LastFailure, p.m.Cause = begun, Cause(err)
		if p.since.IsZero() {
			p.since = begun
			p.m.Outages++
		}
		return
	}
	p.served = ended
	p.m.Slowest = max(p.m.Slowest, ended.Sub(begun))
	if !p.since.IsZero() {
		lasted := ended.Sub(p.since)
		p.closed += lasted
		p.m.Longest = max(p.m.Longest, lasted)
		p.since = time.Time{}
	}
}

// Measured is what it has seen until now.
func (p *Probe) Measured() Measured {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at(time.Now())
}

func (p *Probe) at(now time.Time) Measured {
	m := p.m
	m.Until, m.Total = now, p.closed
	if !p.since.IsZero() {
		open := now.Sub(p.since)
		m.Down, m.Total, m.Longest = true, p.closed+open, max(m.Longest, open)
	}
	return m
}

// Served waits until an attempt has been served that ended after a moment. It returns false if ctx, or the probe, ends before.
func (p *Probe) Served(ctx context.Context, after time.Time) bool {
	for {
		p.mu.Lock()
		ok, tick := p.served.After(after), p.tick
		p.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-tick:
		case <-p.done:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Stop ends the probe, waits until it has ended, and returns what it saw. It may be called twice.
func (p *Probe) Stop() Measured {
	p.stop()
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m.Until.IsZero() {
		p.m = p.at(time.Now())
	}
	return p.m
}

// Answers is an attempt for a [Probe]: a new connection, and a query on it. The configuration is asked for each time, as an address or
// a login token may have changed.
func Answers(config func(context.Context) (*pgconn.Config, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		cfg, err := config(ctx)
		if err != nil {
			return err
		}
		conn, err := pgconn.ConnectConfig(ctx, cfg)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "select 1").ReadAll()
		return errors.Join(err, conn.Close(ctx))
	}
}

// Cause is why a server did not serve, without anything that a connection's configuration could have put into the error's text.
func Cause(err error) string {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code + " " + e.Message
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Err != nil {
		return e.Op + ": " + e.Err.Error()
	}
	return "no connection"
}
