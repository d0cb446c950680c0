package op

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// dbosBook writes a run down in the store: the journal, the audit entry and the engine's checkpoint in one transaction.
type dbosBook struct {
	r      *runner
	ctx    dbos.Context
	run    state.Run
	plan   *Plan
	leases []state.Lease
	actor  Actor // by whose word the run goes on

	said saying
}

var _ book = (*dbosBook)(nil)

// record runs fn in a transaction that holds the engine's checkpoint, too. When that is there already, fn is not called and what it
// returned then is returned. An error of fn must not be checkpointed: it stops the runner.
func record[T any](b *dbosBook, name string, fn func(context.Context, *state.Tx) (T, error)) (T, error) {
	var zero T
	out, err := dbos.RunAsTransaction(b.ctx, b.r.ds, func(ctx context.Context, tx dbos.Tx) (T, error) {
		t := b.r.e.store.On(engineTx{tx})
		v, err := func() (T, error) {
			for _, l := range b.leases {
				if err := t.Check(ctx, l); err != nil {
					return zero, err
				}
			}
			if err := b.r.mustHold(); err != nil {
				return zero, err
			}
			return fn(ctx, t)
		}()
		if err != nil && !deadlock(err) {
			b.fail(name, err)
			<-b.ctx.Done() // so that the engine sees an interruption, which it does not record
		}
		return v, err
	}, dbos.WithStepName(name), dbos.WithStepMaxRetries(3), dbos.WithStepRetryPredicate(deadlock))
	if unexpected(err) {
		return zero, foreignError{fault.Newf(fault.Config, "go on with run "+b.run.ID, "what was written down of it is not what this dbops would write").
			Hint("it was begun by another version of dbops (%s): use that one", b.plan.Tool)}
	}
	if err != nil {
		b.fail(name, err)
		return zero, errStopped
	}
	b.r.e.o.hook(name)
	return out, nil
}

// unexpected tells that the engine has a checkpoint of another name where this one belongs.
func unexpected(err error) bool {
	for e, ok := errors.AsType[*dbos.Error](err); ok; e, ok = errors.AsType[*dbos.Error](errors.Unwrap(e)) {
		if e.Code == dbos.ErrorCodeUnexpectedStep {
			return true
		}
	}
	return false
}

func deadlock(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "40P01"
}

func (b *dbosBook) fail(name string, err error) {
	what := "write down " + name + " of run " + b.run.ID
	f := db.Fault(what, err)
	if errors.Is(err, state.ErrLost) {
		f = fault.New(fault.Unavailable, what, err).Hint("another process may go on with it: dbops runs watch %s", b.run.ID)
	}
	b.r.halt(f)
}

func (b *dbosBook) step(p point) state.Step {
	return state.Step{Phase: p.Phase, Pos: p.Pos, Attempt: p.Attempt, Name: p.Name}
}

func (b *dbosBook) entry(p point, phase audit.Phase, text string) audit.Entry {
	e := b.r.e.entry(b.run, b.actor, phase, text)
	e.Step, e.Attempt = p.Name, p.Attempt
	if p.Phase == state.Undo {
		e.Step = "undo " + p.Name
	}
	return e
}

func (b *dbosBook) title(p point) string {
	if p.Pos == 0 {
		return "compare " + b.plan.Target.String() + " with what the plan was made from"
	}
	s := b.plan.Steps[p.Pos-1]
	if p.Phase == state.Undo {
		return s.Undo
	}
	return s.Title
}

func (b *dbosBook) begin(ctx context.Context, p point) (ended bool, err error) {
	_, err = record(b, "begin "+p.String(), func(ctx context.Context, tx *state.Tx) (bool, error) {
		s := state.Running
		if p.Phase == state.Undo {
			s = state.Undoing
		}
		if err := tx.SetRun(ctx, b.run.ID, s, p.Name, "", ""); err != nil {
			return false, err
		}
		if err := tx.BeginStep(ctx, b.run.ID, b.step(p)); err != nil {
			return false, err
		}
		if err := tx.AddEvent(ctx, b.run.ID, state.Event{Kind: EventStep, Step: p.Name, Text: b.title(p)}); err != nil {
			return false, err
		}
		return true, tx.Append(ctx, b.entry(p, audit.Intent, b.title(p)))
	})
	if err != nil {
		return false, err
	}
	err = b.r.e.store.Read(ctx, "read the journal", func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Steps(ctx, b.run.ID)
		ended = slices.ContainsFunc(all, func(s state.Step) bool {
			return s.Phase == p.Phase && s.Pos == p.Pos && s.Attempt == p.Attempt && s.State != state.StepRunning
		})
		return err
	})
	if err != nil {
		b.fail("the journal", err)
		return false, errStopped
	}
	return ended, nil
}

