package op

import (
	"context"
	"errors"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// Work makes this process a worker of a team: it takes runs from the engine's queue, and adopts those whose runner died, until ctx ends.
// It returns an error when its lease is lost: then the process ends, and is started again.
func (e *Engine) Work(ctx context.Context) (err error) {
	if !e.store.Team() {
		return fault.Newf(fault.Usage, "work", "the state is a file of one person: %s", e.store.DB.Path).
			Hint("workers share their state in PostgreSQL: state: postgres://... in dbops.yaml")
	}
	r, err := e.startRunner(ctx, true, e.o.Queue)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil && r.stopping.Err() == nil {
			e.o.Log.Warn("looking for abandoned runs failed; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.stopping.Done():
			return nil // close says why
		case <-time.After(max(e.o.Poll, e.o.TTL/10)):
		}
	}
}

// sweepSize is how many abandoned runs a worker looks at in one go, oldest first.
const sweepSize = 500

// sweep adopts the runs of this queue that nobody works on: those whose runner died, and those that nobody handed over.
func (r *runner) sweep(ctx context.Context) error {
	var orphans []state.Run
	err := r.e.store.Read(ctx, "look for abandoned runs", func(ctx context.Context, tx *state.Tx) (err error) {
		orphans, err = tx.Orphans(ctx, r.e.o.Queue, sweepSize)
		return err
	})
	if err != nil {
		return err
	}
	mine, err := r.adopt(ctx, r.e.o.Queue, orphans...)
	for _, run := range mine {
		if run.Runner != "" {
			r.e.o.Log.Info("adopted a run whose runner is dead", "run", run.ID, "runner", run.Runner)
		}
	}
	return err
}

// adopt makes runs that nobody alive works on wait in a queue of this runner, as far as nobody else was faster: mine are those.
func (r *runner) adopt(ctx context.Context, queue string, orphans ...state.Run) (mine []state.Run, err error) {
	if len(orphans) == 0 {
		return nil, nil
	}
	what := "take run " + orphans[0].ID
	known, err := r.workflows(ctx, orphans)
	if err != nil {
		return nil, db.Fault(what, err)
	}
	alive, err := r.alive(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, run := range orphans {
		if err := r.mustHold(); err != nil {
			return mine, errors.Join(append(errs, err)...)
		}
		w, there := known[run.ID]
		if there && r.waits(w, queue, alive) {
			continue
		}
		ok, err := r.take(ctx, run, queue, w, there)
		if errs = append(errs, err); ok {
			mine = append(mine, run)
		}
	}
	return mine, errors.Join(errs...)
}

// waits tells whether an orphan needs nobody: it waits in the queue already, or in the hands of somebody alive for its turn.
func (r *runner) waits(w dbos.WorkflowStatus, queue string, alive map[string]bool) bool {
	switch w.Status {
	case dbos.WorkflowStatusEnqueued:
		return r.worker && w.QueueName == queueName(queue)
	case dbos.WorkflowStatusPending:
		return alive[w.ExecutorID]
	default:
		return false
	}
}

// take makes one run wait in a queue of this runner.
func (r *runner) take(ctx context.Context, run state.Run, queue string, w dbos.WorkflowStatus, there bool) (mine bool, err error) {
	what := "take run " + run.ID
	if there && (w.Status == dbos.WorkflowStatusSuccess || w.Status == dbos.WorkflowStatusError) {
		return false, r.contradiction(ctx, what, run, w)
	}
	if !there && r.worker { // whoever works on it says so; until then it waits for all
		return false, db.Fault(what, enqueue(r.dbos, run, queue))
	}
	r.e.o.hook("before the run is taken")
	err = r.e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		mine, err = tx.TakeRun(ctx, run.ID, run.Runner, r.id)
		return err
	})
	if err != nil || !mine {
		return false, err
	}
	r.e.o.hook("the run is taken")
	if there {
		_, err = dbos.ResumeWorkflow[string](r.dbos, run.ID, dbos.WithResumeQueue(queueName(queue)))
	} else {
		err = enqueue(r.dbos, run, queue)
	}
	r.e.o.hook("the run waits in the queue")
	return true, db.Fault(what, err)
}

// contradiction is a run that the engine holds for ended, unless it ended since it was read.
func (r *runner) contradiction(ctx context.Context, what string, run state.Run, w dbos.WorkflowStatus) error {
	if now, err := r.e.Run(ctx, run.ID); err != nil || now.State.Ended() {
		return err
	}
	return fault.Newf(fault.Internal, what, "the engine holds it for ended (%s), and its journal does not", w.Status).
		Hint("report this; dbops runs show %s", run.ID)
}

// workflows are the engine's records of runs.
func (r *runner) workflows(ctx context.Context, runs []state.Run) (map[string]dbos.WorkflowStatus, error) {
	if err := ctx.Err(); err != nil { // the engine's context is its own
		return nil, err
	}
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = run.ID
	}
	ws, err := dbos.ListWorkflows(r.dbos, dbos.WithFilterWorkflowIDs(ids...), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return nil, err
	}
	known := make(map[string]dbos.WorkflowStatus, len(ws))
	for _, w := range ws {
		known[w.ID] = w
	}
	return known, nil
}

// alive are the runners whose lease is good.
func (r *runner) alive(ctx context.Context) (map[string]bool, error) {
	all, err := r.e.Workers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool, len(all))
	for _, w := range all {
		ids[w.ID] = true
	}
	return ids, nil
}
