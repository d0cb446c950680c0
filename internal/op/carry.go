package op

import (
	"context"
	"errors"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Carry brings another run on as a part of this one, in this process unless somebody else works on it, and returns it when it has ended or waits for
// a person. Whoever cancels the step cancels that run, and it is waited for until it has stopped. tell (may be nil) gets what happens in it.
func (s *Session) Carry(ctx context.Context, id string, tell func(state.Event)) (state.Run, error) {
	if s.carry == nil {
		return state.Run{}, fault.Newf(fault.Internal, "carry run "+id, "this run is nobody's")
	}
	return s.carry(ctx, id, tell)
}

// carrier carries the runs that are parts of a run.
func (r *runner) carrier(whole *dbosBook) func(context.Context, string, func(state.Event)) (state.Run, error) {
	return func(ctx context.Context, id string, tell func(state.Event)) (state.Run, error) {
		r.exit() // the part needs a place of its own
		defer r.enter(true)
		w := &watcher{e: r.e, id: id, tell: tell}
		past, err := r.e.Events(ctx, id, 0) // a part that goes on has told them
		if err != nil {
			return state.Run{}, err
		}
		if len(past) > 0 {
			w.seen = past[len(past)-1].Seq
		}
		for {
			run, over, err := w.look(r.stopping) //nolint:contextcheck // what the part does is seen though the step was told to stop
			if err != nil || over {
				return run, err
			}
			if why := context.Cause(ctx); why != nil && !errors.Is(why, errCancelled) {
				return run, why
			} else if why != nil {
				return r.cancelPart(run, whole.actor)
			}
			if !run.Alive {
				if err := r.e.bury(ctx); err != nil {
					return run, err
				}
				if _, err := r.adopt(ctx, run, r.queues[0]); err != nil && ctx.Err() == nil {
					return run, err
				}
			}
			_ = Sleep(ctx, min(r.e.o.Poll/4, 40*time.Millisecond)) // why it ended is seen above
		}
	}
}

// cancelPart stops a part whose step was cancelled, and waits until it has stopped.
func (r *runner) cancelPart(run state.Run, by Actor) (state.Run, error) {
	ctx := r.stopping
	if err := r.e.Tell(ctx, run.ID, state.Cancel, by, "run "+run.PartOf+" was cancelled"); err != nil && fault.KindOf(err) != fault.Usage { // it has stopped by itself
		return run, err
	}
	for w := (&watcher{e: r.e, id: run.ID}); ; {
		run, over, err := w.look(ctx)
		if err != nil {
			return run, err
		}
		if over {
			return run, errCancelled
		}
		if err := Sleep(ctx, min(r.e.o.Poll/4, 40*time.Millisecond)); err != nil {
			return run, errStopped
		}
	}
}
