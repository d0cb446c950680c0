package fake

import (
	"context"
	"time"

	"dbops/internal/app"
	"dbops/internal/availability"
	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/state"
)

// instance is one that is configured.
func (c *Core) instance(env, name string) app.Instance {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.all {
		if i.Environment == env && i.Name == name {
			return i
		}
	}
	return app.Instance{Environment: env, Name: name}
}

// Availability implements [core.Availability].
func (c *Core) Availability(ctx context.Context, env, instance string) (*app.Availability, error) {
	st := c.ask(ctx, c.instance(env, instance))
	if st.Err != nil {
		return nil, st.Err
	}
	t := op.Target{Environment: env, Instance: instance, Protected: st.Protected}
	out := &app.Availability{Row: availability.Show(t, st.Live)}
	if env+"/"+instance != "prod/orders-main" {
		return out, nil
	}
	day := 24 * time.Hour
	at := st.At.Add(-84 * day)
	out.Replicas = []string{"orders-dr"}
	out.Events = []cloud.Event{{At: st.At.Add(-3 * day), ID: "RDS-EVENT-0049", Text: "Multi-AZ instance failover completed"}}
	out.Changes = []app.Switched{{
		Run: state.Run{
			ID: "0190a1b2", Kind: availability.FailoverKind, Environment: env, Instance: instance, Title: "fail over prod/orders-main to its standby",
			Requester: "m.rossi@example.com", State: state.Done, Created: at, Started: at, Ended: at.Add(2 * time.Minute),
		},
		Report: &availability.Report{
			Asked: at, Ended: at.Add(2 * time.Minute), Before: availability.Zones{Primary: "eu-west-1b", Standby: "eu-west-1a"},
			After: availability.Zones{Primary: "eu-west-1a", Standby: "eu-west-1b"}, Measured: true, DowntimeMS: 41200, LongestMS: 41200, Outages: 1,
			Attempts: 1873, Failures: 201,
		},
	}}
	return out, nil
}
