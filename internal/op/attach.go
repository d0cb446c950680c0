package op

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/gofrs/flock"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// Attach follows a run until it ends or waits for a person, and works on it if nobody else does. tell (may be nil) gets the events after
// a number, in order, from one goroutine. When ctx ends, what this process works on is interrupted, to be resumed; a run that workers of
// a team work on goes on.
func (e *Engine) Attach(ctx context.Context, id string, after int64, tell func(state.Event)) (state.Run, error) {
	w := &watcher{e: e, id: id, seen: after, tell: tell}
	for {
		run, over, err := w.look(ctx)
		if err != nil || over {
			return run, err
		}
		lock, err := e.mayWork(ctx, run)
		if err != nil {
			return run, err
		}
		if lock == nil { // somebody else does
			if err := Sleep(ctx, e.o.Poll/4); err != nil {
				return run, fault.New(fault.Interrupted, "watch run "+id, err).Hint("it goes on: dbops runs watch %s", id)
			}
			continue
		}
		run, err = w.work(ctx)
		return run, errors.Join(err, lock())
	}
}

// mayWork tells whether this process should work on a run: then it returns how to let go, else nil.
func (e *Engine) mayWork(ctx context.Context, run state.Run) (release func() error, err error) {
	if e.store.Team() {
		if run.Alive {
			return nil, nil
		}
		workers, err := e.Workers(ctx)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(workers, func(w state.Runner) bool { return slices.Contains(w.Queues, run.Queue) }) {
			return nil, e.enqueue(ctx, run) // in case nobody did
		}
		return func() error { return nil }, nil
	}
	lock := flock.New(e.store.DB.Path + ".runner") // who holds it is the only one alive, whatever the leases say
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fault.New(fault.Config, "lock "+lock.Path(), err)
	}
	if !ok {
		return nil, nil
	}
	return lock.Unlock, nil
}

// work works on the run until it ends or waits for a person.
func (w *watcher) work(ctx context.Context) (run state.Run, err error) {
	e := w.e
	queue := "run-" + w.id // its own: nothing else that waits is begun by the way
	r, err := e.startRunner(ctx, queue)
	if err != nil {
		return run, err
	}
	defer func() {
		err = errors.Join(err, r.close(ctx))
		if errors.Is(err, context.Canceled) && ctx.Err() != nil {
			err = fault.New(fault.Interrupted, "run "+w.id, context.Cause(ctx)).Hint("nothing is lost: dbops runs resume %s", w.id)
		}
	}()
	if !e.store.Team() { // the lock says that every other runner is dead
		err := e.store.Tx(ctx, "end the leases of dead runners", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveOtherRunners(ctx, r.id) })
		if err != nil {
			return run, err
		}
	}
	if err := r.adopt(ctx, w.id, queue); err != nil {
		return run, err
	}
	for {
		var over bool
		if run, over, err = w.look(ctx); err != nil || over {
			return run, err
		}
		select {
		case <-r.stopping.Done():
			return run, nil // close says why
		case <-ctx.Done():
			return run, context.Canceled
		case <-time.After(min(e.o.Poll/4, 100*time.Millisecond)):
		}
	}
}

// watcher tells a run's events.
type watcher struct {
	e    *Engine
	id   string
	seen int64
	tell func(state.Event)
}

// look tells what is new. over is set when the run has ended, or only a person can bring it on.
func (w *watcher) look(ctx context.Context) (run state.Run, over bool, err error) {
	what := "watch run " + w.id
	var events []state.Event
	err = w.e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		controls, err := tx.Controls(ctx, w.id) // before the run, which a runner sets when it heeds one
		if err != nil {
			return err
		}
		var found bool
		if run, found, err = tx.Run(ctx, w.id); err != nil {
			return err
		}
		if !found {
			return fault.Newf(fault.NotFound, what, "there is no such run").Hint("dbops runs list")
		}
		if w.tell != nil {
			events, err = tx.Events(ctx, w.id, w.seen)
		}
		decided := slices.ContainsFunc(controls, func(c state.Control) bool { return c.Point == "" && c.Verb != state.Cancel })
		over = run.State.Ended() || !decided && (run.State == state.Parked || run.State == state.Gate)
		return err
	})
	for _, e := range events {
		w.seen = e.Seq
		w.tell(e)
	}
	return run, over, err
}

