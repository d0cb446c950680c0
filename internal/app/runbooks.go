package app

import (
	"context"

	"dbops/internal/backup"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/runbook"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// Operations are the commands that change something, for runbooks.
type Operations interface {
	// Check says what is wrong with an operation as it is written. It asks nobody.
	Check(environment string, o runbook.Operation) error
	// Changes are what an operation asks for now: one of each instance, or none if there is nothing to choose. It changes nothing.
	Changes(ctx context.Context, environment string, o runbook.Operation) ([]Change, error)
}

// House is what runbooks are checked against.
func (a *App) House() runbook.House {
	return runbook.House{
		Guard: func(environment, instance string) (runbook.Guard, error) {
			e, err := a.cfg.Environment(environment)
			if err != nil {
				return runbook.Guard{}, err
			}
			if _, err := e.Instance(instance); err != nil {
				return runbook.Guard{}, err
			}
			return runbook.Guard{Protected: e.Protected, Approvals: e.ApprovalsNeeded()}, nil
		},
		Check: func(environment string, o runbook.Operation) error {
			words, err := a.operations()
			if err != nil {
				return err
			}
			return words.Check(environment, o)
		},
	}
}

func (a *App) operations() (Operations, error) {
	if a.opts.Operations == nil {
		return nil, fault.Newf(fault.Internal, "read an operation", "this face knows no words")
	}
	return a.opts.Operations, nil
}

func (a *App) runbooks() runbook.Deps {
	return runbook.Deps{
		House:   a.House(),
		Plan:    a.PlanOperation,
		Upgrade: a.LastUpgrade,
		MayRun:  a.MayRun,
		Judge:   a.Judge,
		Engine:  func(ctx context.Context) (runbook.Engine, error) { return a.Engine(ctx, EngineOptions{}) },
	}
}

// PlanOperation works out what an operation of a runbook would do now, as somebody who is known. Nothing is changed or stored.
func (a *App) PlanOperation(ctx context.Context, environment string, o runbook.Operation, by op.Actor) ([]*op.Plan, error) {
	words, err := a.operations()
	if err != nil {
		return nil, err
	}
	changes, err := words.Changes(ctx, environment, o)
	if err != nil {
		return nil, err
	}
	plans := make([]*op.Plan, len(changes))
	for i, c := range changes {
		c.By = by
		if plans[i], err = a.PlanChange(ctx, c); err != nil {
			return nil, err
		}
	}
	return plans, nil
}

// Judge is a finding where a run was done and what it found is bad.
func (a *App) Judge(ctx context.Context, r state.Run) error {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return err
	}
	steps, err := engine.Journal(ctx, r.ID)
	if err != nil {
		return err
	}
	return Judged(r, steps)
}

// Judged is a finding where a run with that journal was done and what it found is bad.
func Judged(r state.Run, steps []state.Step) error {
	if failed := upgrade.FailuresOf(steps); r.Kind == upgrade.RehearseKind && len(failed) > 0 {
		return fault.Newf(fault.Findings, r.Title, "%s: %s", failed[0].Step, failed[0].Text).Hint("dbops upgrade report %s", r.ID)
	}
	report, ok, err := backup.ReportOf(steps)
	if err != nil || !ok || report.Met {
		return err
	}
	return fault.Newf(fault.Findings, r.Title, "%s", report.Text).Hint("dbops runs show %s", r.ID)
}
