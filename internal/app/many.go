package app

import (
	"context"
	"sync"
	"time"

	"dbops/internal/certs"
	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
)

const (
	// batchFrom is from how many instances of an account and region, or of a project, on they are looked for in its lists. Fewer are asked about
	// one by one: an account may have thousands of others.
	batchFrom = 4
	// providerAtOnce is how many questions are under way to one account and region, or project. What they allow in a minute is for all who use them.
	providerAtOnce = 4
	// serversAtOnce is how many servers are waited for at once, each of which may be one that does not answer; wayAtOnce how many behind one
	// bastion or proxy.
	serversAtOnce = 128
	wayAtOnce     = 16
	// loginsAtOnce is how many servers are logged in to at once, with some sessions each.
	loginsAtOnce = 64
)

// many is a look at many instances: it asks each provider with as few requests as it can, and not with many at once.
type many struct {
	a  *App
	at map[op.Target]*place

	servers chan struct{}
	ways    map[string]chan struct{} // by the key of the via
	cas     cloud.Onces[trusted]
	said    func() // that one more has been looked at
}

// place is where an instance is asked about.
type place struct {
	inst  *config.Instance
	err   error         // why it is not known which instance that is
	batch cloud.Batch   // nil: its provider is asked about it alone
	slots chan struct{} // of its provider; those of servers for a plain one
}

// many begins a look at instances; ctx is that of the whole look. Nobody is asked anything yet.
func (a *App) many(ctx context.Context, all []Instance) *many {
	m := &many{a: a, at: map[op.Target]*place{}, servers: make(chan struct{}, serversAtOnce), ways: map[string]chan struct{}{}}
	groups := map[providerKey][]Instance{}
	for _, i := range all {
		p := &place{slots: m.servers}
		m.at[i.target()] = p
		if p.inst, p.err = a.instance(i.Environment, i.Name); p.err != nil {
			continue
		}
		if key := p.inst.Via.Key(); key != "" && m.ways[key] == nil {
			m.ways[key] = make(chan struct{}, wayAtOnce)
		}
		if p.inst.Kind() != cloud.Postgres {
			key := keyOf(i.Environment, i.Name, p.inst)
			groups[key] = append(groups[key], i)
		}
	}
	for _, group := range groups {
		m.gather(ctx, group)
	}
	m.said = a.counting(len(all))
	return m
}

// target is an instance as [many] knows it.
func (i Instance) target() op.Target { return op.Target{Environment: i.Environment, Instance: i.Name} }

// bare is a target without what does not tell it from others.
func bare(t op.Target) op.Target { return op.Target{Environment: t.Environment, Instance: t.Instance} }

// gather has the instances of one provider asked about together.
func (m *many) gather(ctx context.Context, group []Instance) {
	slots := make(chan struct{}, providerAtOnce)
	names := make([]string, len(group))
	for n, i := range group {
		p := m.at[i.target()]
		p.slots, names[n] = slots, providerName(p.inst)
	}
	if len(group) < batchFrom {
		return
	}
	one := group[0]
	provider, err := m.a.provider(ctx, one.Environment, one.Name, m.at[one.target()].inst)
	b, ok := provider.(cloud.Batcher)
	if err != nil || !ok {
		return // each of them says what is wrong
	}
	batch := b.Batch(ctx, names...)
	for _, i := range group {
		m.at[i.target()].batch = batch
	}
}

// counting is told of each of so many instances that has been looked at, and tells whoever wants to know.
func (a *App) counting(of int) func() {
	if a.opts.Progress == nil {
		return func() {}
	}
	var mu sync.Mutex
	done := 0
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		a.opts.Progress(done, of)
	}
}

// take waits for a slot, unless ctx ends before; give gives it back.
func take(ctx context.Context, slots chan struct{}) error {
	if slots == nil {
		return nil
	}
	select {
	case slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func give(slots chan struct{}) {
	if slots != nil {
		<-slots
	}
}

// ask has do ask the provider of an instance, when it is its turn. One that is asked about alone has a time limit.
func (m *many) ask(ctx context.Context, what string, t op.Target, do func(ctx context.Context, p *place) error) error {
	p := m.at[bare(t)]
	if p == nil {
		return fault.Newf(fault.Internal, what+" "+t.String(), "it is not among those that are looked at")
	}
	if p.err != nil {
		return p.err
	}
	way := m.ways[p.inst.Via.Key()]
	if p.inst.Kind() != cloud.Postgres {
		way = nil // the provider is asked, not the server
	}
	if err := take(ctx, way); err != nil {
		return fault.New(fault.KindOf(err), what+" "+t.String(), err)
	}
	defer give(way)
	if err := take(ctx, p.slots); err != nil {
		return fault.New(fault.KindOf(err), what+" "+t.String(), err)
	}
	defer give(p.slots)
	if p.batch == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, statusTimeout)
		defer cancel()
	}
	return m.a.guarded(what+" "+t.String(), func() error { return do(ctx, p) })
}

// get asks about an instance.
func (m *many) get(ctx context.Context, t op.Target) (live *cloud.Instance, err error) {
	err = m.ask(ctx, "read", t, func(ctx context.Context, p *place) (err error) {
		if p.batch != nil {
			live, err = p.batch.Get(ctx, providerName(p.inst))
		} else {
			live, err = m.a.getAt(ctx, t.Environment, t.Instance, p.inst)
		}
		return err
	})
	return live, err
}

// subject asks about an instance's certificates. CAs that many instances share are read once.
func (m *many) subject(ctx context.Context, t op.Target, caFile string) (s *certs.Subject, err error) {
	err = m.ask(ctx, "look at the certificates of", t, func(ctx context.Context, p *place) (err error) {
		told := func(ctx context.Context) (*cloud.Certificates, error) {
			return m.a.certificatesOf(ctx, t.Environment, t.Instance)
		}
		if p.batch != nil {
			told = func(ctx context.Context) (*cloud.Certificates, error) {
				return p.batch.Certificates(ctx, providerName(p.inst))
			}
		}
		s, err = m.a.subjectOf(ctx, t, p.inst, told, func(about string, read func() (trusted, error)) (trusted, error) {
			return m.cas.Get(ctx, about, read)
		}, caFile)
		return err
	})
	return s, err
}

// server has do wait for the server of an instance, when it is its turn, for a time.
func (m *many) server(ctx context.Context, t op.Target, patience time.Duration, do func(ctx context.Context)) error {
	way := m.ways[m.at[bare(t)].inst.Via.Key()]
	if err := take(ctx, way); err != nil {
		return err
	}
	defer give(way)
	if err := take(ctx, m.servers); err != nil {
		return err
	}
	defer give(m.servers)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	do(ctx)
	return nil
}
