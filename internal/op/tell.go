package op

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// ToldError is that a run was told to go on already, and has not heeded it yet: it does so by that word.
type ToldError struct{ By string }

func (e *ToldError) Error() string { return e.By + " has told it to continue already" }

// Tell tells a run to cancel its step, to try again, to undo, to go on at a gate, or to end as it is. Whoever works on the run, or
// resumes it, heeds it: of several words that nobody has heeded yet the last. A verb that does not fit the run's state is a fault.Usage; a second
// word to continue at one gate is a [ToldError].
func (e *Engine) Tell(ctx context.Context, id string, v state.Verb, by Actor, reason string) error {
	what := fmt.Sprintf("%s run %s", v, id)
	if v == state.UndoRun {
		if err := e.Undoable(ctx, id); err != nil {
			return err
		}
	}
	if v == state.Continue {
		if err := e.mayPass(ctx, id); err != nil {
			return err
		}
	}
	return e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		r, found, err := tx.LockRun(ctx, id) // so that whoever begins or goes on sees it
		if err != nil {
			return err
		}
		if !found {
			return noRun(what)
		}
		if err := fits(what, r, v); err != nil {
			return err
		}
		if v == state.Continue {
			all, err := tx.Controls(ctx, id)
			if err != nil {
				return err
			}
			if c := last(all, "", []state.Verb{state.Continue, state.UndoRun, state.Abandon}); c.Verb == v {
				return &ToldError{By: c.Actor}
			}
		}
		if v == state.Cancel && r.State == state.Queued && !r.Alive { // nobody has begun, so nobody else will hear it
			if err := e.cancelQueued(ctx, tx, r, by); err != nil {
				return err
			}
		} else if err := tx.AddControl(ctx, id, state.Control{Verb: v, Reason: reason, Actor: by.Name, Via: by.Via}); err != nil {
			return err
		} else if Idle(r) { // whoever takes it up does so to stop it
			if err := tx.SetActor(ctx, id, by.Name, by.Via); err != nil {
				return err
			}
		}
		text := "told to " + string(v)
		if reason != "" {
			text += ": " + reason
		}
		if err := tx.Append(ctx, e.entry(r, by, audit.Note, text)); err != nil {
			return err
		}
		return tx.AddEvent(ctx, id, state.Event{Kind: EventTold, Step: r.Step, Text: by.String() + ": " + text})
	})
}

// Undoable refuses to undo a run whose plan has no step that can be: a fault.Usage that says how to get back.
func (e *Engine) Undoable(ctx context.Context, id string) error {
	r, err := e.Run(ctx, id)
	if err != nil {
		return err
	}
	p, err := e.PlanOf(ctx, r.PlanHash)
	if err != nil || slices.ContainsFunc(p.Steps, func(s StepInfo) bool { return s.Undo != "" }) {
		return nil //nolint:nilerr // a plan of another version: whoever works on it knows
	}
	f := fault.Newf(fault.Usage, "undo run "+id, "none of its steps can be undone: what it did stays")
	if p.Back != "" {
		return f.Hint("dbops runs resume %s goes on; when it has ended, the way back: %s", id, p.Back)
	}
	return f.Hint("dbops runs resume %s goes on, dbops runs abandon %s leaves it as it is", id, id)
}

// cancelQueued ends a run that was not begun.
func (e *Engine) cancelQueued(ctx context.Context, tx *state.Tx, r state.Run, by Actor) error {
	return e.endQueued(ctx, tx, r, by, "cancelled by "+by.Name)
}

func (e *Engine) endQueued(ctx context.Context, tx *state.Tx, r state.Run, by Actor, text string) error {
	if err := tx.SetRun(ctx, r.ID, state.Cancelled, "", text, ""); err != nil {
		return err
	}
	entry := e.entry(r, by, audit.Note, "ended: "+text)
	entry.Outcome = string(state.Cancelled)
	if err := tx.Append(ctx, entry); err != nil {
		return err
	}
	if err := tx.AddEvent(ctx, r.ID, state.Event{Kind: EventEnded, Text: text}); err != nil {
		return err
	}
	return e.notify(ctx, tx, occasionOf(state.Cancelled), r.ID, text, "")
}

