package overview

import (
	"errors"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/drift"
)

// Reading is what is read of an instance beside its status: the last good answer, and why a later one failed.
type Reading[T any] struct {
	Value *T        // nil before the first good answer
	At    time.Time // as of when it is
	Err   error     // why the last reading failed; nil when it did not
}

// With takes over an answer: v, or why there is none.
func (r Reading[T]) With(v *T, at time.Time, err error) Reading[T] {
	r.Err = err
	if v != nil {
		r.Value, r.At = v, at
	}
	return r
}

// Watched is what is read of an instance beside its status, each part in its own time.
type Watched struct {
	Load  Reading[cloud.Load]
	Creds Reading[app.CredentialAge]
	Drift Reading[Drifted]
}

// How old each part may be before it counts as old. Providers tell what they measure some minutes late.
const (
	loadOld   = 10 * time.Minute
	seldomOld = 45 * time.Minute
)

// old tells that a value is not what is: its reading failed since, or is long ago.
func old[T any](r Reading[T], now time.Time, limit time.Duration) bool {
	return r.Err != nil || now.Sub(r.At) > limit
}

// Drifted counts how the declared settings of an instance stand.
type Drifted struct {
	Drifted, Pending, Unknown, InSync int
	Settings                          []string // those that drifted
}

// Measured takes over an answer about its load. What nobody measures is not known, which is no failure.
func (k Known) Measured(l app.InstanceLoad) Known {
	if errors.Is(l.Err, cloud.ErrUnsupported) {
		k.Load = Reading[cloud.Load]{}
		return k
	}
	var at time.Time
	if l.Load != nil {
		at = l.Load.At
	}
	k.Load = k.Load.With(l.Load, at, l.Err)
	return k
}

// Aged takes over how old its credentials are, as of at.
func (k Known) Aged(c app.CredentialAge, at time.Time) Known {
	v := &c
	if c.Created.IsZero() && c.Err != nil {
		v = nil
	}
	k.Creds = k.Creds.With(v, at, c.Err)
	return k
}

// Compared takes over how an instance was looked at for drift, and the rows about it, as of at.
func (k Known) Compared(l drift.Looked, rows []drift.Row, at time.Time) Known {
	d := &Drifted{}
	for _, r := range rows {
		switch r.Status {
		case drift.Drifted:
			d.Drifted++
			d.Settings = append(d.Settings, r.Setting)
		case drift.Pending:
			d.Pending++
		case drift.Unknown:
			d.Unknown++
		case drift.InSync:
			d.InSync++
		case drift.Unmanaged:
		}
	}
	if l.Err != nil && d.Drifted+d.Pending+d.InSync == 0 { // nothing of it could be seen
		d = nil
	}
	k.Drift = k.Drift.With(d, at, l.Err)
	return k
}
