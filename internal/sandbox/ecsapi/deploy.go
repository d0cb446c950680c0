package ecsapi

import (
	"context"
	"errors"
	"time"

	"dbops/internal/sandbox/play"
)

// How long the parts of a deployment take in the real service.
const (
	takesPlacing  = 20 * time.Second // until a task starts
	takesDraining = 15 * time.Second // until the service is stable again

	// tries are how many tasks may fail before the circuit breaker gives up.
	tries = 3
)

var errFault = errors.New("a fault was asked for")

// begin starts a deployment; one that is under way ends. The caller holds the lock.
func (a *API) begin(r *record, effect play.Effect) {
	if r.stop != nil {
		r.stop()
	}
	ctx, cancel := context.WithCancel(a.ctx)
	r.stop = cancel
	d := newDeployment(time.Now().UTC())
	before := r.Deployments[0]
	for _, o := range r.Deployments {
		if o.Running > 0 {
			before = o // a rollback goes to what runs
		}
		o.Pending = 0
	}
	r.Deployments = append([]*deployment{d}, r.Deployments...)
	a.wg.Go(func() {
		defer cancel()
		if err := a.deploy(ctx, r, d, before, effect); err != nil && ctx.Err() == nil {
			a.cfg.Log.Error("keep a deployment of the played ECS", "error", err)
		}
	})
}

// deploy carries a deployment out. Its error is that of the store, or that it was interrupted.
func (a *API) deploy(ctx context.Context, r *record, d, before *deployment, effect play.Effect) error {
	if effect == play.Hang {
		<-ctx.Done()
		return ctx.Err()
	}
	for range tries {
		if err := a.cfg.Pace.Sleep(ctx, takesPlacing); err != nil {
			return err
		}
		if err := a.change(ctx, d, func() { r.note("has started 1 tasks: (task %s).", newTask()) }); err != nil {
			return err
		}
		err := errFault
		if effect != play.Fail {
			err = r.seed.Workload.Rollout(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			return a.complete(ctx, r, d)
		}
		a.cfg.Log.Warn("a task of the played ECS did not start", "service", r.Name, "error", err)
		if err := a.change(ctx, d, func() { d.Failed++ }); err != nil {
			return err
		}
	}
	return a.rollBack(ctx, r, d, before)
}

// change changes the service, unless the deployment was interrupted meanwhile.
func (a *API) change(ctx context.Context, d *deployment, f func()) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.Updated = time.Now().UTC()
	f()
	return a.save()
}

// complete is that the new task runs and the old one has ended.
func (a *API) complete(ctx context.Context, r *record, d *deployment) error {
	err := a.change(ctx, d, func() {
		for _, o := range r.Deployments {
			o.Running = 0
		}
		d.Running, d.Pending = 1, 0
		r.note("has stopped 1 running tasks: (task %s).", newTask())
	})
	if err == nil {
		err = a.cfg.Pace.Sleep(ctx, takesDraining)
	}
	if err != nil {
		return err
	}
	return a.change(ctx, d, func() {
		d.State, d.Reason = completed, "ECS deployment "+d.ID+" completed."
		r.Deployments = []*deployment{d}
		r.note("(deployment %s) deployment completed.", d.ID)
		r.note("has reached a steady state.")
	})
}

// rollBack is the circuit breaker: the deployment before is the primary one again, and its task was never stopped.
func (a *API) rollBack(ctx context.Context, r *record, d, before *deployment) error {
	err := a.change(ctx, d, func() {
		d.State, d.Reason, d.Pending = failed, "ECS deployment circuit breaker: tasks failed to start.", 0
		before.State, before.Reason = inProgress, "ECS deployment circuit breaker: rolling back to deploymentId "+before.ID+"."
		r.Deployments = []*deployment{before, d}
		r.note("is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of the Amazon ECS Developer Guide.")
		r.note("(deployment %s) deployment failed: tasks failed to start.", d.ID)
		r.note("rolling back to deployment %s.", before.ID)
	})
	if err == nil {
		err = a.cfg.Pace.Sleep(ctx, takesDraining)
	}
	if err != nil {
		return err
	}
	return a.change(ctx, before, func() {
		before.State, before.Reason = completed, "ECS deployment "+before.ID+" completed."
		r.drop(d)
		r.note("(deployment %s) deployment completed.", before.ID)
		r.note("has reached a steady state.")
	})
}
