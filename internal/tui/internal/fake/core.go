// Package fake is a core with believable instances, failures and proxies, for tests and for the demonstration.
//
// It contacts nothing. All times are relative to the clock it is given, so that a frame drawn from it never changes; failures
// and delays are switched on by the caller. It is not part of the product.
package fake

import (
	"context"
	"slices"
	"sync"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/drift"
	"dbops/internal/fault"
	"dbops/internal/tui/core"
)

// Core is a [core.Core]. Use [New].
type Core struct {
	now func() time.Time

	mu      sync.Mutex
	all     []app.Instance
	live    map[string]*cloud.Instance
	fail    map[string]error
	delay   map[string]time.Duration
	loadErr error
	openErr error
	openFor time.Duration
	opened  []*Proxy
	asked   int

	editDrift   func(*drift.Report)
	changes     changes
	fetched     []app.KitRequest
	kitErr      error
	credentials credentials
	migrations  migrations
	server      server
	loads       loads
	watched     watched
	waiting     int
	log         log
	reports     map[string]string // the run of each report that was saved, by its file
}

// New returns the fleet of [Instances].
func New(now func() time.Time) *Core {
	c := &Core{now: now, all: Instances(), live: lives(now()), fail: map[string]error{}, delay: map[string]time.Duration{}, loads: newLoads(now())}
	for key, err := range failures() {
		c.fail[key] = err
	}
	return c
}

// Fail makes the reading of an instance ("prod/orders-main") fail from now on; nil mends it.
func (c *Core) Fail(key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail[key] = err
}

// Delay makes an instance answer only after d.
func (c *Core) Delay(key string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay[key] = d
}

// FailLoad makes the configuration unreadable; nil mends it.
func (c *Core) FailLoad(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loadErr = err
}

// FailOpen makes every start of a proxy fail after d; a nil err lets them succeed after d.
func (c *Core) FailOpen(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.openFor, c.openErr = d, err
}

// Configure replaces what is configured. Instances without a description are those of "prod/orders-main".
func (c *Core) Configure(all []app.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = all
	for _, i := range all {
		if key := i.Environment + "/" + i.Name; c.live[key] == nil {
			c.live[key] = c.live["prod/orders-main"]
		}
	}
}

// Change changes what an instance's provider tells.
func (c *Core) Change(key string, f func(*cloud.Instance)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := *c.live[key]
	f(&i)
	c.live[key] = &i
}

// Asked counts the calls of Status.
func (c *Core) Asked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// Waiting counts the instances that were asked and have not answered.
func (c *Core) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// Proxies are those that were opened, oldest first.
func (c *Core) Proxies() []*Proxy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.opened)
}

// Instances implements [core.Core].
func (c *Core) Instances(env string) ([]app.Instance, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loadErr != nil {
		return nil, c.loadErr
	}
	all := slices.Clone(c.all)
	if env != "" {
		all = slices.DeleteFunc(all, func(i app.Instance) bool { return i.Environment != env })
	}
	return all, nil
}

// chosen are the instances of env, or the one that is named; empty means all.
func (c *Core) chosen(env, instance string) ([]app.Instance, error) {
	all, err := c.Instances(env)
	if instance != "" {
		all = slices.DeleteFunc(all, func(i app.Instance) bool { return i.Name != instance })
	}
	return all, err
}

// Status implements [core.Core].
func (c *Core) Status(ctx context.Context, env, instance string) (<-chan app.Status, error) {
	all, err := c.chosen(env, instance)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.asked++
	c.mu.Unlock()
	out := make(chan app.Status, len(all))
	var wg sync.WaitGroup
	for _, i := range all {
		wg.Go(func() { out <- c.ask(ctx, i) })
	}
	go func() {
		wg.Wait()
		close(out)
	}()
	return out, nil
}

func (c *Core) ask(ctx context.Context, i app.Instance) app.Status {
	key := i.Environment + "/" + i.Name
	c.mu.Lock()
	d := c.delay[key]
	c.waiting++
	c.mu.Unlock()
	err := wait(ctx, d)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting--
	st := app.Status{Instance: i, At: c.now()}
	switch {
	case err != nil:
		st.Err = err
	case c.fail[key] != nil:
		st.Err = c.fail[key]
	default:
		st.Live = c.live[key]
	}
	return st
}

// wait returns after d, or with the error of ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OpenProxy implements [core.Core].
func (c *Core) OpenProxy(ctx context.Context, o app.ProxyOptions) (core.Proxy, error) {
	c.mu.Lock()
	d, failure := c.openFor, c.openErr
	c.mu.Unlock()
	if err := wait(ctx, d); err != nil {
		return nil, fault.New(fault.Interrupted, "open the proxy of "+o.Environment, err)
	}
	if failure != nil {
		return nil, failure
	}
	p := newProxy(c.now, o)
	c.mu.Lock()
	c.opened = append(c.opened, p)
	c.mu.Unlock()
	return p, nil
}
