package op

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
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

// runner is this process's part in working on runs: its lease, and the durable execution engine.
type runner struct {
	e      *Engine
	id     string
	queues []string
	worker bool // for whatever comes; else for one run
	fence  *fence
	dbos   dbos.Context
	ds     *dbos.DataSource
	own    *db.DB // the engine's
	clock  func(context.Context, time.Duration) error

	stopping context.Context // ends when nothing may be recorded any more
	stop     context.CancelCauseFunc
	wg       sync.WaitGroup
	shutdown sync.Once

	mu      sync.Mutex
	running map[string]context.CancelCauseFunc // of the steps that run, by run
	busy    int                                // runs that are worked on, and wait for nobody
}

// startRunner registers a runner and begins to take runs from queues. The caller ends it with close.
func (e *Engine) startRunner(ctx context.Context, worker bool, queues ...string) (_ *runner, err error) {
	r := &runner{e: e, id: uuid.NewString(), queues: queues, worker: worker, running: map[string]context.CancelCauseFunc{}, clock: Sleep}
	r.fence = newFence(e.o.TTL)
	r.stopping, r.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close(ctx))
		}
	}()
	if err = MigrateEngine(ctx, e.store.DB); err != nil {
		return nil, err
	}
	own, err := e.store.DB.Again(ctx)
	if err != nil {
		return nil, err
	}
	r.own = own
	cfg := dbos.Config{
		AppName: appName, ExecutorID: r.id, ApplicationVersion: appVersion, EnablePatching: true, Logger: e.engineLog(),
		DatabaseSchema: db.EngineSchema, SystemDBPool: own.Pool,
	}
	if !own.Postgres() {
		cfg.SQLiteSystemDB = own.SQL
	}
	// Not this context: its end would be taken for a wish to cancel every run.
	if r.dbos, err = dbos.NewContext(context.WithoutCancel(ctx), cfg); err != nil {
		return nil, db.Fault("start the engine", err)
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
	poll := e.o.Poll
	if !worker { // somebody waits for the run, and few of these look
		poll = min(poll, 40*time.Millisecond)
	}
	for _, q := range queues {
		// That one run works on an instance at a time is for the leases to see to: with a limit here, a run that waits for the lease of a
		// dead one would keep that from being adopted. A global limit makes processes get into each other's way, for which they slow down.
		if _, err = dbos.RegisterQueue(r.dbos, queueName(q), dbos.WithPartitionQueue(), dbos.WithWorkerConcurrency(perInstance),
			dbos.WithQueueBasePollingInterval(poll)); err != nil {
			return nil, db.Fault("start the engine", err)
		}
	}
	names := make([]string, len(queues))
	for i, q := range queues {
		names[i] = queueName(q)
	}
	dbos.ListenQueues(r.dbos, names...)
	// Only now, as all of that may take longer than a lease is good for.
	if err = r.register(ctx); err != nil {
		return nil, err
	}
	if err = dbos.Launch(r.dbos); err != nil {
		return nil, db.Fault("start the engine", err)
	}
	r.wg.Go(func() { r.every(e.o.TTL/5, r.renew) })
	r.wg.Go(func() { r.every(e.o.Poll, r.heed) })
	return r, nil
}

// perInstance is how many runs of one instance a process takes, to work on one and let the others wait for its lease. How many runs of all
// instances are worked on at once is the process's own affair: what a queue says is the same for all that serve it.
const perInstance = 64

