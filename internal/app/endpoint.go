package app

import (
	"context"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// What the control plane told is good for a while: open proxies keep serving when it is down, and a thousand connections ask it once.
const (
	endpointFresh = 5 * time.Minute
	secretFresh   = time.Minute // a server that refuses one has it read anew at once
	secretKeep    = time.Hour
)

// endpointKey is an instance, and which one of the provider's it is.
type endpointKey struct{ env, instance, is string }

// endpoint returns where an instance listens: a recent answer of the control plane, or an older one when it does not answer.
func (a *App) endpoint(ctx context.Context, env, name string) (cloud.Endpoint, error) {
	inst, err := a.instance(env, name)
	if err != nil {
		return cloud.Endpoint{}, err
	}
	return a.endpointOf(env, name, inst).get(ctx, a.questions)
}

func (a *App) endpointOf(env, name string, inst *config.Instance) *remembered[cloud.Endpoint] {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := endpointKey{env, name, inst.Coordinates()}
	m, ok := a.endpoints[key]
	if !ok {
		m = &remembered[cloud.Endpoint]{
			terms: terms{op: "ask where " + env + "/" + name + " listens", fresh: endpointFresh},
			ask:   func(ctx context.Context) (cloud.Endpoint, error) { return a.askEndpoint(ctx, env, name, inst) },
		}
		a.endpoints[key] = m
	}
	return m
}

func (a *App) askEndpoint(ctx context.Context, env, name string, inst *config.Instance) (cloud.Endpoint, error) {
	live, err := a.getAt(ctx, env, name, inst)
	if err == nil && len(live.Endpoints) == 0 {
		err = fault.Newf(fault.Busy, "connect to "+env+"/"+name, "it has no address yet, it is %s", live.State).
			Hint("dbops status -e %s %s", env, name)
	}
	if err != nil {
		a.opts.Log.Warn("the control plane did not say where an instance listens", "instance", env+"/"+name, "error", err)
		return cloud.Endpoint{}, err
	}
	return live.Endpoints[0], nil
}

// proxiedSecret is a secret that open proxies log in with. Those of a store are read once a minute, not once a connection.
func (a *App) proxiedSecret(ctx context.Context, ref secret.Ref) (secret.Value, error) {
	if ref.Scheme == secret.SchemeFile || ref.Scheme == secret.SchemeEnv {
		return a.secrets.Get(ctx, ref)
	}
	return a.secretOf(ref).get(ctx, a.questions)
}

func (a *App) secretOf(ref secret.Ref) *remembered[secret.Value] {
	a.mu.Lock()
	defer a.mu.Unlock()
	m, ok := a.proxied[ref]
	if !ok {
		m = &remembered[secret.Value]{
			terms: terms{op: "read secret " + ref.String(), fresh: secretFresh, keep: secretKeep},
			ask:   func(ctx context.Context) (secret.Value, error) { return a.secrets.Get(ctx, ref) },
		}
		a.proxied[ref] = m
	}
	return m
}