// enqueue hands a run to the workers of its queue. Again changes nothing.
func (e *Engine) enqueue(ctx context.Context, run state.Run) error {
	what := "hand run " + run.ID + " to the workers"
	c, err := e.client(ctx)
	if err != nil {
		return db.Fault(what, err)
	}
	defer func() { _ = dbos.Shutdown(c, time.Second) }()
	ws, err := dbos.ListWorkflows(c, dbos.WithFilterWorkflowIDs(run.ID), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil || len(ws) > 0 {
		return db.Fault(what, err)
	}
	return db.Fault(what, enqueue(c, run, run.Queue))
}

func enqueue(c dbos.Client, run state.Run, queue string) error {
	_, err := dbos.Enqueue[string](c, queueName(queue), workflowName, run.ID, dbos.WithEnqueueWorkflowID(run.ID),
		dbos.WithEnqueueQueuePartitionKey(run.Environment+"/"+run.Instance),
		dbos.WithEnqueueApplicationVersion(appVersion), dbos.WithEnqueueApplicationName(appName))
	return err
}

// client is the durable execution engine for who runs nothing.
func (e *Engine) client(ctx context.Context) (dbos.Client, error) {
	if err := MigrateEngine(ctx, e.store.DB); err != nil {
		return nil, err
	}
	own, err := e.store.DB.Again(ctx) // the engine closes what it is given
	if err != nil {
		return nil, err
	}
	cfg := dbos.ClientConfig{AppName: appName, DatabaseSchema: db.EngineSchema, Logger: e.engineLog(), SystemDBPool: own.Pool}
	if !own.Postgres() {
		cfg.SQLiteSystemDB = own.SQL
	}
	c, err := dbos.NewClient(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, errors.Join(err, own.Close())
	}
	return c, nil
}

// adopt makes a run wait in a queue of this runner: one that nobody has begun, or whose runner is dead.
func (r *runner) adopt(ctx context.Context, id, queue string) error {
	what := "take run " + id
	var run state.Run
	mine := false
	err := r.e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		var found bool
		if run, found, err = tx.Run(ctx, id); err != nil || !found {
			return err
		}
		mine, err = tx.TakeRun(ctx, id, run.Runner, r.id)
		return err
	})
	if err != nil || !mine {
		return err // somebody else was faster
	}
	ws, err := dbos.ListWorkflows(r.dbos, dbos.WithFilterWorkflowIDs(id), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil {
		return db.Fault(what, err)
	}
	if len(ws) == 0 {
		return db.Fault(what, enqueue(r.dbos, run, queue))
	}
	if s := ws[0].Status; s == dbos.WorkflowStatusSuccess || s == dbos.WorkflowStatusError {
		return fault.Newf(fault.Internal, what, "the engine holds it for ended (%s), and its journal does not", s).Hint("report this; dbops runs show %s", id)
	}
	_, err = dbos.ResumeWorkflow[string](r.dbos, id, dbos.WithResumeQueue(queueName(queue)))
	return db.Fault(what, err)
}

func (e *Engine) engineLog() *slog.Logger { return slog.New(warnings{e.o.Log.Handler()}) }

// warnings lets only what matters through: the engine is talkative.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && w.Handler.Enabled(ctx, l)
}
func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }
func (w warnings) WithGroup(g string) slog.Handler      { return warnings{w.Handler.WithGroup(g)} }

// Work makes this process a worker of a team: it takes runs from the engine's queue, and adopts those whose runner died, until ctx ends.
// It returns an error when its lease is lost: then the process ends, and is started again.
func (e *Engine) Work(ctx context.Context) (err error) {
	if !e.store.Team() {
		return fault.Newf(fault.Usage, "work", "the state is a file of one person: %s", e.store.DB.Path).
			Hint("workers share their state in PostgreSQL: state: postgres://... in dbops.yaml")
	}
	r, err := e.startRunner(ctx, e.o.Queue)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	for {
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
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

// sweep adopts the runs of this queue that nobody works on: those whose runner died, and those that nobody handed over.
func (r *runner) sweep(ctx context.Context) error {
	runs, err := r.e.Runs(ctx, state.RunFilter{Active: true, Limit: 1000})
	if err != nil {
		return err
	}
	var errs []error
	for _, run := range runs {
		switch {
		case run.Queue != r.e.o.Queue || run.Alive:
		case run.Runner == "":
			errs = append(errs, r.e.enqueueOnce(r, run))
		default:
			r.e.o.Log.Info("adopting a run whose runner is dead", "run", run.ID, "runner", run.Runner)
			errs = append(errs, r.adopt(ctx, run.ID, run.Queue))
		}
	}
	return errors.Join(errs...)
}

func (e *Engine) enqueueOnce(r *runner, run state.Run) error {
	what := "take run " + run.ID
	ws, err := dbos.ListWorkflows(r.dbos, dbos.WithFilterWorkflowIDs(run.ID), dbos.WithFilterLoadInput(false), dbos.WithFilterLoadOutput(false))
	if err != nil || len(ws) > 0 {
		return db.Fault(what, err)
	}
	return db.Fault(what, enqueue(r.dbos, run, run.Queue))
}

// String names a worker for people.
func workerName(w state.Runner) string { return fmt.Sprintf("%s, process %d", w.Host, w.PID) }
