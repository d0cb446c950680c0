package op

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
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
		letGo, err := w.mayWork(ctx, run)
		if err != nil {
			return run, err
		}
		if letGo != nil {
			run, over, err = w.work(ctx)
			if errors.Is(err, errBusy) { // the process's end lets go
				e.keep(letGo)
			} else {
				err = errors.Join(e.withdrawn(ctx, id, err), letGo())
			}
			if err != nil || over {
				return run, err
			}
		}
		// Somebody else works on it, or on another run of this file.
		if !run.Alive {
			w.sayWhoWorks(ctx)
		}
		if err := Sleep(ctx, e.o.Poll/4); err != nil {
			f := fault.New(fault.Interrupted, "watch run "+id, err)
			if run.Alive || e.store.Team() {
				return run, f.Hint("it goes on without you: dbops runs watch %s", id)
			}
			return run, f.Hint("nobody works on it, and nothing was changed: dbops runs resume %s, or dbops runs cancel %s", id, id)
		}
	}
}

// keep holds what must not be let go before the process ends.
func (e *Engine) keep(letGo func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.kept = append(e.kept, letGo)
}

// mayWork tells whether this process should work on a run: then it returns how to let go, else nil.
func (w *watcher) mayWork(ctx context.Context, run state.Run) (letGo func() error, err error) {
	e := w.e
	if e.store.Team() {
		if run.Alive {
			return nil, nil
		}
		workers, err := e.Workers(ctx)
		if err != nil {
			return nil, err
		}
		if !serves(workers, run.Queue) {
			return func() error { return nil }, nil
		}
		if run.Runner != "" { // a worker elsewhere cannot tell that a process of this machine is gone
			if err := e.bury(ctx); err != nil {
				return nil, err
			}
		}
		if w.handed || run.State != state.Queued || run.Runner != "" { // the workers find it themselves
			return nil, nil
		}
		w.handed = true
		return nil, e.enqueue(ctx, run) // sooner than they look
	}
	lock := flock.New(e.store.DB.Path + ".runner") // who holds it is the only one alive, whatever the leases say
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fault.New(fault.Config, "lock "+lock.Path(), err).Hint("dbops must be able to write the folder of its state")
	}
	if !ok {
		return nil, nil
	}
	return lock.Unlock, nil
}

// work works on the run until it ends or waits for a person: then over is set. If somebody else is faster it returns at once.
func (w *watcher) work(ctx context.Context) (run state.Run, over bool, err error) {
	e := w.e
	queue := "run-" + w.id // its own: nothing else that waits is begun by the way
	r, err := e.startRunner(ctx, false, queue)
	if err != nil {
		return run, false, err
	}
	defer func() {
		r.forgetQueue(queue)
		err = errors.Join(r.close(ctx), err) // why the runner stopped says more
		if errors.Is(err, context.Canceled) && ctx.Err() != nil && !errors.Is(err, errBusy) {
			err = fault.New(fault.Interrupted, "run "+w.id, context.Cause(ctx)).Hint("nothing is lost: dbops runs resume %s", w.id)
		}
	}()
	if !e.store.Team() { // the lock says that every other runner is dead
		err := e.store.Tx(ctx, "end the leases of dead runners", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveOtherRunners(ctx, r.id) })
		if err != nil {
			return run, false, err
		}
	}
	if run, err = e.Run(ctx, w.id); err != nil {
		return run, false, err
	}
	if mine, err := r.adopt(ctx, run, queue); err != nil || !mine {
		return run, false, err
	}
	for {
		if run, over, err = w.look(ctx); err != nil || over {
			return run, over, err
		}
		select {
		case <-r.stopping.Done():
			return run, false, nil // close says why
		case <-ctx.Done():
			return run, false, context.Canceled
		case <-time.After(min(e.o.Poll/4, 40*time.Millisecond)):
		}
	}
}

// watcher tells a run's events.
type watcher struct {
	e    *Engine
	id   string
	seen int64
	tell func(state.Event)

	handed bool // to the workers
	said   bool // for whom it waits
}

// sayWhoWorks tells once for whom a run waits that cannot be begun yet: a file is worked on by one process at a time.
func (w *watcher) sayWhoWorks(ctx context.Context) {
	if w.said || w.tell == nil || w.e.store.Team() {
		return
	}
	workers, err := w.e.Workers(ctx)
	if err != nil || len(workers) == 0 {
		return
	}
	w.said = true
	text := fmt.Sprintf("waiting for process %d of %s, which works on another run", workers[0].PID, workers[0].Host)
	if queues := workers[0].Queues; len(queues) > 0 {
		text += ": " + strings.TrimPrefix(queues[0], "run-")
	}
	w.tell(state.Event{At: time.Now(), Kind: EventWaiting, Text: text})
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
			return noRun(what)
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
	c, done, err := e.client(ctx)
	if err != nil {
		return db.Fault(what, err)
	}
	defer done()
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
func (e *Engine) client(ctx context.Context) (c dbos.Client, done func(), err error) {
	if err := MigrateEngine(ctx, e.store.DB); err != nil {
		return nil, nil, err
	}
	own, err := e.store.DB.Again(ctx) // the engine closes what it is given
	if err != nil {
		return nil, nil, err
	}
	cfg := dbos.ClientConfig{AppName: appName, DatabaseSchema: db.EngineSchema, Logger: e.engineLog(), SystemDBPool: own.Pool}
	if !own.Postgres() {
		cfg.SQLiteSystemDB = own.SQL
	}
	if c, err = dbos.NewClient(context.WithoutCancel(ctx), cfg); err != nil {
		return nil, nil, errors.Join(err, own.Close())
	}
	return c, func() {
		_ = dbos.Shutdown(c, time.Second)
		_ = own.Close() // what the engine was not given
	}, nil
}

func (e *Engine) engineLog() *slog.Logger { return slog.New(warnings{e.o.Log.Handler()}) }

// warnings lets only what matters through: the engine is talkative.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && w.Handler.Enabled(ctx, l)
}
func (w warnings) WithAttrs(a []slog.Attr) slog.Handler { return warnings{w.Handler.WithAttrs(a)} }
func (w warnings) WithGroup(g string) slog.Handler      { return warnings{w.Handler.WithGroup(g)} }
