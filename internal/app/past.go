package app

import (
	"context"
	"slices"
	"time"

	"dbops/internal/state"
)

// besideTimeout bounds what is read beside the main thing, which is shown without it.
const besideTimeout = 10 * time.Second

// Past is a run with its journal.
type Past struct {
	Run   state.Run
	Steps []state.Step
}

// past are the last n runs of some kinds on an instance, newest first. A state that nobody has begun is not begun by looking.
func (a *App) past(ctx context.Context, env, instance string, n int, kinds ...string) (out []Past, err error) {
	if !a.hasState() {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, besideTimeout)
	defer cancel()
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	const enough = 500 // runs of other kinds between them
	runs, err := engine.Runs(ctx, state.RunFilter{Environment: env, Instance: instance, Limit: enough})
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		if len(out) == n {
			break
		}
		if !slices.Contains(kinds, r.Kind) {
			continue
		}
		steps, err := engine.Journal(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, Past{r, steps})
	}
	return out, nil
}
