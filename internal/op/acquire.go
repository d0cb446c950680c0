package op

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// acquire takes the leases of a run and a place among those that this process works on, waiting for other runs that hold them, and returns
// the run as it was then. There are no leases, and no place, if the run has ended, or ends here because it was cancelled before it began.
func (r *runner) acquire(ctx context.Context, run state.Run, p *Plan) (begun state.Run, leases []state.Lease, err error) {
	targets := p.leases()
	told := ""
	for {
		text := fmt.Sprintf("%s, process %d, works on %d runs already, as many as it may at once", r.e.o.Host, os.Getpid(), r.e.o.Runs)
		if r.enter(run.State != state.Queued) { // what was begun is never kept waiting on its way
			begun, leases, err = r.tryAcquire(ctx, run.ID, targets)
			if leases != nil && err == nil {
				return begun, leases, nil
			}
			r.exit()
			held, ok := errors.AsType[*state.HeldError](err)
			if !ok {
				return begun, nil, err
			}
			if !r.e.store.Team() && held.Run != run.ID { // this process is the only one that works: it would wait for itself
				return run, nil, fault.New(fault.Busy, "begin "+run.Title, err).Hint("dbops runs show %s; when it has ended: dbops runs resume %s", held.Run, run.ID) // see withdrawn
			}
			if text = held.Error(); held.Run == run.ID {
				text = told // its own runner died: the lease will end
			}
		}
		if text != told {
			told = text
			_ = r.e.store.Tx(ctx, "say what is waited for", func(ctx context.Context, tx *state.Tx) error { // only told
				return tx.AddEvent(ctx, run.ID, state.Event{Kind: EventWaiting, Text: "waiting: " + text})
			})
		}
		if over, err := r.cancelled(ctx, run.ID); err != nil || over {
			return run, nil, err
		}
		if err := Sleep(r.stopping, r.e.o.Poll); err != nil { //nolint:contextcheck // the run goes on elsewhere when the process ends
			return run, nil, errStopped
		}
	}
}

// errOver says that a run needs no leases any more.
var errOver = errors.New("the run has ended")

// tryAcquire takes all leases of a run or none. A target that is not free is a state.HeldError.
func (r *runner) tryAcquire(ctx context.Context, id string, targets []string) (run state.Run, leases []state.Lease, err error) {
	err = r.e.store.Tx(ctx, "take the lease of "+targets[0], func(ctx context.Context, tx *state.Tx) error {
		leases = leases[:0]
		for _, t := range targets {
			l, err := tx.Acquire(ctx, t, id, r.id)
			if err != nil {
				return err
			}
			leases = append(leases, l)
		}
		var found bool
		if run, found, err = tx.LockRun(ctx, id); err != nil {
			return err
		}
		if !found || run.State.Ended() { // cancelled in the meantime, or brought to its end by another process
			return errOver
		}
		if err := tx.SetRunner(ctx, id, r.id); err != nil {
			return err
		}
		return tx.AddEvent(ctx, id, state.Event{Kind: EventRunner, Text: fmt.Sprintf("worked on by %s, process %d", r.e.o.Host, os.Getpid())})
	})
	if errors.Is(err, errOver) {
		return run, nil, nil
	}
	return run, leases, err
}

// cancelled ends a run that waits for its leases if it was told to cancel; over tells that it has ended.
func (r *runner) cancelled(ctx context.Context, id string) (over bool, err error) {
	var told []state.Control
	if err := r.e.store.Read(ctx, "look for orders", func(ctx context.Context, tx *state.Tx) (err error) {
		told, err = tx.Controls(ctx, id)
		return err
	}); err != nil || last(told, "", []state.Verb{state.Cancel}).Verb == "" {
		return false, err
	}
	err = r.e.store.Tx(ctx, "cancel run "+id, func(ctx context.Context, tx *state.Tx) error {
		run, found, err := tx.LockRun(ctx, id)
		if over = !found || run.State.Ended(); err != nil || over || run.State != state.Queued {
			return err
		}
		over = true
		by := Actor{}
		for _, c := range told {
			if c.Point == "" {
				by = Actor{c.Actor, c.Via}
				if err := tx.TakeControl(ctx, id, c.Seq, "before it began"); err != nil {
					return err
				}
			}
		}
		return r.e.cancelQueued(ctx, tx, run, by)
	})
	return over, err
}

// enter takes a place among the runs that this process works on. A worker has as many as it was given; a run that was begun gets one anyway.
func (r *runner) enter(begun bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.worker && !begun && r.busy >= r.e.o.Runs {
		return false
	}
	r.busy++
	return true
}

// exit gives the place of a run to another.
func (r *runner) exit() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
}
