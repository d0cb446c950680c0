package op

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	_ "github.com/dbos-inc/dbos-transact-golang/dbos/driver/sqlite" // lets the engine use SQLite
	"github.com/google/uuid"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

// What the durable execution engine knows of dbops. The version is a constant: with the default, a hash of the program, the runs of an
// older dbops would never be resumed.
const (
	appName      = "dbops"
	appVersion   = "engine-v1"
	workflowName = "run"
)

// shutdownTimeout bounds how long a runner that stops waits for its steps to notice.
const shutdownTimeout = 20 * time.Second

// runner is this process's part in working on runs: its lease, and the durable execution engine.
type runner struct {
	e      *Engine
	id     string
	queues []string
	fence  *fence
	dbos   dbos.Context
	ds     *dbos.DataSource
	clock  func(context.Context, time.Duration) error

	stopping context.Context // ends when nothing may be recorded any more
	stop     context.CancelCauseFunc
	wg       sync.WaitGroup
	shutdown sync.Once

	mu      sync.Mutex
	running map[string]context.CancelCauseFunc // of the steps that run, by run
}

// startRunner registers a runner and begins to take runs from queues. The caller ends it with close.
func (e *Engine) startRunner(ctx context.Context, queues ...string) (_ *runner, err error) {
	r := &runner{e: e, id: uuid.NewString(), queues: queues, running: map[string]context.CancelCauseFunc{}, clock: Sleep}
	r.fence = newFence(e.o.TTL)
	r.stopping, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	err = r.fence.extend(func() error {
		return e.store.Tx(ctx, "register as a runner", func(ctx context.Context, tx *state.Tx) error {
			if err := tx.ForgetRunners(ctx); err != nil {
				return err
			}
			return tx.AddRunner(ctx, state.Runner{ID: r.id, Host: e.o.Host, PID: os.Getpid(), Queues: queues}, e.o.TTL)
		})
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(ctx))
		}
	}()
	if err = MigrateEngine(ctx, e.store.DB); err != nil {
		return nil, err
	}
	own, err := e.store.DB.Again(ctx) // the engine closes what it is given
	if err != nil {
		return nil, err
	}
	cfg := dbos.Config{
		AppName: appName, ExecutorID: r.id, ApplicationVersion: appVersion, EnablePatching: true, Logger: e.engineLog(),
		DatabaseSchema: db.EngineSchema, SystemDBPool: own.Pool,
	}
	if !own.Postgres() {
		cfg.SQLiteSystemDB = own.SQL
	}
	// Not this context: its end would be taken for a wish to cancel every run.
	if r.dbos, err = dbos.NewContext(context.WithoutCancel(ctx), cfg); err != nil {
		return nil, errors.Join(db.Fault("start the engine", err), own.Close())
	}
	if own.Postgres() {
		r.ds, err = dbos.NewDataSource(r.dbos, own.Pool)
	} else {
		r.ds, err = dbos.NewDataSource(r.dbos, own.SQL)
	}
	if err != nil {
		return nil, db.Fault("start the engine", err)
	}
	dbos.RegisterWorkflow(r.dbos, r.workflow, dbos.WithWorkflowName(workflowName), dbos.WithMaxRecoveryAttempts(maxRecoveries))
	for _, q := range queues {
		// One run per instance at a time: a queue's partitions are instances.
		if _, err = dbos.RegisterQueue(r.dbos, queueName(q), dbos.WithPartitionQueue(), dbos.WithGlobalConcurrency(1),
			dbos.WithQueueBasePollingInterval(e.o.Poll)); err != nil {
			return nil, db.Fault("start the engine", err)
		}
	}
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = queueName(q)
	}
	dbos.ListenQueues(r.dbos, names...)
	if err = dbos.Launch(r.dbos); err != nil {
		return nil, db.Fault("start the engine", err)
	}
	r.wg.Go(func() { r.every(e.o.TTL/5, r.renew) })
	r.wg.Go(func() { r.every(e.o.Poll, r.heed) })
	return r, nil
}

// maxRecoveries is how often a run may be resumed: as often as somebody wants.
const maxRecoveries = 1 << 30

func queueName(q string) string { return "dbops-" + q }

// every calls do again and again until the runner stops.
func (r *runner) every(d time.Duration, do func(context.Context)) {
	for Sleep(r.stopping, d) == nil {
		do(r.stopping)
	}
}

// renew keeps the lease. When it may be lost nothing is touched any more.
func (r *runner) renew(ctx context.Context) {
	err := r.fence.extend(func() error {
		ctx, cancel := context.WithTimeout(ctx, r.e.o.TTL/5)
		defer cancel()
		return r.e.store.Tx(ctx, "renew the lease", func(ctx context.Context, tx *state.Tx) error { return tx.RenewRunner(ctx, r.id, r.e.o.TTL) })
	})
	switch {
	case err == nil:
	case errors.Is(err, state.ErrLost), r.fence.check() != nil:
		r.halt(fault.New(fault.Unavailable, "keep the lease", err).Hint("nothing more is changed by this process; dbops runs list shows what is unfinished"))
	default:
		r.e.o.Log.Warn("the lease could not be renewed; trying again", "error", err)
	}
}

// heed cancels the steps of runs that somebody cancelled.
func (r *runner) heed(ctx context.Context) {
	r.mu.Lock()
	ids := make([]string, 0, len(r.running))
	for id := range r.running {
		ids = append(ids, id)
	}
	r.mu.Unlock()
	for _, id := range ids {
		var told bool
		err := r.e.store.Read(ctx, "look for orders", func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Controls(ctx, id)
			told = slices.ContainsFunc(all, func(c state.Control) bool { return c.Verb == state.Cancel && c.Point == "" })
			return err
		})
		if err != nil || !told {
			continue
		}
		r.mu.Lock()
		if cancel := r.running[id]; cancel != nil {
			cancel(errCancelled)
		}
		r.mu.Unlock()
	}
}

