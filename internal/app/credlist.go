package app

import (
	"context"
	"sync"
	"time"

	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
)

// credentialsTimeout bounds the look at the containers of one instance: some logins for each, a few at a time.
const credentialsTimeout = 2 * time.Minute

// InstanceCredentials are the containers of an instance, or why they could not be looked at.
type InstanceCredentials struct {
	Instance
	Containers []creds.Listed
	Err        error
}

// Credentials lists the containers of an environment, or of one instance: see [creds.Deps.List]. One instance that cannot be looked at is the error.
func (a *App) Credentials(ctx context.Context, env, instance string, look creds.Look) (out []creds.Listed, err error) {
	all, err := a.CredentialLists(ctx, env, instance, look)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.Err != nil {
			return nil, one.Err
		}
		out = append(out, one.Containers...)
	}
	return out, nil
}

// CredentialLists looks at the containers of an environment, or of one instance, all instances at once, and returns them in the order of dbops.yaml.
// Instances without containers are left out. One that cannot be looked at hides no other. If ctx ends before, what is known comes together with a
// fault.Interrupted.
func (a *App) CredentialLists(ctx context.Context, env, instance string, look creds.Look) ([]InstanceCredentials, error) {
	all, err := a.withContainers(env, instance)
	if err != nil {
		return nil, err
	}
	out := make([]InstanceCredentials, len(all))
	m := a.many(ctx, all)
	m.servers = make(chan struct{}, loginsAtOnce)
	var wg sync.WaitGroup
	for n, i := range all {
		wg.Go(func() {
			out[n].Instance = i
			out[n].Err = a.guarded("look at the credentials of "+i.Environment+"/"+i.Name, func() error { return a.credentialsAt(ctx, m, look, &out[n]) })
			m.said()
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return out, fault.New(fault.Interrupted, "look at credentials", err)
	}
	return out, nil
}

// withContainers are the instances of an environment, or the one that is named, that have containers.
func (a *App) withContainers(env, instance string) (out []Instance, err error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return nil, err
	}
	names := e.InstanceNames()
	if instance != "" {
		if _, err := e.Instance(instance); err != nil {
			return nil, err
		}
		names = []string{instance}
	}
	for _, name := range names {
		declared, err := a.containers(op.Target{Environment: env, Instance: name})
		if err != nil {
			return nil, err
		}
		if len(declared) > 0 {
			out = append(out, a.describe(env, e, name))
		}
	}
	return out, nil
}

// credentialsAt looks at the containers of one instance. Where it listens is known from the lists of its provider, if those are asked.
func (a *App) credentialsAt(ctx context.Context, m *many, look creds.Look, to *InstanceCredentials) error {
	t, err := a.Target(to.Environment, to.Name)
	if err != nil {
		return err
	}
	at := m.at[to.target()]
	if at.err != nil {
		return at.err
	}
	deps := a.credentials()
	if at.batch != nil {
		live, err := m.get(ctx, t)
		if err != nil {
			return err
		}
		if len(live.Endpoints) > 0 {
			a.endpointOf(to.Environment, to.Name, at.inst).learn(live.Endpoints[0], a.questions.now())
			deps.Address = func(context.Context, op.Target) (creds.Address, error) {
				return cloudAddress(at.inst.Kind(), live.Endpoints[0], live.Endpoints), nil
			}
		}
	}
	if waited := m.server(ctx, t, credentialsTimeout, func(ctx context.Context) { to.Containers, err = deps.List(ctx, t, look, time.Now()) }); waited != nil {
		return fault.New(fault.KindOf(waited), "look at the credentials of "+t.String(), waited)
	}
	return err
}
