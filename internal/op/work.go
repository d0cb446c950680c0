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

// sweep makes the runs of this queue that nobody works on wait for whoever is free: those whose runner died, and those that nobody handed
// over. Each is taken while that happens, so that two workers do not do it to one run after each other.
func (r *runner) sweep(ctx context.Context) error {
	if err := r.e.bury(ctx); err != nil {
		return err
	}
	var orphans []state.Run
	err := r.e.store.Read(ctx, "look for abandoned runs", func(ctx context.Context, tx *state.Tx) (err error) {
		orphans, err = tx.Orphans(ctx, r.e.o.Queue, sweepSize)
		return err
	})
	if err != nil || len(orphans) == 0 {
		return err
	}
	strays, err := r.strays(ctx, r.e.o.Queue, orphans...)
	if err != nil {
		return err
	}
	var errs []error
	for _, one := range strays {
		ok, err := r.take(ctx, one.Run)
		if err != nil || !ok {
			errs = append(errs, err)
			continue
		}
		if one.Runner != "" {
			r.e.o.Log.Info("adopting a run whose runner is dead", "run", one.ID, "runner", one.Runner)
		}
		errs = append(errs, r.requeue(ctx, r.e.o.Queue, one.Run), r.leave(ctx, one.Run))
	}
	return errors.Join(errs...)
}

// adopt takes a run that nobody alive works on, and makes it wait in a queue that only this runner serves. mine is false if somebody else
// was faster.
func (r *runner) adopt(ctx context.Context, run state.Run, queue string) (mine bool, err error) {
	records, err := r.records(ctx, []state.Run{run})
	if err != nil {
		return false, err
	}
	alive, err := r.alive(ctx)
	if err != nil {
		return false, err
	}
	if w := records[run.ID]; w.Status == dbos.WorkflowStatusPending && w.ExecutorID != r.id && alive[w.ExecutorID] {
		return false, nil // it waits there for its lease
	}
	if mine, err = r.take(ctx, run); err != nil {
		return false, err
	}
	if !mine { // unless this runner's queue had it already
		now, err := r.e.Run(ctx, run.ID)
		return now.Runner == r.id, err
	}
	return true, r.requeue(ctx, queue, run)
}

// stray is a run that neither waits in its queue nor is in the hands of somebody alive.
type stray struct {
	state.Run
	record dbos.WorkflowStatus // the engine's; zero if it has none
}

func (r *runner) strays(ctx context.Context, queue string, runs ...state.Run) (out []stray, err error) {
	records, err := r.records(ctx, runs)
	if err != nil {
		return nil, err
	}
	alive, err := r.alive(ctx)
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		w := records[run.ID]
		waits := w.Status == dbos.WorkflowStatusEnqueued && w.QueueName == queueName(queue)
		if !waits && (w.Status != dbos.WorkflowStatusPending || !alive[w.ExecutorID]) {
			out = append(out, stray{run, w})
		}
	}
	return out, nil
}

// take makes a run this runner's.
func (r *runner) take(ctx context.Context, run state.Run) (mine bool, err error) {
	err = r.e.store.Tx(ctx, "take run "+run.ID, func(ctx context.Context, tx *state.Tx) (err error) {
		mine, err = tx.TakeRun(ctx, run.ID, run.Runner, r.id)
		return err
	})
	r.e.o.hook("the run is taken")
	return mine, err
}

// leave makes a run that was taken nobody's again, unless somebody has begun it.
func (r *runner) leave(ctx context.Context, run state.Run) error {
	return r.e.store.Tx(ctx, "leave run "+run.ID, func(ctx context.Context, tx *state.Tx) error { return tx.LeaveRun(ctx, run.ID, r.id) })
}

// requeue makes a run that was taken wait in a queue, if it is still astray now that nobody else touches it.
func (r *runner) requeue(ctx context.Context, queue string, run state.Run) error {
	strays, err := r.strays(ctx, queue, run)
	if err != nil || len(strays) == 0 {
		return err
	}
	if err := r.mustHold(); err != nil {
		return err
	}
	what := "take run " + run.ID
	switch record := strays[0].record; record.Status {
	case "":
		err = enqueue(r.dbos, run, queue)
	case dbos.WorkflowStatusSuccess, dbos.WorkflowStatusError:
		return r.contradiction(ctx, what, run, record)
	default:
		_, err = dbos.ResumeWorkflow[string](r.dbos, run.ID, dbos.WithResumeQueue(queueName(queue)))
	}
	r.e.o.hook("the run waits in the queue")
	return db.Fault(what, err)
}

// contradiction is a run that the engine holds for ended, unless it ended since it was read.
func (r *runner) contradiction(ctx context.Context, what string, run state.Run, w dbos.WorkflowStatus) error {
	if now, err := r.e.Run(ctx, run.ID); err != nil || now.State.Ended() {
		return err
	}
	return fault.Newf(fault.Internal, what, "the engine holds it for ended (%s), and its journal does not", w.Status).
		Hint("report this; dbops runs show %s", run.ID)
}

// records are what the engine knows of runs.
func (r *runner) records(ctx context.Context, runs []state.Run) (map[string]dbos.WorkflowStatus, error) {
	if err := ctx.Err(); err != nil { // the engine's context is its own
		return nil, err
	}
	ids := make([]string, len(runs))
	for i, run := range runs {
		ids[i] = run.ID
	}
	ws, err := dbos.ListWorkflows(r.dbos, dbos.WithFilterWorkflowIDs(ids...), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return nil, db.Fault("look for runs in the engine", err)
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
