package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// served is a server that answers at some times of the bubble's clock, from the test's beginning.
func served(begun time.Time, down func(at time.Duration) bool) func(context.Context) error {
	return func(context.Context) error {
		if down(time.Since(begun)) {
			return &pgconn.PgError{Code: "57P03", Message: "the database system is starting up"}
		}
		return nil
	}
}

func between(at, from, to time.Duration) bool { return at >= from && at < to }

func TestAProbeMeasuresOutages(t *testing.T) {
	const ms = time.Millisecond
	for name, c := range map[string]struct {
		down    func(at time.Duration) bool
		runs    time.Duration
		want    Measured
		atFirst time.Duration
		atLast  time.Duration
	}{
		"a server that always answers has none": {
			down: func(time.Duration) bool { return false }, runs: 1050 * ms, want: Measured{Attempts: 6},
		},
		"one outage lasts from its first failure to the next answer": {
			down: func(at time.Duration) bool { return between(at, 300*ms, 900*ms) }, runs: 2050 * ms,
			want: Measured{Attempts: 11, Failures: 3, Outages: 1, Longest: 600 * ms, Total: 600 * ms}, atFirst: 400 * ms, atLast: 800 * ms,
		},
		"two outages are told apart": {
			down: func(at time.Duration) bool { return between(at, 200*ms, 400*ms) || between(at, 1000*ms, 1600*ms) }, runs: 2050 * ms,
			want: Measured{Attempts: 11, Failures: 4, Outages: 2, Longest: 600 * ms, Total: 800 * ms}, atFirst: 200 * ms, atLast: 1400 * ms,
		},
		"an outage that goes on is counted up to the end": {
			down: func(at time.Duration) bool { return at >= 1000*ms }, runs: 1500 * ms,
			want: Measured{Attempts: 8, Failures: 3, Outages: 1, Longest: 500 * ms, Total: 500 * ms, Down: true}, atFirst: 1000 * ms, atLast: 1400 * ms,
		},
		"a server that never answered is down from the first attempt": {
			down: func(time.Duration) bool { return true }, runs: 1050 * ms,
			want: Measured{Attempts: 6, Failures: 6, Outages: 1, Longest: 1050 * ms, Total: 1050 * ms, Down: true}, atLast: 1000 * ms,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				p := StartProbe(t.Context(), ProbeOptions{Try: served(begun, c.down)})
				time.Sleep(c.runs)
				now := p.Measured()
				got := p.Stop()
				if again := p.Stop(); again != got || now != got {
					t.Errorf("three answers to one question: %+v, %+v, %+v", now, got, again)
				}
				want := c.want
				want.Since, want.Until = begun, begun.Add(c.runs)
				if want.Failures > 0 {
					want.FirstFailure, want.LastFailure, want.Cause = begun.Add(c.atFirst), begun.Add(c.atLast), "57P03 the database system is starting up"
				}
				if got != want {
					t.Errorf("got  %+v\nwant %+v", got, want)
				}
			})
		})
	}
}

func TestAnAttemptIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := StartProbe(t.Context(), ProbeOptions{Timeout: 500 * time.Millisecond, Try: func(ctx context.Context) error {
			if between(time.Since(begun), time.Second, 2*time.Second) { // as behind a firewall that drops
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}})
		time.Sleep(3050 * time.Millisecond)
		got := p.Stop()
		if got.Outages != 1 || got.Down || got.Total != 1*time.Second || got.Cause != "no answer in time" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAnAnswerThatComesTooLateIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := StartProbe(t.Context(), ProbeOptions{Timeout: 100 * time.Millisecond, Try: func(context.Context) error {
			time.Sleep(150 * time.Millisecond) // heeds no context
			return nil
		}})
		time.Sleep(time.Second)
		if got := p.Stop(); got.Attempts == 0 || got.Failures != got.Attempts {
			t.Errorf("got %+v", got)
		}
	})
}

func TestTheSlowestAnswerIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int32
		p := StartProbe(t.Context(), ProbeOptions{Try: func(context.Context) error {
			if n.Add(1) == 2 {
				time.Sleep(700 * time.Millisecond)
			}
			return nil
		}})
		time.Sleep(2 * time.Second)
		if got := p.Stop(); got.Slowest != 700*time.Millisecond || got.Failures != 0 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAnAttemptThatPanicsHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := StartProbe(t.Context(), ProbeOptions{Try: func(context.Context) error { panic("secret") }})
		time.Sleep(time.Second)
		if got := p.Stop(); got.Failures != got.Attempts || got.Attempts < 5 || got.Cause != "no connection" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestAnAttemptThatWasStoppedDoesNotCount(t *testing.T) {
	for name, end := range map[string]func(p *Probe, cancel context.CancelFunc){
		"by Stop":        func(*Probe, context.CancelFunc) {},
		"by the context": func(p *Probe, cancel context.CancelFunc) { cancel(); <-p.done },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				p := StartProbe(ctx, ProbeOptions{Timeout: time.Hour, Try: func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				}})
				time.Sleep(time.Minute)
				end(p, cancel)
				if got := p.Stop(); got.Attempts != 0 || got.Failures != 0 || got.Down {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

func TestWaitingForAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := StartProbe(t.Context(), ProbeOptions{Try: served(begun, func(at time.Duration) bool { return at > 0 && at < 5*time.Second })})
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if p.Served(ctx, time.Now()) {
			t.Error("an answer that was before counts")
		}
		if !p.Served(t.Context(), time.Now()) || time.Since(begun) != 5*time.Second {
			t.Errorf("served after %s", time.Since(begun))
		}
		p.Stop()
		if p.Served(t.Context(), time.Now()) {
			t.Error("one that has ended was served")
		}
	})
}

func TestACauseHoldsNoSecret(t *testing.T) {
	for want, err := range map[string]error{
		"57P03 starting":           fmt.Errorf("connect to user=me: %w", &pgconn.PgError{Code: "57P03", Message: "starting"}),
		"no answer in time":        fmt.Errorf("hunter2: %w", context.DeadlineExceeded),
		"dial: connection refused": fmt.Errorf("hunter2: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}),
		"no connection":            errors.New("password=hunter2"),
		"":                         nil,
	} {
		if got := Cause(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
