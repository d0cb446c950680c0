package fake

import (
	"context"
	"time"

	"dbops/internal/app"
	"dbops/internal/drift"
)

// watched is what is looked at in passing.
type watched struct {
	err   error
	delay time.Duration
	asked int
}

// FailWatched makes what is looked at in passing take d and fail with err; a nil err lets it succeed.
func (c *Core) FailWatched(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched.delay, c.watched.err = d, err
}

// AskedWatched counts the looks in passing.
func (c *Core) AskedWatched() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watched.asked
}

func (c *Core) askWatched(ctx context.Context) error {
	c.mu.Lock()
	c.watched.asked++
	d, err := c.watched.delay, c.watched.err
	c.mu.Unlock()
	if late := wait(ctx, d); late != nil {
		return late
	}
	return err
}

// CredentialAges implements [core.Fleet].
func (c *Core) CredentialAges(ctx context.Context) (out []app.CredentialAge, err error) {
	if err := c.askWatched(ctx); err != nil {
		return nil, err
	}
	all, err := c.Instances("")
	const limit = 90 * 24 * time.Hour
	for _, i := range all {
		if i.Name != "orders-main" {
			continue
		}
		age := app.CredentialAge{Environment: i.Environment, Instance: i.Name, Limit: limit}
		for _, l := range containers(c.now(), i.Environment, i.Name) {
			if l.Created.IsZero() || l.Revoked() {
				continue
			}
			if l.Age(c.now()) > limit {
				age.Over = append(age.Over, l.Name)
			}
			if age.Created.IsZero() || l.Created.Before(age.Created) {
				age.Container, age.Created = l.Name, l.Created
			}
		}
		out = append(out, age)
	}
	return out, err
}

// Drifts implements [core.Fleet].
func (c *Core) Drifts(ctx context.Context) (*drift.Report, error) {
	if err := c.askWatched(ctx); err != nil {
		return nil, err
	}
	all, err := c.Instances("")
	if err != nil {
		return nil, err
	}
	out := &drift.Report{Schema: drift.Schema}
	for _, i := range all {
		c.mu.Lock()
		st := app.Status{Instance: i, Err: c.fail[i.Environment+"/"+i.Name]}
		if st.Err == nil {
			st.Live = c.live[i.Environment+"/"+i.Name]
		}
		c.mu.Unlock()
		driftOf(out, st)
	}
	return out, nil
}
