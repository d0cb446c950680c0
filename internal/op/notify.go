package op

import (
	"context"

	"dbops/internal/state"
)

// What others are told of.
const (
	OnGate     = "gate"
	OnApproval = "approval"
	OnFailure  = "failure"
	OnFinished = "finished"
)

// Happening is something that somebody may want to be told of.
type Happening struct {
	On       string
	Run      state.Run // of an approval: what is known of the run that may come of it
	Approval string
	Text     string // what is waited for, or what failed
	Hint     string
}

// notify stores the notices of what happens to a run, in the transaction in which it does. A part is told of by its whole.
func (e *Engine) notify(ctx context.Context, tx *state.Tx, on, id, text, hint string) error {
	if e.o.Notify == nil {
		return nil
	}
	r, found, err := tx.Run(ctx, id)
	if err != nil || !found || r.PartOf != "" {
		return err
	}
	return e.addNotices(ctx, tx, Happening{On: on, Run: r, Text: text, Hint: hint})
}

func (e *Engine) addNotices(ctx context.Context, tx *state.Tx, h Happening) error {
	if e.o.Notify == nil {
		return nil
	}
	for _, n := range e.o.Notify(h) {
		if err := tx.AddNotice(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// occasionOf is what it means that a run has ended so.
func occasionOf(s state.RunState) string {
	if s == state.Failed {
		return OnFailure
	}
	return OnFinished
}
