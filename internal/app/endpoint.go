package app

import (
	"context"
	"sync"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// An address that the control plane told is good for a while: open proxies keep serving when that API is down, and a thousand
// connections ask it once.
const (
	endpointFresh = 5 * time.Minute
	endpointRetry = 10 * time.Second // after a failure, as long as an older answer is known
)

// endpointKey is an instance, and which one of the provider's it is.
type endpointKey struct{ env, instance, is string }

type endpointCache struct {
	mu    sync.Mutex // held while asking, so that one connection asks for all
	last  cloud.Endpoint
	known bool
	until time.Time
}

func (a *App) endpointCache(k endpointKey) *endpointCache {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.endpoints[k]
	if !ok {
		c = &endpointCache{}
		a.endpoints[k] = c
	}
	return c
}

// endpoint returns where an instance listens: a recent answer of the control plane, or an older one when it does not answer.
func (a *App) endpoint(ctx context.Context, env, name string) (cloud.Endpoint, error) {
	inst, err := a.instance(env, name)
	if err != nil {
		return cloud.Endpoint{}, err
	}
	c := a.endpointCache(endpointKey{env, name, inst.Coordinates()})
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known && time.Now().Before(c.until) {
		return c.last, nil
	}
	live, err := a.getAt(ctx, env, name, inst)
	if err == nil && len(live.Endpoints) == 0 {
		err = fault.Newf(fault.Busy, "connect to "+env+"/"+name, "it has no address yet, it is %s", live.State).
			Hint("dbops status -e %s %s", env, name)
	}
	if err != nil {
		if !c.known {
			return cloud.Endpoint{}, err
		}
		a.opts.Log.Warn("control plane did not answer; using the last known address", "instance", env+"/"+name, "error", err)
		c.until = time.Now().Add(endpointRetry)
		return c.last, nil
	}
	c.last, c.known, c.until = live.Endpoints[0], true, time.Now().Add(endpointFresh)
	return c.last, nil
}

// forgetEndpoint makes the next connection ask the control plane again.
func (a *App) forgetEndpoint(k endpointKey) {
	c := a.endpointCache(k)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = time.Time{}
}
