// Package availability makes an instance regional or zonal, and drills the failover to its standby.
//
// Both are operations of package op: [SetKind] and [FailoverKind], made by [New]. Their steps look at the live instance before they ask
// for anything, so that a run that was killed at any instant goes on without asking twice, and they measure with connections of their
// own how long the database cannot be reached: no cloud promises that, and [Report] says what was seen and what was not.
package availability

import (
	"context"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
)

// The kinds of operation.
const (
	SetKind      = "availability.set"
	FailoverKind = "availability.failover"
)

// SetRequest asks for an availability.
type SetRequest struct {
	Want cloud.Availability `json:"want"`
	// InWindow leaves it to the provider's maintenance window (rds).
	InWindow bool `json:"in_window,omitempty"`
}

// FailoverRequest asks for a failover. There is nothing to choose.
type FailoverRequest struct{}

// Cloud is what the operations need of a provider: [cloud.Changer] has it.
type Cloud interface {
	// Get describes an instance. It may be called at any time.
	Get(ctx context.Context, name string) (*cloud.Instance, error)
	// Modify asks for settings. What is there already is accepted and changes nothing.
	Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error)
	// Failover makes the standby the primary. Calling it twice fails over twice.
	Failover(ctx context.Context, name string) (cloud.Receipt, error)
	// Progress tells how far a change is. It may be called at any time, from any process.
	Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error)
	// Events lists what happened to an instance since a moment, oldest first.
	Events(ctx context.Context, name string, since time.Time) ([]cloud.Event, error)
}

// Deps are what the operations stand on.
type Deps struct {
	// Cloud is who manages an instance, and what it is called there.
	Cloud func(ctx context.Context, t op.Target) (Cloud, string, error)
	// Probe makes one attempt to be served by an instance: see pg.Answers. Nil, or a nil attempt: downtime is not measured.
	Probe func(t op.Target) func(ctx context.Context) error
	// Applied is told of the availability that a run has given an instance, so that nobody takes it for somebody else's. It may be told twice.
	Applied func(ctx context.Context, t op.Target, run string, a cloud.Availability) error

	Pace     op.Pace       // of looking how far a change is. Defaults to op.CloudPace()
	Interval time.Duration // between two attempts of the probe. Defaults to pg's
	// Settle is how long a failover waits between its two looks at what a killed process may have asked for. Defaults to 5 s.
	Settle time.Duration
	// Grace is how long a provider may take to begin what it has accepted. Defaults to 5 min.
	Grace time.Duration
	// Answer is how long a database may take to answer after its instance is said to be available. Defaults to 1 min.
	Answer time.Duration
}

// New returns the operations.
func New(d Deps) []op.Kind {
	if d.Pace == (op.Pace{}) {
		d.Pace = op.CloudPace()
	}
	for _, v := range []struct {
		field    *time.Duration
		fallback time.Duration
	}{{&d.Settle, 5 * time.Second}, {&d.Grace, 5 * time.Minute}, {&d.Answer, time.Minute}} {
		if *v.field <= 0 {
			*v.field = v.fallback
		}
	}
	return []op.Kind{set(d), failover(d)}
}
