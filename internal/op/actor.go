package op

import (
	"context"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// actorOf is by whose word a run goes on: who started it, resumed it, or decided last. Runs of an older dbops know only who asked.
func actorOf(run state.Run, p *Plan) Actor {
	if run.Actor == "" {
		return p.Requester
	}
	return Actor{run.Actor, run.ActorVia}
}

// Resume says that somebody brings a run on that nobody works on: what it does from then on is theirs in the audit log. Of a run that somebody
// works on, that waits for a decision, or that has ended, nothing is written down.
func (e *Engine) Resume(ctx context.Context, id string, by Actor) error {
	what := "resume run " + id
	return e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		r, found, err := tx.LockRun(ctx, id)
		if err == nil && !found {
			err = noRun(what)
		}
		if err != nil {
			return err
		}
		return e.resumed(ctx, tx, r, by)
	})
}

func (e *Engine) resumed(ctx context.Context, tx *state.Tx, r state.Run, by Actor) error {
	if !Idle(r) || r.State == state.Queued && r.Actor == by.Name { // who submitted it begins it
		return nil
	}
	if err := tx.SetActor(ctx, r.ID, by.Name, by.Via); err != nil {
		return err
	}
	if err := tx.Append(ctx, e.entry(r, by, audit.Note, "resumed")); err != nil {
		return err
	}
	return tx.AddEvent(ctx, r.ID, state.Event{Kind: EventTold, Step: r.Step, Text: by.String() + ": resumed"})
}

// Idle tells whether a run could be worked on, and nobody does.
func Idle(r state.Run) bool {
	return !r.Alive && (r.State == state.Queued || r.State == state.Running || r.State == state.Undoing)
}

func noRun(what string) error {
	return fault.Newf(fault.Usage, what, "there is no such run").Hint("dbops runs list")
}
