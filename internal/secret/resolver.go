package secret

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"dbops/internal/fault"
)

// Open makes the source of one scheme, which is kept; an error is not, so the next secret tries again.
type Open = func(context.Context) (Source, error)

// Resolver reads secrets from wherever they live. A source is made when its first secret is asked for, so a command that needs none
// of a cloud's secrets makes no client of that cloud. It keeps no secrets: each Get reads anew.
type Resolver struct {
	stores map[string]*store
}

type store struct {
	open Open

	mu     sync.Mutex // held while opening, so that it is opened once
	source Source
}

var _ Source = (*Resolver)(nil)

// NewResolver returns a resolver with a source for each scheme of open. [File] and [Env] serve their schemes unless open has others.
func NewResolver(open map[string]Open) *Resolver {
	all := map[string]Open{
		SchemeFile: func(context.Context) (Source, error) { return File{}, nil },
		SchemeEnv:  func(context.Context) (Source, error) { return Env{}, nil },
	}
	maps.Copy(all, open)
	r := &Resolver{stores: map[string]*store{}}
	for scheme, o := range all {
		r.stores[scheme] = &store{open: o}
	}
	return r
}

// Get returns the secret that ref names now, from the source of its scheme. It may be called from any goroutine.
func (r *Resolver) Get(ctx context.Context, ref Ref) (Value, error) {
	source, err := r.source(ctx, ref)
	if err != nil {
		return Value{}, err
	}
	return source.Get(ctx, ref)
}

func (r *Resolver) source(ctx context.Context, ref Ref) (Source, error) {
	s, ok := r.stores[ref.Scheme]
	if !ok {
		return nil, fault.Newf(fault.Config, "use secret "+ref.String(), "there is no place of secrets called %s", ref.Scheme).
			Hint("want one of %s", strings.Join(slices.Sorted(maps.Keys(r.stores)), ", "))
	}
	return s.get(ctx)
}

func (s *store) get(ctx context.Context) (Source, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source != nil {
		return s.source, nil
	}
	source, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.source = source
	return source, nil
}
