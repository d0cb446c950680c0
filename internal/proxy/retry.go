package proxy

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	startPause    = 250 * time.Millisecond // between two looks whether an instance has started
	reachedLately = 10 * time.Minute       // an instance that was reached is expected back
)

// tries decides whether a login that failed is tried again. All tries together have Config.ConnectTimeout.
type tries struct {
	s        *Server
	up       *Upstream
	begun    time.Time
	count    int
	last     error // of the try before
	unsynced bool  // tried again for errUnsynced
	stale    bool  // tried again for what was remembered
}

// patience bounds how long the first try waits for the first word of a server at an address that may have been remembered: one that
// was failed over from may accept connections and never speak.
func (t *tries) patience() time.Duration {
	if t.count == 0 && t.up.Stale != nil {
		return t.s.cfg.ConnectTimeout / 3
	}
	return 0
}

// again tells whether to try again after err, and when.
func (t *tries) again(err error) (after time.Duration, again bool) {
	t.count++
	if errors.Is(err, errUnsynced) && !t.unsynced {
		t.unsynced = true
		return 0, true
	}
	if !t.stale && t.up.Stale != nil {
		t.stale = true
		// A silent server was given less time than a login has: that time is what is left.
		if t.up.Stale(err) || t.count == 1 && errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, true
		}
	}
	if time.Since(t.begun) < t.s.cfg.StartWait && (starting(err) || restarting(err) && t.s.reachedLately(t.up.Instance)) {
		return startPause, true
	}
	return 0, false
}

// failed is why all tries failed, and in what time: a last try that was cut off knows less than the one before.
func (t *tries) failed(ctx context.Context, err error) (in time.Duration, why error) {
	if ctx.Err() == nil {
		return time.Since(t.begun).Round(100 * time.Millisecond), err
	}
	if t.last != nil {
		err = t.last
	}
	return t.s.cfg.ConnectTimeout, err
}

// starting is what a server says that will soon be there.
func starting(err error) bool {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pe.Code == "57P03"
}

// restarting is how a server that restarts looks from outside.
func restarting(err error) bool {
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func (s *Server) reachedNow(instance string) { s.reached.Store(instance, time.Now()) }

func (s *Server) reachedLately(instance string) bool {
	at, ok := s.reached.Load(instance)
	if !ok {
		return false
	}
	t, ok := at.(time.Time)
	return ok && time.Since(t) < reachedLately
}

// pause waits, and tells whether ctx still lets go on.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
