package op

import (
	"context"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Watch follows a run without working on it, until it ends, waits for a person, or nobody works on it any more. tell (may be nil) gets
// the events after a number, in order.
func (e *Engine) Watch(ctx context.Context, id string, after int64, tell func(state.Event)) (state.Run, error) {
	w := &watcher{e: e, id: id, seen: after, tell: tell}
	for {
		run, over, err := w.look(ctx)
		if err != nil || over || run.Interrupted() || run.State == state.Queued && !run.Alive && !e.store.Team() {
			return run, err
		}
		if err := Sleep(ctx, e.o.Poll/4); err != nil {
			return run, fault.New(fault.Interrupted, "watch run "+id, err).Hint("the run goes on without you: dbops runs watch %s", id)
		}
	}
}
