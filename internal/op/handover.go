package op

import (
	"context"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// HandOver leaves a run to the workers of a team. Again changes nothing. Without a worker it is a fault.Busy, and the run waits for one.
func (e *Engine) HandOver(ctx context.Context, id string) error {
	what := "hand run " + id + " to the workers"
	if !e.store.Team() {
		return fault.Newf(fault.Usage, what, "the state is a file of one person, and has no workers").Hint("dbops runs resume %s", id)
	}
	run, err := e.Run(ctx, id)
	if err != nil {
		return err
	}
	if err := e.enqueue(ctx, run); err != nil {
		return err
	}
	workers, err := e.Workers(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(workers, func(w state.Runner) bool { return slices.Contains(w.Queues, run.Queue) }) {
		return fault.Newf(fault.Busy, what, "no worker serves the queue %s; it waits for one", run.Queue).Hint("dbops worker --queue %s, or dbops runs resume %s", run.Queue, id)
	}
	return nil
}
