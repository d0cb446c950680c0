// Package drift compares what dbops.yaml declares with what is live, and sets back what drifted.
//
// The comparison is three-way: beside the declared and the live value stands the one that dbops last applied or saw in place, so that
// a change in the console can be told from a declaration that was not applied yet. Looking changes nothing; [Drift.Fix] is an operation
// of the engine, and never overwrites what somebody else changed unless that setting is named.
package drift

import (
	"context"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/op"
	"dbops/internal/state"
)

// Cloud is what drift needs of a provider; each [cloud.Changer] has it. All methods may be called again after a failure.
type Cloud interface {
	Get(ctx context.Context, name string) (*cloud.Instance, error)
	Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error)
	Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error)
}

// Deps are what a [Drift] needs.
type Deps struct {
	Config *config.Config
	// Open returns the provider of an instance, and the name by which that knows it. It is never asked for a plain server.
	Open func(ctx context.Context, environment, instance string) (Cloud, string, error)
	// Live begins a look at many instances: get asks about one of them, looked is told of each that has been compared. Nil: Open is asked for
	// each of them.
	Live func(ctx context.Context, all []op.Target) (get func(ctx context.Context, t op.Target) (*cloud.Instance, error), looked func())
	// Baselines are the values that were last applied to an instance. See [Stored].
	Baselines func(ctx context.Context, environment, instance string) ([]state.Baseline, error)
	// Record stores such values; storing one again replaces it.
	Record func(ctx context.Context, all []state.Baseline) error
	// Pace of waiting for the provider. Defaults to [op.CloudPace].
	Pace op.Pace
}

// Stored are Baselines and Record of [Deps] over a store.
func Stored(s *state.Store) (
	baselines func(context.Context, string, string) ([]state.Baseline, error), record func(context.Context, []state.Baseline) error,
) {
	baselines = func(ctx context.Context, environment, instance string) (all []state.Baseline, err error) {
		err = s.Read(ctx, "read what was last applied to "+environment+"/"+instance, func(ctx context.Context, tx *state.Tx) error {
			all, err = tx.Baselines(ctx, environment, instance)
			return err
		})
		return all, err
	}
	record = func(ctx context.Context, all []state.Baseline) error {
		return s.Tx(ctx, "store what was applied", func(ctx context.Context, tx *state.Tx) error {
			for _, b := range all {
				if err := tx.PutBaseline(ctx, b); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return baselines, record
}

// Drift looks for drift, and fixes it. Its methods may be called from any goroutine.
type Drift struct{ d Deps }

// New returns a Drift.
func New(d Deps) *Drift {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.CloudPace()
	}
	return &Drift{d}
}
