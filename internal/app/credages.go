package app

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// CredentialAge is how old the credentials of an instance's containers are.
type CredentialAge struct {
	Environment, Instance string
	Container             string        // whose credential is the oldest
	Created               time.Time     // when that was made; zero: none is known
	Limit                 time.Duration // how old they may get
	Over                  []string      // the containers whose credential is older
	Err                   error         // why some could not be looked at
}

// ageConcurrency is how many instances are looked at at once.
const ageConcurrency = 8

// CredentialAges looks how old the credentials of all containers are: one call to a secret store each, and no login. Instances without
// containers are left out. What cannot be read is an error of its instance.
func (a *App) CredentialAges(ctx context.Context) ([]CredentialAge, error) {
	var out []CredentialAge
	for _, env := range a.cfg.EnvironmentNames() {
		e, err := a.cfg.Environment(env)
		if err != nil {
			return nil, err
		}
		for _, name := range e.InstanceNames() {
			declared, err := a.containers(op.Target{Environment: env, Instance: name})
			if err != nil {
				return nil, err
			}
			if len(declared) > 0 {
				out = append(out, CredentialAge{Environment: env, Instance: name, Limit: e.CredentialLimit()})
			}
		}
	}
	slots := make(chan struct{}, ageConcurrency)
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				a.credentialAge(ctx, &out[i], time.Now())
			case <-ctx.Done():
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, fault.New(fault.Interrupted, "look how old the credentials are", context.Cause(ctx))
	}
	return out, nil
}

// credentialAge looks at one instance.
func (a *App) credentialAge(ctx context.Context, c *CredentialAge, now time.Time) {
	t, err := a.Target(c.Environment, c.Instance)
	if err != nil {
		c.Err = err
		return
	}
	all, err := a.credentials().Ages(ctx, t)
	if err != nil {
		c.Err = err
		return
	}
	for _, one := range all {
		if one.Err != nil {
			c.Err = one.Err
		}
		if one.Created.IsZero() {
			continue
		}
		if now.Sub(one.Created) > c.Limit {
			revoked, err := a.revoked(ctx, t, one.Container)
			if err != nil {
				c.Err = err
			}
			if revoked { // its credential stays where it was delivered, and works no more
				continue
			}
			c.Over = append(c.Over, one.Container)
		}
		if c.Created.IsZero() || one.Created.Before(c.Created) {
			c.Container, c.Created = one.Container, one.Created
		}
	}
}

// credentialRuns is how many of an instance's newest runs are looked through for what was done to a credential last.
const credentialRuns = 200

// revoked tells whether the last that was done to a container's credential took it away. A state that nobody has begun is not begun by looking.
func (a *App) revoked(ctx context.Context, t op.Target, container string) (bool, error) {
	if !a.hasState() {
		return false, nil
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return false, err
	}
	runs, err := engine.Runs(ctx, state.RunFilter{Environment: t.Environment, Instance: t.Instance, Limit: credentialRuns})
	if err != nil {
		return false, err
	}
	for _, r := range runs { // newest first
		if r.State != state.Done || !slices.Contains([]string{creds.RevokeKind, creds.IssueKind, creds.RotateKind, creds.AdoptKind}, r.Kind) {
			continue
		}
		p, err := engine.PlanOf(ctx, r.PlanHash)
		if err != nil {
			return false, err
		}
		var request struct {
			Container  string   `json:"container"`
			Containers []string `json:"containers"`
		}
		if json.Unmarshal(p.Request, &request) == nil && (request.Container == container || slices.Contains(request.Containers, container)) {
			return r.Kind == creds.RevokeKind, nil
		}
	}
	return false, nil
}