// act does what a step says, in a context that ends when somebody cancels the run or this process stops.
func (b *dbosBook) act(ctx context.Context, p point, do func(context.Context) (Result, error)) (o outcome, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	release := context.AfterFunc(b.r.stopping, func() { cancel(errStopped) }) //nolint:contextcheck // the process's end ends the step, too
	defer release()
	b.r.mu.Lock()
	b.r.running[b.run.ID] = cancel
	b.r.mu.Unlock()
	defer func() {
		b.r.mu.Lock()
		delete(b.r.running, b.run.ID)
		b.r.mu.Unlock()
	}()
	if b.toldToCancel(ctx) { // before it began: the process that was told had died, or the step before was quicker
		cancel(errCancelled)
		do = func(ctx context.Context) (Result, error) { return Result{}, context.Cause(ctx) }
	}
	result, err := guarded(ctx, do)
	if held := b.r.mustHold(); held != nil {
		if !errors.Is(held, errStopped) {
			b.fail("what "+p.Name+" did", held)
		}
		return outcome{}, errStopped // never recorded: the lease may be somebody else's
	}
	o = outcomeOf(result, err)
	if err != nil && errors.Is(context.Cause(ctx), errCancelled) {
		o.Cancelled, o.Kind, o.Problem, o.Hint = true, fault.Interrupted, "cancelled", ""
	}
	return o, nil
}

// toldToCancel tells whether an order to cancel waits.
func (b *dbosBook) toldToCancel(ctx context.Context) (told bool) {
	err := b.r.e.store.Read(ctx, "look for orders", func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Controls(ctx, b.run.ID)
		told = slices.ContainsFunc(all, func(c state.Control) bool { return c.Verb == state.Cancel && c.Point == "" })
		return err
	})
	return err == nil && told // else the runner's own look finds it
}

// guarded turns a panic of a step into its failure: the run parks, and the process lives on.
func guarded(ctx context.Context, do func(context.Context) (Result, error)) (r Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fault.Newf(fault.Internal, "do a step", "it panicked: %v", v)
		}
	}()
	return do(ctx)
}

func (b *dbosBook) end(_ context.Context, p point, o outcome) (outcome, error) {
	b.hush()
	return record(b, "end "+p.String(), func(ctx context.Context, tx *state.Tx) (outcome, error) {
		s := b.step(p)
		s.State, s.Output, s.Problem = state.StepDone, o.Output, o.Problem
		event := state.Event{Kind: EventDone, Step: p.Name, Text: o.Text}
		entry := b.entry(p, audit.Result, o.Text)
		entry.Outcome, entry.RequestID = audit.Done, o.RequestID
		if !o.OK {
			s.State, event.Kind, event.Text = state.StepFailed, EventFailed, o.Problem
			entry.Outcome, entry.Text = audit.Failed, o.Problem
			if o.Cancelled {
				by, err := b.heeded(ctx, tx, p)
				if err != nil {
					return o, err
				}
				entry.Actor, entry.Via = b.actor.Name, b.actor.Via
				o.Problem = "cancelled by " + by
				s.Problem, event.Text, entry.Text, entry.Outcome = o.Problem, o.Problem, o.Problem, "cancelled"
			}
		}
		for _, c := range o.Changes {
			entry.Changes = append(entry.Changes, audit.Change{Setting: settingOf(b.plan.Target, c), From: c.From, To: c.To})
		}
		if err := tx.EndStep(ctx, b.run.ID, s); err != nil {
			return o, err
		}
		if err := tx.AddEvent(ctx, b.run.ID, event); err != nil {
			return o, err
		}
		return o, tx.Append(ctx, entry)
	})
}

