package op

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// foreignError says that this dbops cannot work on a run, and that another version may.
type foreignError struct{ error }

func (e foreignError) Unwrap() error { return e.error }

// stranded keeps a run that this dbops cannot work on, and returns nil when it has ended: anybody can say that it ends as it is, which needs no
// knowledge of its steps. One that nobody said anything about is left to another version: a worker waits for a word beside its other runs, another
// process returns why it cannot.
func (r *runner) stranded(ctx context.Context, id string, why foreignError) error {
	told := false
	for {
		var run state.Run
		var orders []state.Control
		err := r.e.store.Read(ctx, "look for orders", func(ctx context.Context, tx *state.Tx) (err error) {
			if orders, err = tx.Controls(ctx, id); err == nil {
				run, _, err = tx.Run(ctx, id)
			}
			return err
		})
		verb := last(orders, "", []state.Verb{state.Cancel, state.Retry, state.UndoRun, state.Continue, state.Abandon}).Verb
		waits := run.State == state.Parked || run.State == state.Gate
		switch {
		case err != nil && !passes(fault.KindOf(err)):
			return err
		case err != nil:
		case run.State.Ended():
			return nil
		case verb == state.Abandon:
			if err = r.endAsItIs(ctx, run, orders, why); err == nil {
				return nil
			}
		case verb == state.Cancel && waits: // whoever told it sees that
		case verb == state.Cancel:
			err = r.park(ctx, run, why)
		case !r.worker:
			return fault.New(fault.KindOf(why), "", why).Hint("%s; here dbops runs %s %s ends it as it is", fault.HintOf(why), ending(run), id)
		case !told:
			told = true
			r.refuse(ctx, id, why)
		}
		if _, held := errors.AsType[*state.HeldError](err); err != nil && !held && !passes(fault.KindOf(err)) {
			return err
		}
		if err := Sleep(r.stopping, r.e.o.Poll); err != nil { //nolint:contextcheck // the run goes on elsewhere when the process ends
			return errStopped
		}
	}
}

// ending is the word that ends a run of another version.
func ending(run state.Run) state.Verb {
	if run.State == state.Queued {
		return state.Cancel
	}
	return state.Abandon
}

// refuse says that this worker keeps away from a run.
func (r *runner) refuse(ctx context.Context, id string, why foreignError) {
	text := fmt.Sprintf("%s, process %d, cannot work on it: %v", r.e.o.Host, os.Getpid(), why)
	if hint := fault.HintOf(why.error); hint != "" {
		text += " (" + hint + ")"
	}
	r.e.o.Log.Error("a run cannot be worked on by this dbops", "run", id, "error", why)
	err := r.e.store.Tx(ctx, "say why a run waits", func(ctx context.Context, tx *state.Tx) error {
		return tx.AddEvent(ctx, id, state.Event{Kind: EventWaiting, Text: text})
	})
	if err != nil && ctx.Err() == nil {
		r.e.o.Log.Warn("it could not be told why a run waits", "run", id, "error", err)
	}
}

// hold takes what leases a run has: then nobody else works on it.
func (r *runner) hold(ctx context.Context, tx *state.Tx, id string) error {
	all, err := tx.Leases(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.Run != id {
			continue
		}
		if _, err := tx.Acquire(ctx, l.Target, id, r.id); err != nil {
			return err
		}
	}
	return r.mustHold()
}

// park says that nobody works on the step of a run any more. The order to cancel stays: a version that knows the run heeds it before it does
// anything else.
func (r *runner) park(ctx context.Context, run state.Run, why foreignError) error {
	verbs := []state.Verb{state.Retry, state.UndoRun, state.Abandon}
	if p, err := r.e.PlanOf(ctx, run.PlanHash); run.State == state.Undoing || err == nil &&
		slices.ContainsFunc(p.Steps, func(s StepInfo) bool { return s.Name == run.Step && s.Onward }) {
		verbs = []state.Verb{state.Retry, state.Abandon}
	}
	return r.e.store.Tx(ctx, "stop run "+run.ID, func(ctx context.Context, tx *state.Tx) error {
		if err := r.hold(ctx, tx, run.ID); err != nil {
			return err
		}
		text := "stopped; this dbops can only end it as it is: " + bounded(why.Error())
		if err := tx.SetRun(ctx, run.ID, state.Parked, run.Step, text, fault.HintOf(why.error)); err != nil {
			return err
		}
		if err := tx.SetVerbs(ctx, run.ID, verbs); err != nil {
			return err
		}
		if err := tx.AddEvent(ctx, run.ID, state.Event{Kind: EventParked, Step: run.Step, Text: text}); err != nil {
			return err
		}
		return r.e.notify(ctx, tx, OnFailure, run.ID, text, fault.HintOf(why.error))
	})
}

// endAsItIs ends a run that somebody abandoned. The engine's checkpoints of it are of no use to anybody.
func (r *runner) endAsItIs(ctx context.Context, run state.Run, orders []state.Control, why foreignError) error {
	err := r.e.store.Tx(ctx, "end run "+run.ID, func(ctx context.Context, tx *state.Tx) error {
		if err := r.hold(ctx, tx, run.ID); err != nil {
			return err
		}
		by := Actor{run.Actor, run.ActorVia}
		for _, c := range orders {
			if c.Point != "" {
				continue
			}
			by = Actor{c.Actor, c.Via}
			if err := tx.TakeControl(ctx, run.ID, c.Seq, "as it was"); err != nil {
				return err
			}
		}
		text := "abandoned by " + by.Name + " with a dbops that does not know its steps"
		if err := tx.SetActor(ctx, run.ID, by.Name, by.Via); err != nil {
			return err
		}
		if err := tx.SetRun(ctx, run.ID, state.Failed, "", text, ""); err != nil {
			return err
		}
		if err := tx.Release(ctx, run.ID); err != nil {
			return err
		}
		if err := tx.AddEvent(ctx, run.ID, state.Event{Kind: EventEnded, Text: string(state.Failed) + ": " + text}); err != nil {
			return err
		}
		entry := r.e.entry(run, by, audit.Note, "ended: "+text+": "+bounded(why.Error()))
		entry.Outcome = string(state.Failed)
		if err := tx.Append(ctx, entry); err != nil {
			return err
		}
		return r.e.notify(ctx, tx, OnFailure, run.ID, text, "")
	})
	if err == nil {
		mark := marker{r: r, session: Session{Plan: &Plan{Target: Target{Environment: run.Environment, Instance: run.Instance}}, Run: run.ID}}
		mark.remove(ctx)
	}
	return err
}
