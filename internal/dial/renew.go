package dial

import (
	"context"
	"time"

	"cloud.google.com/go/cloudsqlconn"
)

const (
	// refreshBuffer is how long before its end the library takes a certificate for expired.
	refreshBuffer = 4 * time.Minute
	// renewPause is between two tries to renew one, renewLimit bounds a try.
	renewPause = 30 * time.Second
	renewLimit = time.Minute
)

// renewal is a certificate that is in use.
type renewal struct {
	name string
	iam  bool
}

// renewLater has the certificate that a connection was made with renewed before it expires, so that the next connection need not wait for that.
// An instance to which nobody connects any more is left alone after that.
func (c *Connector) renewLater(name string, r Route) {
	until := c.api.certificateUntil(r.Project, r.Instance)
	if left := time.Until(until) - refreshBuffer; left > 0 { // else every connection asks for a new one
		c.renewIn(renewal{name, r.IAM}, left+time.Second, until)
	}
}

func (c *Connector) renewIn(which renewal, after time.Duration, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.renewals[which] != nil {
		return
	}
	if c.renewals == nil {
		c.renewals = map[renewal]*time.Timer{}
	}
	c.renewals[which] = time.AfterFunc(after, func() { c.renew(which, until) })
}

func (c *Connector) renew(which renewal, until time.Time) {
	c.mu.Lock()
	delete(c.renewals, which)
	d := c.dialer
	if c.closed || d == nil {
		c.mu.Unlock()
		return
	}
	c.renewing.Add(1)
	c.mu.Unlock()
	defer c.renewing.Done()
	ctx, cancel := context.WithTimeout(c.ctx, renewLimit)
	defer cancel()
	if err := d.Warmup(ctx, which.name, cloudsqlconn.WithDialIAMAuthN(which.iam)); err != nil && time.Now().Add(renewPause).Before(until) {
		c.renewIn(which, renewPause, until)
	}
}

// stopRenewing ends what renews certificates. c.mu is held.
func (c *Connector) stopRenewing() {
	for _, t := range c.renewals {
		t.Stop()
	}
	clear(c.renewals)
	c.stop()
}
