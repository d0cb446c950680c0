package app

import (
	"context"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Attention is what may wait for a person: the newest runs with all that have not ended, and the approvals.
type Attention struct {
	Runs      []state.Run
	Approvals []state.Approval
}

// attentionRuns is how many of the newest runs it holds.
const attentionRuns = 50

// Attention looks for what may wait for a person. A state that nobody has begun is not begun by looking.
func (a *App) Attention(ctx context.Context) (out Attention, err error) {
	if !a.hasState() {
		return out, nil
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return out, err
	}
	if out.Runs, err = engine.Runs(ctx, state.RunFilter{Active: true}); err != nil {
		return out, err
	}
	newest, err := engine.Runs(ctx, state.RunFilter{Limit: attentionRuns})
	if err != nil {
		return out, err
	}
	for _, r := range newest {
		if !slices.ContainsFunc(out.Runs, func(o state.Run) bool { return o.ID == r.ID }) {
			out.Runs = append(out.Runs, r)
		}
	}
	out.Approvals, err = engine.Approvals(ctx, "")
	return out, err
}

// Approval is one approval with its plan.
func (a *App) Approval(ctx context.Context, id string) (w Waiting, err error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return w, err
	}
	all, err := engine.Approvals(ctx, "")
	if err != nil {
		return w, err
	}
	i := slices.IndexFunc(all, func(one state.Approval) bool { return one.ID == id })
	if i < 0 {
		return w, fault.Newf(fault.NotFound, "look at approval "+id, "there is no such approval").Hint("dbops approvals list --all")
	}
	w.Approval = all[i]
	if w.Plan, err = engine.PlanOf(ctx, all[i].PlanHash); err != nil {
		w.Plan = nil
	}
	return w, nil
}
