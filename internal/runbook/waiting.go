package runbook

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Waiting are the hashes of the plans that a run with that journal would run next, if it waits at the gate of an operation or at the operation.
func Waiting(r state.Run, journal []state.Step) (hashes []string) {
	step, ok := strings.CutSuffix(r.Step, gateSuffix)
	if r.Kind != Kind || r.State.Ended() || !ok {
		return nil
	}
	for _, s := range slices.Backward(journal) {
		var p planned
		if s.Name != planStep(step) || s.State != state.StepDone || json.Unmarshal(s.Output, &p) != nil {
			continue
		}
		for _, one := range p.Plans {
			if !one.Nothing {
				hashes = append(hashes, one.Hash)
			}
		}
		return hashes
	}
	return nil
}

// pass keeps a run at its gate while what it would run lacks an approval.
func (d Deps) pass(ctx context.Context, r state.Run) error {
	engine, err := d.Engine(ctx)
	if err != nil {
		return err
	}
	journal, err := engine.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	for _, hash := range Waiting(r, journal) {
		p, err := engine.PlanOf(ctx, hash)
		if err != nil {
			return err
		}
		if p.Approvals == 0 {
			continue
		}
		all, err := engine.Approvals(ctx, hash)
		if err != nil {
			return err
		}
		what := "continue run " + r.ID
		switch {
		case len(all) == 0 || all[0].Expired && all[0].State != state.Refused:
			// The step asks again, and says so.
		case all[0].State == state.Refused:
			return fault.Newf(fault.Unapproved, what, "%s was refused", p.Title).Hint("dbops approvals show %s says why; dbops runs abandon %s ends the runbook here", all[0].ID, r.ID)
		case all[0].State == state.Requested:
			return fault.Newf(fault.Unapproved, what, "%s needs the approval of somebody else; it waits at its gate as before", p.Title).
				Hint("dbops approvals show %s; when it is approved: dbops runs decide %s continue", all[0].ID, r.ID)
		}
	}
	return nil
}