// Fits returns why a run cannot be told a verb now: a fault.Usage, or a fault.Busy if that may be gone in a while.
func Fits(r state.Run, v state.Verb) error { return fits(fmt.Sprintf("%s run %s", v, r.ID), r, v) }

func fits(what string, r state.Run, v state.Verb) error {
	no := func(format string, args ...any) *fault.Error {
		return fault.Newf(fault.Usage, what, format, args...).Hint("dbops runs show %s", r.ID)
	}
	waits := r.State == state.Parked || r.State == state.Gate
	silent, left := r.Silent()
	switch {
	case r.State.Ended():
		return no("it has ended: %s", r.State)
	case waits && v == state.Cancel:
		return no("no step runs: it is %s, and waits for %s", r.State, strings.Join(r.Verbs, ", "))
	case waits && !slices.Contains(r.Verbs, string(v)):
		return no("it is %s, and waits for %s", r.State, strings.Join(r.Verbs, ", "))
	case waits || v == state.Cancel:
		return nil
	case r.State == state.Queued:
		return no("it is queued, and was not begun: there is nothing to %s", v).Hint("dbops runs resume %s, or dbops runs cancel %s", r.ID, r.ID)
	case !r.Alive:
		return no("it was interrupted, and waits for no decision").Hint("dbops runs resume %s goes on with it; dbops runs undo %s, or abandon, stops it first", r.ID, r.ID)
	case silent:
		return fault.Newf(fault.Busy, what, "%s", Sign(r)).
			Hint("if that process is dead the run is free in %s: try again then", left.Round(time.Second))
	}
	return no("%s", Sign(r)).Hint("dbops runs cancel %s stops its step; then dbops runs %s %s", r.ID, v, r.ID)
}

// Stopped waits until a run whose step was told to stop has done so, for a while: a step stops where that is safe. It returns the run as it is
// then; one that goes on stopping is a fault.Busy. A run that was told nothing is returned at once.
func (e *Engine) Stopped(ctx context.Context, id string, patience time.Duration) (r state.Run, err error) {
	what := "stop run " + id
	for end := time.Now().Add(patience); ; {
		told := false
		err := e.store.Read(ctx, what, func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Controls(ctx, id) // before the run, which a runner sets when it heeds one
			if err != nil {
				return err
			}
			told = last(all, "", []state.Verb{state.Cancel}).Verb != ""
			var found bool
			if r, found, err = tx.Run(ctx, id); err == nil && !found {
				err = noRun(what)
			}
			return err
		})
		stops := told && r.Alive && (r.State == state.Running || r.State == state.Undoing)
		switch {
		case err != nil || !stops:
			return r, err
		case time.Now().After(end):
			return r, fault.Newf(fault.Busy, what, "its step %s was told to stop, and has not stopped yet", r.Step).
				Hint("it stops where that is safe: dbops runs watch %s shows when", id)
		}
		if err := Sleep(ctx, e.o.Poll/4); err != nil {
			return r, fault.New(fault.Interrupted, what, err).Hint("it goes on stopping: dbops runs watch %s", id)
		}
	}
}

// Sign says who works on a run, or did last, and how that is known; empty if nobody has.
func Sign(r state.Run) string {
	if r.PID == 0 {
		return ""
	}
	who, seen := fmt.Sprintf("process %d of %s", r.PID, r.Host), r.Seen.Local().Format("15:04:05")
	silent, left := r.Silent()
	switch {
	case !r.Alive:
		return who + " worked on it, and is gone; last seen at " + seen
	case silent:
		return fmt.Sprintf("%s works on it, or died: no sign of life since %s; its lease ends in %s", who, seen, left.Round(time.Second))
	}
	return who + " works on it, seen at " + seen
}