// bury ends the leases of processes of this machine that are gone: nobody needs to wait until they are over.
func (e *Engine) bury(ctx context.Context) error {
	const what = "end the leases of dead processes"
	var dead []state.Runner
	err := e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) (err error) {
		dead, err = tx.Dead(ctx)
		return err
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	return e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		for _, r := range dead {
			if err := tx.RemoveRunner(ctx, r.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// register begins the lease.
func (r *runner) register(ctx context.Context) error {
	if err := r.e.bury(ctx); err != nil {
		return err
	}
	return r.fence.extend(func() error {
		return r.e.store.Tx(ctx, "register as a runner", func(ctx context.Context, tx *state.Tx) error {
			if err := tx.ForgetRunners(ctx); err != nil {
				return err
			}
			process := state.OwnProcess()
			if r.e.o.apart {
				process = ""
			}
			return tx.AddRunner(ctx, state.Runner{ID: r.id, Host: r.e.o.Host, PID: os.Getpid(), Process: process, Queues: r.queues}, r.e.o.TTL)
		})
	})
}

// maxRecoveries is how often a run may be resumed: as often as somebody wants.
const maxRecoveries = 1 << 30

func queueName(q string) string { return "dbops-" + q }

// forgetQueue removes the queue of one run, which is over or will be registered again.
func (r *runner) forgetQueue(queue string) {
	if r.stopping.Err() != nil {
		return // the store may be away
	}
	if err := dbos.DeleteQueue(r.dbos, queueName(queue)); err != nil {
		r.e.o.Log.Warn("a queue was left behind", "queue", queue, "error", err)
	}
}

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
	idle := len(r.running) == 0
	r.mu.Unlock()
	if idle {
		return
	}
	var told []string
	err := r.e.store.Read(ctx, "look for orders", func(ctx context.Context, tx *state.Tx) (err error) {
		told, err = tx.Cancels(ctx, r.id)
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.e.o.Log.Warn("orders could not be read; trying again", "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range told {
		if cancel := r.running[id]; cancel != nil {
			cancel(errCancelled)
		}
	}
}

// halt makes the runner stop at once: nothing that its steps return is recorded.
func (r *runner) halt(why error) {
	r.stop(why)
	r.shutdown.Do(func() {
		r.wg.Go(func() {
			if r.dbos != nil {
				if err := dbos.Shutdown(r.dbos, r.e.o.patience); err != nil {
					r.e.o.Log.Warn("stopping took too long", "error", err)
				}
			}
		})
	})
}

// errEnded is the cause of an orderly end.
var errEnded = errors.New("the runner ends")

// close ends the runner: what runs is interrupted, to be resumed by somebody else. A step that does not stop keeps its instance until
// the lease runs out, and the error is errBusy.
func (r *runner) close(ctx context.Context) (err error) {
	r.halt(errEnded)
	r.wg.Wait()
	if why := context.Cause(r.stopping); !errors.Is(why, errEnded) { //nolint:contextcheck // why the runner stopped, not the caller
		err = why
	}
	if r.own != nil { // the engine has closed what it was given, and not the rest
		err = errors.Join(err, r.own.Close())
	}
	r.mu.Lock()
	busy := slices.Sorted(maps.Keys(r.running))
	r.mu.Unlock()
	if len(busy) > 0 {
		f := fault.New(fault.Unavailable, "stop working on run "+busy[0], errBusy).Hint("end this process; dbops runs resume %s goes on when its lease is over", busy[0])
		return errors.Join(err, f)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, r.e.store.Tx(ctx, "end the lease", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveRunner(ctx, r.id) }))
}

// errBusy says that a step goes on although it was told to stop.
var errBusy = errors.New("its step does not stop")

// workflow works on one run. Its result is never an error: the journal says how the run ended.
func (r *runner) workflow(ctx dbos.Context, id string) (string, error) {
	err := r.work(ctx, id)
	if foreign, ok := errors.AsType[foreignError](err); ok {
		err = r.stranded(ctx, id, foreign)
	}
	if err == nil {
		return "ended", nil
	}
	// Nothing of this may be recorded: the run goes on in another process.
	if !errors.Is(err, errStopped) {
		f := fault.New(fault.KindOf(err), "work on run "+id, err)
		if fault.HintOf(err) == "" {
			f = f.Hint("dbops runs resume %s", id)
		}
		r.halt(f)
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
		return foreignError{fmt.Errorf("there is no run %s", id)}
	case run.State.Ended():
		return nil
	}
	r.e.o.hook("the run is begun")
	p, kind, steps, err := r.known(ctx, run)
	if err != nil {
		return err
	}
	run, leases, err := r.acquire(ctx, run, p)
	if err != nil || leases == nil {
		return err
	}
	defer r.exit()
	r.e.o.hook("the lease is held")
	r.e.o.Log.Info("working on a run", "run", id, "target", p.Target.String(), "title", p.Title)
	b := &dbosBook{r: r, ctx: ctx, run: run, plan: p, leases: leases, actor: actorOf(run, p)}
	session := Session{Plan: p, Run: id, outputs: map[string]json.RawMessage{}, fence: r.mustHold, progress: b.progress(), by: func() Actor { return b.actor }, carry: r.carrier(b)}
	mark := &marker{r: r, session: session}
	pages, left := r.e.teller.told(ctx, b)
	defer left()
	m := &machine{
		book: pages, steps: append([]Step{checkStep(kind, p)}, steps...), session: session,
		act: func(ctx context.Context, at point, do func(context.Context) (Result, error)) (outcome, error) {
			return b.act(ctx, at, func(ctx context.Context) (Result, error) {
				if err := mark.keep(ctx, at); err != nil {
					return Result{}, err
				}
				return do(ctx)
			})
		},
	}
	if err := m.run(ctx); err != nil {
		return err
	}
	mark.remove(ctx)
	overOf(ctx, kind, id)
	r.e.o.Log.Info("the run has ended; see dbops runs show", "run", id)
	return nil
}

// known is a run's plan as this dbops understands it; else a foreignError.
func (r *runner) known(ctx context.Context, run state.Run) (*Plan, Kind, []Step, error) {
	p, err := r.e.PlanOf(ctx, run.PlanHash)
	if k := fault.KindOf(err); err != nil && k != fault.Config && k != fault.Invalid && k != fault.NotFound {
		return nil, nil, nil, err // of the store
	}
	if err != nil {
		return nil, nil, nil, foreignError{err}
	}
	kind, err := r.e.kinds.Kind(p.Kind)
	if err != nil {
		return nil, nil, nil, foreignError{err}
	}
	steps, err := rebuild(kind, p)
	if err != nil {
		return nil, nil, nil, foreignError{err}
	}
	return p, kind, steps, nil
}

// mustHold is what a step asks before it changes something.
func (r *runner) mustHold() error {
	if r.stopping.Err() != nil {
		return errStopped
	}
	return r.fence.check()
}

// CheckStep is the first step of each run: it changes nothing.
const CheckStep = "check"

// Begun tells whether a run with that journal came further than its first look, and may have changed something.
func Begun(journal []state.Step) bool {
	return slices.ContainsFunc(journal, func(s state.Step) bool { return s.Name != CheckStep })
}

// checkStep compares the world with what the plan was made from, before anything is changed.
func checkStep(k Kind, p *Plan) Step {
	return Step{Name: CheckStep, Title: "compare " + p.Target.String() + " with what the plan was made from", Do: func(ctx context.Context, _ *Session) (Result, error) {
		facts, err := k.Observe(ctx, p.Target, p.Request)
		if err != nil {
			return Result{}, err
		}
		if !sameFacts(k, p.Facts, facts) {
			return Result{}, fault.Newf(fault.Stale, "compare "+p.Target.String()+" with the plan", "it changed since the plan was made: %s", difference(p.Facts, facts, wordsOf(k))).
				Hint("nothing was changed; make the plan again and look at it")
		}
		return Result{Text: "as when the plan was made"}, nil
	}}
}
