package op

import (
	"context"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// unheld refuses a plan for a target that belongs to a run which nobody brings on: it would wait for ever. A run that is worked on is
// waited for.
func (e *Engine) unheld(ctx context.Context, tx *state.Tx, what string, p *Plan) error {
	leases, err := tx.Leases(ctx)
	if err != nil {
		return err
	}
	for _, l := range leases {
		if !slices.Contains(p.leases(), l.Target) || l.Run == p.RunID() {
			continue
		}
		r, found, err := tx.Run(ctx, l.Run)
		if err != nil {
			return err
		}
		waits := r.State == state.Parked || r.State == state.Gate
		if !found || r.Alive && !waits {
			continue
		}
		f := fault.Newf(fault.Busy, what, "%s has an unfinished run, %s: %s", l.Target, l.Run, r.Title)
		if waits {
			return f.Hint("dbops runs show %s says what it waits for", l.Run)
		}
		return f.Hint("nobody works on it: dbops runs resume %s", l.Run)
	}
	return nil
}
