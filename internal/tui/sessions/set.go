package sessions

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/tui/core"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// Set is all the proxies of this process, by environment. It is a value: each method returns the next one.
type Set struct {
	core   core.Core
	pool   *work.Pool
	keeper *Keeper
	now    func() time.Time // only in commands
	states map[string]State
}

// Note is something a person should be told.
type Note struct {
	Text string
	Err  error // why, when it is a failure
}

type openedMsg struct {
	to     work.ID
	at     time.Time
	handle core.Proxy
	events <-chan proxy.Event
	access config.Access
	addr   string
	uris   []app.DatabaseURI
	err    error
}

type sampledMsg struct {
	to          work.ID
	at          time.Time
	connections []proxy.Connection
	totals      proxy.Totals
}

type closedMsg struct {
	to  work.ID
	at  time.Time
	err error
}

type killedMsg struct {
	to  work.ID
	id  uint64
	was bool
}

// Addressee is the session that the message is for.
func (m openedMsg) Addressee() work.ID { return m.to }

// Addressee is the session that the message is for.
func (m sampledMsg) Addressee() work.ID { return m.to }

// Addressee is the session that the message is for.
func (m closedMsg) Addressee() work.ID { return m.to }

// Addressee is the session that the message is for.
func (m killedMsg) Addressee() work.ID { return m.to }

// NewSet returns a set without proxies. Commands run in pool; now is the clock they read.
func NewSet(c core.Core, pool *work.Pool, k *Keeper, now func() time.Time) Set {
	return Set{core: c, pool: pool, keeper: k, now: now, states: map[string]State{}}
}

// States are the proxies by environment. The map must not be changed.
func (s Set) States() map[string]State { return s.states }

// Open counts the proxies that serve, or are about to, and the clients they have.
func (s Set) Open() (proxies, clients int) {
	for _, st := range s.states {
		if st.Open() || st.Phase == Starting {
			proxies++
			clients += st.Live()
		}
	}
	return proxies, clients
}

// with returns a copy of s that has st.
func (s Set) with(st State) Set {
	s.states = maps.Clone(s.states)
	s.states[st.Environment] = st
	return s
}

// Start opens the proxy of an environment. It does nothing while there is one.
func (s Set) Start(o app.ProxyOptions, now time.Time) (Set, tea.Cmd) {
	old := s.states[o.Environment]
	if old.Open() || old.Phase == Starting {
		return s, nil
	}
	old.scope.Close()
	if o.Access == "" {
		o.Access = config.Read
	}
	st := State{
		Environment: o.Environment, Phase: Starting, Access: o.Access, Since: now,
		Events: old.Events, scope: s.pool.Scope(),
	}
	c, k, clock, to := s.core, s.keeper, s.now, st.scope.ID
	return s.with(st), st.scope.Do(func(ctx context.Context) tea.Msg {
		p, err := k.Open(ctx, c, o)
		if err != nil {
			return openedMsg{to: to, at: clock(), err: err}
		}
		return openedMsg{to: to, at: clock(), handle: p, events: p.Events(), access: p.Access(), addr: p.Addr(), uris: p.URIs()}
	})
}

// Stop drains the proxy of an environment, or gives up starting it.
func (s Set) Stop(env string, now time.Time) (Set, tea.Cmd) {
	st := s.states[env]
	switch st.Phase {
	case Starting:
		st.Phase, st.Since = Stopping, now
		st.scope.Close()
		return s.with(st), nil
	case Running:
		st.Phase, st.Since = Stopping, now
		return s.with(st), s.close(st)
	default:
		return s, nil
	}
}

// StopAll stops every proxy.
func (s Set) StopAll(now time.Time) (Set, tea.Cmd) {
	var cmds []tea.Cmd
	for _, env := range slices.Sorted(maps.Keys(s.states)) {
		var cmd tea.Cmd
		s, cmd = s.Stop(env, now)
		cmds = append(cmds, cmd)
	}
	return s, tea.Batch(cmds...)
}

// close is the command that drains.
func (s Set) close(st State) tea.Cmd {
	k, clock, p, to := s.keeper, s.now, st.handle, st.scope.ID
	return s.pool.Do(func(ctx context.Context) tea.Msg {
		return closedMsg{to: to, err: k.Close(ctx, p), at: clock()}
	})
}

// Kill cuts one client of an environment's proxy.
func (s Set) Kill(env string, id uint64) tea.Cmd {
	st, ok := s.states[env]
	if !ok || !st.Open() || st.handle == nil {
		return nil
	}
	p, to := st.handle, st.scope.ID
	return st.scope.Do(func(context.Context) tea.Msg { return killedMsg{to: to, id: id, was: p.Kill(id)} })
}

