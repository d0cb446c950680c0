package op

import (
	"context"

	"dbops/internal/fault"
)

// HandOver leaves a run to the workers of a team. Again changes nothing. served tells whether there is one now; else the run waits for one.
func (e *Engine) HandOver(ctx context.Context, id string) (served bool, err error) {
	what := "hand run " + id + " to the workers"
	if !e.store.Team() {
		return false, fault.Newf(fault.Usage, what, "the state is a file of one person, and has no workers").Hint("dbops runs resume %s", id)
	}
	run, err := e.Run(ctx, id)
	if err != nil {
		return false, err
	}
	if err := e.enqueue(ctx, run); err != nil {
		return false, err
	}
	workers, err := e.Workers(ctx)
	return serves(workers, run.Queue), err
}
