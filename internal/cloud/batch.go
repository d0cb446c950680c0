package cloud

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Batcher is a [Provider] that answers questions about many instances with few requests.
type Batcher interface {
	// Batch begins a look at instances, by the provider's names; ctx is that of the whole look. Nothing is asked before the first question.
	Batch(ctx context.Context, names ...string) Batch
}

// Batch is a look at the instances that were named when it began. What the provider tells in lists is asked once, by the first question that
// needs it: the answers are of one moment. Whoever may not list is asked about each instance. Its methods may be called from any goroutine; their
// errors are those of a [Provider]. A provider that throttles is asked again for longer than a single question would be: an answer comes within
// some minutes.
type Batch interface {
	// Get is [Provider.Get], without what no list tells: how far back an instance can be restored (cloudsql).
	Get(ctx context.Context, name string) (*Instance, error)
	// Certificates is [Certifier.Certificates].
	Certificates(ctx context.Context, name string) (*Certificates, error)
}

// Once is an answer that several wait for and the first asks for.
type Once[T any] struct {
	mu     sync.Mutex
	done   chan struct{} // nil before the first
	answer T
	err    error
}

// Get returns the answer. Whoever comes first calls ask; the others wait for that, or for the end of their context.
func (o *Once[T]) Get(ctx context.Context, ask func() (T, error)) (T, error) {
	o.mu.Lock()
	first := o.done == nil
	if first {
		o.done = make(chan struct{})
	}
	o.mu.Unlock()
	if first {
		defer close(o.done) // also if it panics
		o.answer, o.err = ask()
		return o.answer, o.err
	}
	select {
	case <-o.done:
		return o.answer, o.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// Onces are answers by what they are about.
type Onces[T any] struct {
	mu  sync.Mutex
	all map[string]*Once[T]
}

// Get returns the answer about something, as [Once.Get].
func (o *Onces[T]) Get(ctx context.Context, about string, ask func() (T, error)) (T, error) {
	o.mu.Lock()
	one := o.all[about]
	if one == nil {
		if o.all == nil {
			o.all = map[string]*Once[T]{}
		}
		one = &Once[T]{}
		o.all[about] = one
	}
	o.mu.Unlock()
	return one.Get(ctx, ask)
}

// Own is a copy of i that shares nothing with it but Raw, whose bytes nobody changes.
func (i *Instance) Own() *Instance {
	out := *i
	out.Endpoints, out.NetworkZones, out.Pending = slices.Clone(i.Endpoints), slices.Clone(i.NetworkZones), slices.Clone(i.Pending)
	out.Maintenance.Pending = slices.Clone(i.Maintenance.Pending)
	out.Labels = maps.Clone(i.Labels)
	return &out
}
