package app

import (
	"context"
	"slices"
	"time"

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
		Pace:    op.Pace{First: time.Second, Most: 10 * time.Second, Patience: 5 * time.Minute},
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

// RunbookOf is the run of a runbook that waits to run a plan; ok is false if none does.
func (a *App) RunbookOf(ctx context.Context, planHash string) (r state.Run, ok bool, err error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return r, false, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Active: true, Limit: maxActive})
	if err != nil {
		return r, false, err
	}
	for _, r := range all {
		if r.Kind != runbook.Kind {
			continue
		}
		journal, err := engine.Journal(ctx, r.ID)
		if err != nil {
			return r, false, err
		}
		if slices.Contains(runbook.Waiting(r, journal), planHash) {
			return r, true, nil
		}
	}
	return r, false, nil
}

// maxActive is more runs than are under way at once.
const maxActive = 10_000

// OpenRunbook is a run of a runbook of that title on an instance that has not ended; ok is false if there is none.
func (a *App) OpenRunbook(ctx context.Context, b runbook.Runbook) (r state.Run, ok bool, err error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return r, false, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Environment: b.Environment, Instance: b.Instance, Active: true, Limit: maxActive})
	if err != nil {
		return r, false, err
	}
	i := slices.IndexFunc(all, func(r state.Run) bool { return r.Kind == runbook.Kind && r.Title == runbook.TitleOf(b) })
	if i < 0 {
		return r, false, nil
	}
	return all[i], true, nil
}
