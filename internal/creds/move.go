package creds

import (
	"context"
	"fmt"
	"sync"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
)

// moving takes containers of one instance from the credential of one slot to that of the other.
type moving struct {
	Deps
	t     op.Target
	all   []ContainerFacts
	grace time.Duration
	polls int
	// onward tells that the old credential goes first: no step is undone.
	onward bool
}

// staged are the versions that a run made: by container, then by place.
type staged map[string]map[string]versions

type versions struct {
	From string `json:"from,omitempty"`
	To   string `json:"to"`
}

func (m moving) what(doing string, c *ContainerFacts) string {
	return fmt.Sprintf("%s of %s on %s", doing, c.Name, m.t)
}

// gather is a staged that several goroutines fill.
type gather struct {
	mu  sync.Mutex
	all staged
}

func (g *gather) add(container, place string, v versions) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = staged{}
	}
	if g.all[container] == nil {
		g.all[container] = map[string]versions{}
	}
	g.all[container][place] = v
}

// staged reads what the run has staged.
func (m moving) staged(s *op.Session) (staged, error) {
	all := staged{}
	ok, err := s.Output(stepPending, &all)
	if err == nil && !ok {
		err = fault.Newf(fault.Internal, "read what was staged on "+m.t.String(), "the run has not staged anything")
	}
	return all, err
}

// place is the facts of a place.
func (c *ContainerFacts) place(name string) PlaceFacts {
	for _, p := range c.Places {
		if p.Place == name {
			return p
		}
	}
	return PlaceFacts{Place: name}
}

// places does something in every place of every container.
func (m moving) places(ctx context.Context, s *op.Session, do func(context.Context, *ContainerFacts, secret.Store, secret.Ref, string) error) error {
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		for _, p := range c.Places {
			store, ref, err := m.Place(ctx, p.Place)
			if err != nil {
				return err
			}
			if err := s.Fence(); err != nil {
				return err
			}
			if err := do(ctx, c, store, ref, p.Place); err != nil {
				return err
			}
		}
		return nil
	})
}

// onEach logs in as the admin for each container.
func (m moving) onEach(ctx context.Context, doing string, do func(context.Context, *ContainerFacts, *admin) error) error {
	return m.each(ctx, m.all, func(ctx context.Context, c *ContainerFacts) error {
		a, err := m.admin(ctx, m.t, c.Databases[0], m.what(doing, c))
		if err != nil {
			return err
		}
		defer a.close(ctx)
		return do(ctx, c, a)
	})
}

func (m moving) roleChanges(setting, from, to string, slot func(*ContainerFacts) *SlotFacts) []op.Change {
	out := make([]op.Change, 0, len(m.all))
	for i := range m.all {
		if s := slot(&m.all[i]); s.Role != "" {
			out = append(out, op.Change{Target: s.Role, Setting: setting, From: from, To: to})
		}
	}
	return out
}

func (m moving) versionChanges(all staged, back bool) (out []op.Change) {
	for i := range m.all {
		c := &m.all[i]
		for _, p := range c.Places {
			v := all[c.Name][p.Place]
			if back {
				v.From, v.To = v.To, v.From
			}
			out = append(out, op.Change{Target: c.Name, Setting: p.Place, From: orNone(v.From), To: orNone(v.To)})
		}
	}
	return out
}