// heeded takes the orders to cancel, and says who gave them: the run goes on by the word of the last of them.
func (b *dbosBook) heeded(ctx context.Context, tx *state.Tx, p point) (by string, err error) {
	all, err := tx.Controls(ctx, b.run.ID)
	if err != nil {
		return "", err
	}
	by = "somebody"
	for _, c := range all {
		if c.Verb == state.Cancel && c.Point == "" {
			by = c.Actor
			if err := b.by(ctx, tx, c); err != nil {
				return "", err
			}
			if c.Reason != "" {
				by += " (" + c.Reason + ")"
			}
			if err := tx.TakeControl(ctx, b.run.ID, c.Seq, p.String()); err != nil {
				return "", err
			}
		}
	}
	return by, nil
}

// by makes the run go on by the word of who gave an order.
func (b *dbosBook) by(ctx context.Context, tx *state.Tx, c state.Control) error {
	b.actor = Actor{c.Actor, c.Via}
	return tx.SetActor(ctx, b.run.ID, c.Actor, c.Via)
}

func (b *dbosBook) again(ctx context.Context, p point, pause time.Duration) (bool, error) {
	later := false // an attempt that was begun already does not wait again
	err := b.r.e.store.Read(ctx, "read the journal", func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Steps(ctx, b.run.ID)
		later = slices.ContainsFunc(all, func(s state.Step) bool { return s.Phase == p.Phase && s.Pos == p.Pos && s.Attempt > p.Attempt })
		return err
	})
	if err != nil {
		b.fail("the journal", err)
		return false, errStopped
	}
	if !later {
		b.tell(ctx, state.Event{Kind: EventRetry, Step: p.Name, Text: fmt.Sprintf("trying again in %s", pause)})
		_, err := b.act(ctx, p, func(ctx context.Context) (Result, error) { return Result{}, b.r.clock(ctx, pause) })
		if err != nil {
			return false, err
		}
	}
	return record(b, "again "+p.String(), func(ctx context.Context, tx *state.Tx) (bool, error) {
		all, err := tx.Controls(ctx, b.run.ID)
		if err != nil {
			return false, err
		}
		cancelled := slices.ContainsFunc(all, func(c state.Control) bool { return c.Verb == state.Cancel && c.Point == "" })
		if cancelled {
			_, err = b.heeded(ctx, tx, p)
		}
		return !cancelled, err
	})
}

func (b *dbosBook) decide(ctx context.Context, p point, s state.RunState, o outcome, verbs ...state.Verb) (state.Verb, error) {
	problem, kind := o.Problem, EventParked
	if s == state.Gate {
		problem, kind = o.Text, EventGate
	}
	_, err := record(b, string(s)+" "+p.String(), func(ctx context.Context, tx *state.Tx) (bool, error) {
		if err := tx.SetRun(ctx, b.run.ID, s, p.Name, problem, o.Hint); err != nil {
			return false, err
		}
		if err := tx.SetVerbs(ctx, b.run.ID, verbs); err != nil {
			return false, err
		}
		if err := tx.AddEvent(ctx, b.run.ID, state.Event{Kind: kind, Step: p.Name, Text: problem}); err != nil {
			return false, err
		}
		on := OnFailure
		if s == state.Gate {
			on = OnGate
		} else if o.Cancelled { // whoever did knows, and decides
			return true, nil
		}
		return true, b.r.e.notify(ctx, tx, on, b.run.ID, problem, o.Hint)
	})
	if err != nil {
		return "", err
	}
	b.r.exit() // who waits for a person keeps nobody from working
	defer b.r.enter(true)
	for {
		verb, err := b.order(ctx, p, verbs)
		if err != nil && !passes(fault.KindOf(err)) {
			b.fail("the decision", err)
			return "", errStopped
		}
		if verb != "" {
			return b.heed(p, verbs)
		}
		if err := Sleep(b.r.stopping, b.r.e.o.Poll); err != nil { //nolint:contextcheck // the run goes on elsewhere when the process ends
			return "", errStopped
		}
	}
}

// order is what the run was told last and has not heeded, or heeded here in an earlier process; empty if nothing of verbs.
func (b *dbosBook) order(ctx context.Context, p point, verbs []state.Verb) (v state.Verb, err error) {
	err = b.r.e.store.Read(ctx, "wait for a decision", func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Controls(ctx, b.run.ID)
		v = last(all, p.String(), verbs).Verb
		return err
	})
	return v, err
}

func last(all []state.Control, here string, verbs []state.Verb) (found state.Control) {
	for _, c := range all {
		if (c.Point == "" || c.Point == here) && slices.Contains(verbs, c.Verb) {
			found = c
		}
	}
	return found
}