// halt makes the runner stop at once: nothing that its steps return is recorded.
func (r *runner) halt(why error) {
	r.stop(why)
	r.shutdown.Do(func() {
		r.wg.Go(func() {
			if r.dbos != nil {
				if err := dbos.Shutdown(r.dbos, shutdownTimeout); err != nil {
					r.e.o.Log.Warn("stopping took too long", "error", err)
				}
			}
		})
	})
}

// errEnded is the cause of an orderly end.
var errEnded = errors.New("the runner ends")

// close ends the runner: what runs is interrupted, to be resumed by somebody else.
func (r *runner) close(ctx context.Context) error {
	r.halt(errEnded)
	r.wg.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := r.e.store.Tx(ctx, "end the lease", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveRunner(ctx, r.id) })
	if why := context.Cause(r.stopping); !errors.Is(why, errEnded) {
		return errors.Join(why, err)
	}
	return err
}

// workflow works on one run. Its result is never an error: the journal says how the run ended.
func (r *runner) workflow(ctx dbos.Context, id string) (string, error) {
	err := r.work(ctx, id)
	if err == nil {
		return "ended", nil
	}
	// Nothing of this may be recorded: the run goes on in another process.
	if !errors.Is(err, errStopped) {
		r.halt(fault.New(fault.KindOf(err), "work on run "+id, err).Hint("dbops runs resume %s", id))
	}
	<-ctx.Done()
	return "", context.Canceled
}

func (r *runner) work(ctx dbos.Context, id string) error {
	var run state.Run
	var found bool
	err := r.e.store.Read(ctx, "read run "+id, func(ctx context.Context, tx *state.Tx) (err error) {
		run, found, err = tx.Run(ctx, id)
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("there is no run %s", id)
	case run.State.Ended():
		return nil
	}
	p, err := r.e.PlanOf(ctx, run.PlanHash)
	if err != nil {
		return err
	}
	kind, err := r.e.kinds.Kind(p.Kind)
	if err != nil {
		return err
	}
	steps, err := rebuild(kind, p)
	if err != nil {
		return err
	}
	leases, err := r.acquire(ctx, run, p)
	if err != nil {
		return err
	}
	b := &dbosBook{r: r, ctx: ctx, run: run, plan: p, leases: leases, actor: p.Requester}
	m := &machine{
		book: b, steps: append([]Step{r.checkStep(kind, p, id)}, steps...), act: b.act,
		session: Session{
			Plan: p, Run: id, outputs: map[string]json.RawMessage{}, fence: r.mustHold, progress: b.progress(),
		},
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	r.unlock(ctx, p, id)
	return nil
}

// mustHold is what a step asks before it changes something.
func (r *runner) mustHold() error {
	if r.stopping.Err() != nil {
		return errStopped
	}
	return r.fence.check()
}

// checkStep marks the target, and compares the world with what the plan was made from, before anything is changed.
func (r *runner) checkStep(k Kind, p *Plan, id string) Step {
	return Step{Name: "check", Title: "compare " + p.Target.String() + " with what the plan was made from", Do: func(ctx context.Context, _ *Session) (Result, error) {
		if err := r.lock(ctx, p, id); err != nil {
			return Result{}, err
		}
		facts, err := k.Observe(ctx, p.Target, p.Request)
		if err != nil {
			return Result{}, err
		}
		if !sameJSON(facts, p.Facts) {
			return Result{}, fault.Newf(fault.Stale, "compare "+p.Target.String()+" with the plan", "it changed since the plan was made: %s", difference(p.Facts, facts)).
				Hint("nothing was changed; make the plan again and look at it")
		}
		return Result{Text: "as when the plan was made"}, nil
	}}
}

// acquire takes the leases of a run, waiting for other runs that hold them.
func (r *runner) acquire(ctx context.Context, run state.Run, p *Plan) (leases []state.Lease, err error) {
	targets := append([]string{p.Target.String()}, p.Also...)
	slices.Sort(targets)
	told := ""
	for {
		err := r.e.store.Tx(ctx, "take the lease of "+p.Target.String(), func(ctx context.Context, tx *state.Tx) error {
			leases = leases[:0]
			for _, t := range slices.Compact(targets) {
				l, err := tx.Acquire(ctx, t, run.ID, r.id)
				if err != nil {
					return err
				}
				leases = append(leases, l)
			}
			if err := tx.SetRunner(ctx, run.ID, r.id); err != nil {
				return err
			}
			return tx.AddEvent(ctx, run.ID, state.Event{Kind: EventRunner, Text: fmt.Sprintf("%s, process %d", r.e.o.Host, os.Getpid())})
		})
		if err == nil {
			return leases, nil
		}
		held, ok := errors.AsType[*state.HeldError](err)
		if !ok {
			return nil, err
		}
		if text := held.Error(); text != told && held.Run != run.ID {
			told = text
			_ = r.e.store.Tx(ctx, "say what is waited for", func(ctx context.Context, tx *state.Tx) error { // only told
				return tx.AddEvent(ctx, run.ID, state.Event{Kind: EventWaiting, Text: "waiting: " + text})
			})
		}
		if err := Sleep(r.stopping, r.e.o.Poll); err != nil {
			return nil, errStopped
		}
	}
}
