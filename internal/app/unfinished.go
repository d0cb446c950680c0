package app

import (
	"context"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// Unfinished is a run that has not ended, for who looks at its instance.
type Unfinished struct {
	Run   state.Run `json:"run"`
	Waits bool      `json:"waits"` // for somebody's decision, or for somebody to go on with it
	// ShutOut is since when an upgrade, or the return from one, keeps clients out of the instance.
	ShutOut time.Time `json:"shut_out_since,omitzero"`
}

// unfinishedTimeout is how long the state is waited for by who asks for something else.
const unfinishedTimeout = 5 * time.Second

// Unfinished are the runs of an environment (all if empty) that have not ended, as far as there is a state that could know of any; and the last
// upgrade of an instance, if it was abandoned with clients shut out.
func (a *App) Unfinished(ctx context.Context, env string) (out []Unfinished, err error) {
	if !a.hasState() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, unfinishedTimeout)
	defer cancel()
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Environment: env})
	if err != nil {
		return nil, err
	}
	active, err := engine.Runs(ctx, state.RunFilter{Environment: env, Active: true})
	if err != nil {
		return nil, err
	}
	newest := map[string]bool{}
	for _, r := range all {
		where := r.Environment + "/" + r.Instance
		if !changesClients(r.Kind) || newest[where] || r.Kind == upgrade.RollbackKind && (r.Started.IsZero() || r.State == state.Failed || r.State == state.Cancelled) {
			continue // or one that has not come to let clients in
		}
		newest[where] = true
		if r.State != state.Failed {
			continue
		}
		at, err := shutOut(ctx, engine, r)
		if err != nil {
			return nil, err
		}
		if !at.IsZero() {
			out = append(out, Unfinished{Run: r, ShutOut: at})
		}
	}
	for _, r := range active {
		one := Unfinished{Run: r, Waits: r.State == state.Parked || r.State == state.Gate || r.Interrupted()}
		if one.ShutOut, err = shutOut(ctx, engine, r); err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func shutOut(ctx context.Context, engine *op.Engine, r state.Run) (time.Time, error) {
	if !changesClients(r.Kind) {
		return time.Time{}, nil
	}
	steps, err := engine.Journal(ctx, r.ID)
	return upgrade.ShutOutSince(r.Kind, steps), err
}

// changesClients tells whether runs of a kind shut clients out and let them in.
func changesClients(kind string) bool {
	return kind == upgrade.RunKind || kind == upgrade.InPlaceKind || kind == upgrade.RollbackKind
}