// Tick samples the proxies that run.
func (s Set) Tick() (Set, tea.Cmd) {
	var cmds []tea.Cmd
	for _, env := range slices.Sorted(maps.Keys(s.states)) {
		st := s.states[env]
		if !st.Open() || st.handle == nil || st.sampling {
			continue
		}
		st.sampling = true
		s = s.with(st)
		p, to, clock := st.handle, st.scope.ID, s.now
		cmds = append(cmds, st.scope.Do(func(context.Context) tea.Msg {
			return sampledMsg{to: to, at: clock(), connections: p.Connections(), totals: p.Totals()}
		}))
	}
	return s, tea.Batch(cmds...)
}

// Update takes a message for one of the sessions; ok is false when it is for none of them.
func (s Set) Update(msg work.Addressed) (next Set, cmd tea.Cmd, notes []Note, ok bool) {
	for _, st := range s.states {
		if st.scope.ID == msg.Addressee() {
			next, cmd, notes = s.update(st, msg)
			return next, cmd, notes, true
		}
	}
	if m, isOpened := msg.(openedMsg); isOpened && m.handle != nil { // nobody waits for it any more
		return s, s.close(State{handle: m.handle}), nil, true
	}
	return s, nil, nil, false
}

func (s Set) update(st State, msg work.Addressed) (Set, tea.Cmd, []Note) {
	switch m := msg.(type) {
	case openedMsg:
		return s.opened(st, m)
	case sampledMsg:
		return s.with(st.withSample(m)), nil, nil
	case work.Batch[proxy.Event]:
		return s.heard(st, m)
	case closedMsg:
		st.Phase, st.Since, st.handle = Stopped, m.at, nil
		st.Connections, st.Rates, st.URIs = nil, nil, nil
		if m.err != nil {
			return s.with(st), nil, []Note{{Text: "proxy of " + st.Environment + " did not close cleanly", Err: m.err}}
		}
		return s.with(st), nil, []Note{{Text: "proxy of " + st.Environment + " closed"}}
	case killedMsg:
		if !m.was {
			return s, nil, []Note{{Text: fmt.Sprintf("connection %d had already ended", m.id)}}
		}
		return s, nil, []Note{{Text: fmt.Sprintf("connection %d cut", m.id)}}
	}
	return s, nil, nil
}

func (s Set) opened(st State, m openedMsg) (Set, tea.Cmd, []Note) {
	cancelled := st.Phase == Stopping
	st.Since = m.at
	switch {
	case m.err != nil && cancelled:
		st.Phase = Stopped
		return s.with(st), nil, []Note{{Text: "start of the proxy of " + st.Environment + " cancelled"}}
	case m.err != nil:
		st.Phase, st.Err = Ended, m.err
		st.scope.Close()
		return s.with(st), nil, []Note{{Text: "proxy of " + st.Environment + " did not start", Err: m.err}}
	}
	st.handle, st.events, st.Addr, st.Access = m.handle, m.events, m.addr, m.access
	st = st.withURIs(m.uris)
	if cancelled {
		return s.with(st), s.close(st), nil
	}
	st.Phase = Running
	next, sample := s.with(st).Tick()
	return next, tea.Batch(work.Next(st.scope, 0, st.events), sample),
		[]Note{{Text: fmt.Sprintf("proxy of %s listens on %s, access %s, %s", st.Environment, st.Addr, st.Access, text.Count(len(st.URIs), "database"))}}
}

// heard takes events. Their end while nobody stopped the proxy means that it ended by itself.
func (s Set) heard(st State, b work.Batch[proxy.Event]) (Set, tea.Cmd, []Note) {
	st = st.withEvents(b.Items)
	if !b.Closed {
		return s.with(st), work.Next(st.scope, 0, st.events), nil
	}
	if st.Phase != Running {
		st.scope.Close()
		return s.with(st), nil, nil
	}
	err := fault.Newf(fault.Unavailable, "proxy of "+st.Environment, "it ended by itself").
		Hint("read its events, then start it again")
	handle := st.handle
	st.Phase, st.Err, st.handle = Ended, err, nil
	st.Connections, st.Rates, st.URIs = nil, nil, nil
	k := s.keeper
	release := s.pool.Do(func(ctx context.Context) tea.Msg {
		_ = k.Close(ctx, handle) // it has ended: this only forgets it
		return nil
	})
	return s.with(st), release, []Note{{Text: "proxy of " + st.Environment + " ended", Err: err}}
}
