package op

import (
	"context"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Locker marks a target where it is, so that who works from another store sees that somebody changes it. It guards against accidents: whoever
// may change the target may remove the mark.
type Locker interface {
	// Lock marks the target of a session's plan for its run until a moment. Again for the same run it changes nothing while at least half of
	// that time is left, and else sets the moment anew. A mark of another run that is not over is a fault.Busy that names it, unless ended
	// says that it has ended. The session is told what is waited for.
	Lock(ctx context.Context, s *Session, until time.Time, ended func(run string) bool) error

	// Unlock removes the run's mark; one that is not there is fine.
	Unlock(ctx context.Context, t Target, run string) error
}

// lockTTL is how long a mark is good. It is removed when the run ends; this bounds what a killed process leaves behind. Half of it is what
// the longest step waits for a cloud: see [CloudPace].
const lockTTL = 24 * time.Hour

// lockLook is how often a process looks at the mark of a run at most: looking is a question to the cloud.
const lockLook = time.Hour

// marker keeps the mark of one run in the world.
type marker struct {
	r       *runner
	session Session
	looked  time.Time
}

func (m *marker) idle() bool { return m.r.e.o.Locker == nil || m.session.Plan.Untouched }

// keep sees before a step that the target has the run's mark, and that it will last: a run may have waited for a person for days.
func (m *marker) keep(ctx context.Context, p point) error {
	if m.idle() || time.Since(m.looked) < lockLook {
		return nil
	}
	now := time.Now()
	err := m.r.e.o.Locker.Lock(ctx, &m.session, now.Add(lockTTL), m.ended(ctx))
	if p.Pos > 0 && fault.KindOf(err) == fault.NotFound { // the run itself has renamed or removed it
		err = nil
	}
	if err == nil {
		m.looked = now
	}
	return err
}

// ended tells whether another run is known here, and over.
func (m *marker) ended(ctx context.Context) func(other string) bool {
	return func(other string) (ended bool) {
		err := m.r.e.store.Read(ctx, "look for run "+other, func(ctx context.Context, tx *state.Tx) error {
			run, found, err := tx.Run(ctx, other)
			ended = found && run.State.Ended()
			return err
		})
		return err == nil && ended
	}
}

func (m *marker) remove(ctx context.Context) {
	if m.idle() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := m.r.e.o.Locker.Unlock(ctx, m.session.Plan.Target, m.session.Run); err != nil {
		m.r.e.o.Log.Warn("the mark on the target could not be removed; it ends by itself", "target", m.session.Plan.Target.String(), "error", err)
	}
}
