package cloud

import (
	"context"
	"encoding/json"
	"time"
)

// Load is what a provider measures of an instance, as of its latest points, which are some minutes old. Nil is what it does not say.
type Load struct {
	At          time.Time      `json:"at"`                           // when the oldest of the figures was measured, UTC
	CPU         *float64       `json:"cpu,omitempty"`                // share of the instance's processors, 0 to 1; more while a small class bursts
	Connections *int           `json:"connections,omitempty"`        // of clients
	StorageUsed *int64         `json:"storage_used_bytes,omitempty"` // of its disk, bytes
	StorageFree *int64         `json:"storage_free_bytes,omitempty"`
	ReplicaLag  *time.Duration `json:"-"` // of a read replica behind its primary; seconds in JSON
}

// MarshalJSON implements [json.Marshaler].
func (l Load) MarshalJSON() ([]byte, error) {
	type plain Load // without this method
	out := struct {
		plain
		Lag *float64 `json:"replica_lag_seconds,omitempty"`
	}{plain: plain(l)}
	if l.ReplicaLag != nil {
		out.Lag = new(l.ReplicaLag.Seconds())
	}
	return json.Marshal(out)
}

// Measurer is a [Provider] that measures its instances, once a minute. Its errors are those of a Provider.
type Measurer interface {
	// Measure returns the latest figures of instances, by the names that were asked for. One that has none is left out: it is new, it has been
	// stopped for a while, or it does not exist. Clouds charge for each figure, and have no new ones before a minute has passed.
	Measure(ctx context.Context, names ...string) (map[string]Load, error)
}

// Point is a value of a metric. Its zero value is none.
type Point struct {
	At    time.Time
	Value float64
}

// Take has set do what a metric's latest point means, unless there is none, and notes its time. A value below zero is how providers say that
// they could not measure it.
func (l *Load) Take(p Point, set func(v float64)) {
	if p.At.IsZero() || p.Value < 0 {
		return
	}
	if l.At.IsZero() || p.At.Before(l.At) {
		l.At = p.At
	}
	set(p.Value)
}
