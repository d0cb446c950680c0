package app

import (
	"context"
	"fmt"
	"os"
	"strings"

	"dbops/internal/backup"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/runbook"
	"dbops/internal/state"
)

// Change is what somebody wants changed.
type Change struct {
	Environment, Instance string
	Kind                  string
	Request               any
	Key                   sshsig.Key // to be known by, where no cloud vouches for who asks
	By                    op.Actor   // who asks, where that is known already
}

// PlanChange works out what a change does. Nothing is changed or stored. Where an approval was asked for the very same, it is that plan.
func (a *App) PlanChange(ctx context.Context, c Change) (*op.Plan, error) {
	t, err := a.Target(c.Environment, c.Instance)
	if err != nil {
		return nil, err
	}
	e, err := a.cfg.Environment(c.Environment)
	if err != nil {
		return nil, err
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	who := c.By
	if who.Name == "" {
		if who, err = a.Identity(ctx, c.Environment, c.Instance, c.Key); err != nil {
			return nil, err
		}
	}
	if err := a.apart(ctx, t); err != nil {
		return nil, err
	}
	p, err := engine.Plan(ctx, op.PlanRequest{Kind: c.Kind, Target: t, Request: c.Request, Requester: who, Approvals: approvalsOf(c.Kind, e)})
	if err != nil {
		return nil, err
	}
	return asked(ctx, engine, p)
}

// approvalsOf is how many approvals a plan needs. A runbook changes nothing by itself: each of its operations has a plan that needs them.
func approvalsOf(kind string, e *config.Environment) int {
	if kind == runbook.Kind {
		return 0
	}
	return e.ApprovalsNeeded()
}

// apart refuses to change the server on which the state itself lives: who restarts it loses sight of the run.
func (a *App) apart(ctx context.Context, t op.Target) error {
	server, _, team := a.cfg.StateServer()
	if !team {
		return nil
	}
	live, err := a.get(ctx, t.Environment, t.Instance)
	if err != nil {
		return err
	}
	for _, e := range live.Endpoints {
		if strings.EqualFold(e.Host, server.Host) && e.Port == int(server.Port) {
			return fault.Newf(fault.Blocked, "change "+t.String(), "the state of dbops lives on it").Hint("keep the state on a server that dbops does not change")
		}
	}
	return nil
}

// MayRun refuses a plan that asks for less approval than the environment wants now, or is about another protection.
func (a *App) MayRun(p *op.Plan) error {
	what := "run " + p.Title
	e, err := a.cfg.Environment(p.Environment)
	if err != nil {
		return err
	}
	if p.Protected != e.Protected || p.Approvals < approvalsOf(p.Kind, e) {
		return fault.Newf(fault.Stale, what, "%s is guarded otherwise than when the plan was made", p.Environment).Hint("make the plan again")
	}
	return nil
}

// FindPlan returns the plan that a word names: a file, the name of an approval, a plan's hash, or the beginning of one.
func (a *App) FindPlan(ctx context.Context, word string) (*op.Plan, error) {
	if _, err := os.Stat(word); err == nil {
		return op.Load(word)
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	all, err := engine.Approvals(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, approval := range all {
		if approval.ID == word || (len(word) >= 8 && len(word) <= len(approval.PlanHash) && approval.PlanHash[:len(word)] == word) {
			return engine.PlanOf(ctx, approval.PlanHash)
		}
	}
	return nil, fault.Newf(fault.Usage, "find the plan "+word, "it is neither a file nor the name of an approval").
		Hint("a plan is saved with --plan --out FILE; dbops approvals list shows those that wait")
}

// FindApproval returns the approval that a word names, as FindPlan does.
func (a *App) FindApproval(ctx context.Context, word string) (state.Approval, *op.Plan, error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return state.Approval{}, nil, err
	}
	p, err := a.FindPlan(ctx, word)
	if err != nil {
		return state.Approval{}, nil, err
	}
	all, err := engine.Approvals(ctx, p.Hash())
	if err != nil {
		return state.Approval{}, nil, err
	}
	if len(all) == 0 {
		return state.Approval{}, nil, fault.Newf(fault.Usage, "find the approval of "+word, "nobody asked for one").
			Hint("dbops apply %s asks", word)
	}
	for _, one := range all {
		if one.ID == word {
			return one, p, nil
		}
	}
	return all[0], p, nil
}

// Vote approves or refuses a plan as the identity of the cloud that has its instance, or as the owner of an SSH key.
func (a *App) Vote(ctx context.Context, word string, approve bool, reason string, key sshsig.Key) (state.Approval, *op.Plan, error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return state.Approval{}, nil, err
	}
	approval, p, err := a.FindApproval(ctx, word)
	if err != nil {
		return approval, nil, err
	}
	v := op.Vote{Approve: approve, Reason: reason}
	if key != (sshsig.Key{}) {
		var signature []byte
		v.By, signature, err = a.SignAs(ctx, key, op.VoteMessage(approval.PlanHash, approve))
		v.Evidence = string(signature)
	} else {
		v.By, err = a.Identity(ctx, p.Environment, p.Instance, key)
	}
	if err != nil {
		return approval, p, err
	}
	approval, err = engine.Vote(ctx, approval.ID, v)
	return approval, p, err
}

// DrillTargets are what a restore drill of an instance is measured by.
func (a *App) DrillTargets(env, instance string) (backup.Targets, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return backup.Targets{}, err
	}
	t := e.TargetsOf(instance)
	return backup.Targets{RPO: backup.Span(t.RPO.Duration()), RTO: backup.Span(t.RTO.Duration())}, nil
}

// NamesOf are the places in dbops.yaml that name an instance of a provider, for who renames it.
func (a *App) NamesOf(env, instance string) ([]string, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return nil, err
	}
	inst, err := e.Instance(instance)
	if err != nil {
		return nil, err
	}
	names := []string{fmt.Sprintf("dbops.yaml: environments.%s.instances.%s (%s)", env, instance, inst.Coordinates())}
	for _, database := range e.DatabasesOf(instance) {
		for _, name := range e.ContainerNames() {
			names = append(names, deliveries(name, database, e.Containers[name])...)
		}
	}
	return names, nil
}

func deliveries(name, database string, c *config.Container) (out []string) {
	for _, used := range c.Databases {
		if used != database {
			continue
		}
		for _, place := range c.Delivery {
			out = append(out, fmt.Sprintf("container %s: the address of %s in %s", name, database, place))
		}
	}
	return out
}
