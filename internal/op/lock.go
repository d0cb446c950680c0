package op

import (
	"context"
	"time"

	"dbops/internal/state"
)

// Locker marks a target where it is, so that who works from another store sees that somebody changes it. It guards against accidents: whoever
// may change the target may remove the mark.
type Locker interface {
	// Lock marks a target for a run until a moment; again for the same run sets the moment anew. A mark of another run that is not over
	// is a fault.Busy that names it, unless ended says that it has ended.
	Lock(ctx context.Context, t Target, run string, until time.Time, ended func(run string) bool) error

	// Unlock removes the run's mark; one that is not there is fine.
	Unlock(ctx context.Context, t Target, run string) error
}

// lockTTL is how long a mark is good. It is removed when the run ends; this bounds what a killed process leaves behind.
const lockTTL = 24 * time.Hour

func (r *runner) lock(ctx context.Context, p *Plan, id string) error {
	if r.e.o.Locker == nil || p.Untouched {
		return nil
	}
	return r.e.o.Locker.Lock(ctx, p.Target, id, time.Now().Add(lockTTL), func(other string) (ended bool) {
		err := r.e.store.Read(ctx, "look for run "+other, func(ctx context.Context, tx *state.Tx) error {
			run, found, err := tx.Run(ctx, other)
			ended = found && run.State.Ended()
			return err
		})
		return err == nil && ended
	})
}

func (r *runner) unlock(ctx context.Context, p *Plan, id string) {
	if r.e.o.Locker == nil || p.Untouched {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := r.e.o.Locker.Unlock(ctx, p.Target, id); err != nil {
		r.e.o.Log.Warn("the mark on the target could not be removed; it ends by itself", "target", p.Target.String(), "error", err)
	}
}
