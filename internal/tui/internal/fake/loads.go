package fake

import (
	"context"
	"errors"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
)

// loads is what the providers of the core measure.
type loads struct {
	of    map[string]cloud.Load
	fail  map[string]error
	delay time.Duration
	asked int
}

func newLoads(now time.Time) loads {
	const gib = 1 << 30
	at := now.Add(-2 * time.Minute).UTC().Truncate(time.Minute)
	load := func(cpu float64, connections int, used, size int64) cloud.Load {
		return cloud.Load{At: at, CPU: &cpu, Connections: &connections, StorageUsed: new(used * gib), StorageFree: new((size - used) * gib)}
	}
	out := loads{fail: map[string]error{
		"prod/auth": fault.New(fault.Denied, "measure RDS instances of us-east-1",
			errors.New("user arn:aws:sts::123456789012:assumed-role/oncall/maria is not authorized to perform: cloudwatch:GetMetricData")).
			Missing("cloudwatch:GetMetricData").Hint("allow cloudwatch:GetMetricData to the identity in use (aws sts get-caller-identity shows it)"),
	}, of: map[string]cloud.Load{
		"prod/archive":        load(0.03, 4, 3860, 4000),
		"prod/billing":        load(0.71, 148, 311, 500),
		"prod/ledger":         load(0.18, 37, 92, 250),
		"prod/orders-main":    load(0.43, 212, 754, 1200),
		"staging/billing":     load(0.02, 9, 12, 50),
		"staging/orders-main": load(0.09, 31, 44, 100),
		"dev/sandbox-1":       load(0.01, 2, 3, 20),
	}}
	archive := out.of["prod/archive"]
	archive.ReplicaLag = new(8 * time.Second)
	out.of["prod/archive"] = archive
	return out
}

// Measured replaces what the provider of an instance ("prod/orders-main") measures.
func (c *Core) Measured(key string, l cloud.Load) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads.of[key] = l
}

// FailLoads makes measuring an instance fail with err; nil mends it.
func (c *Core) FailLoads(key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads.fail[key] = err
}

// DelayLoads makes every answer about loads take d.
func (c *Core) DelayLoads(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loads.delay = d
}

// AskedLoads counts the calls of Loads.
func (c *Core) AskedLoads() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.loads.asked
}

// Loads implements [core.Core].
func (c *Core) Loads(ctx context.Context, env, instance string) (<-chan app.InstanceLoad, error) {
	all, err := c.chosen(env, instance)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.loads.asked++
	d := c.loads.delay
	c.mu.Unlock()
	out := make(chan app.InstanceLoad, len(all))
	go func() {
		defer close(out)
		late := wait(ctx, d)
		for _, i := range all {
			out <- c.load(i, late)
		}
	}()
	return out, nil
}

func (c *Core) load(i app.Instance, late error) app.InstanceLoad {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := i.Environment + "/" + i.Name
	load, known := c.loads.of[key]
	out := app.InstanceLoad{Instance: i}
	switch {
	case late != nil:
		out.Err = late
	case c.loads.fail[key] != nil:
		out.Err = c.loads.fail[key]
	case known:
		out.Load = &load
	case i.Provider == cloud.Postgres:
		out.Err = fault.New(fault.Invalid, "measure "+key, cloud.Because("no provider measures a plain server", cloud.ErrUnsupported))
	default:
		out.Err = fault.Newf(fault.NotFound, "measure "+key, "the provider has no figures of the last minutes").
			Hint("an instance has none while it is stopped, and in its first minutes")
	}
	return out
}