// heed takes what the run was told until now, and does the last of it: nothing is left that would be heeded at another place.
func (b *dbosBook) heed(p point, verbs []state.Verb) (state.Verb, error) {
	return record(b, "decide "+p.String(), func(ctx context.Context, tx *state.Tx) (state.Verb, error) {
		if _, _, err := tx.LockRun(ctx, b.run.ID); err != nil {
			return "", err
		}
		all, err := tx.Controls(ctx, b.run.ID)
		if err != nil {
			return "", err
		}
		word := last(all, "", verbs)
		if word.Verb != "" {
			if err := b.by(ctx, tx, word); err != nil {
				return "", err
			}
		}
		for _, c := range all {
			if c.Point == "" {
				if err := tx.TakeControl(ctx, b.run.ID, c.Seq, p.String()); err != nil {
					return "", err
				}
			}
		}
		s := state.Running
		if word.Verb == state.UndoRun || p.Phase == state.Undo {
			s = state.Undoing
		}
		return word.Verb, tx.SetRun(ctx, b.run.ID, s, p.Name, "", "")
	})
}

func (b *dbosBook) finish(_ context.Context, s state.RunState, o outcome) error {
	_, err := record(b, "finish "+string(s), func(ctx context.Context, tx *state.Tx) (bool, error) {
		if err := tx.SetRun(ctx, b.run.ID, s, "", o.Problem, o.Hint); err != nil {
			return false, err
		}
		if err := tx.Release(ctx, b.run.ID); err != nil {
			return false, err
		}
		text := string(s)
		if o.Problem != "" {
			text += ": " + o.Problem
		}
		if err := tx.AddEvent(ctx, b.run.ID, state.Event{Kind: EventEnded, Text: text}); err != nil {
			return false, err
		}
		entry := b.r.e.entry(b.run, b.actor, audit.Note, "ended: "+text)
		entry.Outcome = string(s)
		if err := tx.Append(ctx, entry); err != nil {
			return false, err
		}
		return true, b.r.e.notify(ctx, tx, occasionOf(s), b.run.ID, o.Problem, o.Hint)
	})
	return err
}

// progress tells those who watch, a few times a second at most, and never the same twice. What must be told is, however soon after another.
func (b *dbosBook) progress() func(ctx context.Context, must bool, text string, detail json.RawMessage) {
	return func(ctx context.Context, must bool, text string, detail json.RawMessage) {
		b.said.mu.Lock()
		defer b.said.mu.Unlock()
		w := &b.said
		if text == w.last && (!must || w.timer == nil) {
			return
		}
		w.last, w.detail = text, detail
		if wait := progressEach - time.Since(w.at); wait > 0 && !must { // the last of many is told all the same
			if w.timer == nil {
				w.timer = time.AfterFunc(wait, func() { b.tellLast(ctx) })
			}
			return
		}
		if w.timer != nil { // of this, or of what came before it
			w.timer.Stop()
			w.timer = nil
		}
		w.at = time.Now()
		b.tell(ctx, state.Event{Kind: EventProgress, Text: bounded(text), Detail: detail})
	}
}

// progressEach is how often progress is told at most.
const progressEach = 250 * time.Millisecond

// saying is what was told of a step's progress.
type saying struct {
	mu     sync.Mutex
	last   string
	detail json.RawMessage
	at     time.Time
	timer  *time.Timer
}

func (b *dbosBook) tellLast(ctx context.Context) {
	b.said.mu.Lock()
	defer b.said.mu.Unlock()
	if b.said.timer == nil {
		return // the step has ended
	}
	b.said.timer, b.said.at = nil, time.Now()
	b.tell(ctx, state.Event{Kind: EventProgress, Text: bounded(b.said.last), Detail: b.said.detail})
}

// hush ends the telling of a step.
func (b *dbosBook) hush() {
	b.said.mu.Lock()
	defer b.said.mu.Unlock()
	if b.said.timer != nil {
		b.said.timer.Stop()
		b.said.timer = nil
	}
}

// tell adds an event that nothing depends on.
func (b *dbosBook) tell(ctx context.Context, e state.Event) {
	err := b.r.e.store.Tx(ctx, "tell progress", func(ctx context.Context, tx *state.Tx) error { return tx.AddEvent(ctx, b.run.ID, e) })
	if err != nil && ctx.Err() == nil {
		b.r.e.o.Log.Warn("progress could not be told", "run", b.run.ID, "error", err)
	}
}
