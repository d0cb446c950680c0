package op

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Watch follows a run without working on it, until it ends, waits for a person, or nobody works on it any more. A run that waits in a queue
// of a team which no worker serves is waited for, and tell hears of that. tell (may be nil) gets the events after a number, in order.
func (e *Engine) Watch(ctx context.Context, id string, after int64, tell func(state.Event)) (state.Run, error) {
	w := &watcher{e: e, id: id, seen: after, tell: tell}
	for {
		run, over, err := w.look(ctx)
		if err != nil || over || run.Interrupted() || run.State == state.Queued && !run.Alive && !e.store.Team() {
			return run, err
		}
		if run.State == state.Queued && !run.Alive {
			w.sayThatNobodyServes(ctx, run)
		}
		if err := Sleep(ctx, e.o.Poll/4); err != nil {
			return run, fault.New(fault.Interrupted, "watch run "+id, err).Hint("the run goes on without you: dbops runs watch %s", id)
		}
	}
}

// sayThatNobodyServes tells, once for each time that it is so, that a run waits for a worker which nobody has started.
func (w *watcher) sayThatNobodyServes(ctx context.Context, run state.Run) {
	if w.tell == nil {
		return
	}
	workers, err := w.e.Workers(ctx)
	if err != nil {
		return
	}
	served := serves(workers, run.Queue)
	if !served && !w.said {
		w.tell(state.Event{At: time.Now(), Kind: EventWaiting, Text: fmt.Sprintf(
			"no worker serves the queue %s: start one with dbops worker --queue %s, or work on the run here with dbops runs resume %s", run.Queue, run.Queue, run.ID)})
	}
	w.said = !served
}

// serves tells whether one of the runners takes runs from a queue.
func serves(workers []state.Runner, queue string) bool {
	return slices.ContainsFunc(workers, func(w state.Runner) bool { return slices.Contains(w.Queues, queue) })
}
