// Package run is the one screen on which a run is followed: its steps, its progress, what it waits for, its log. The run goes on without it, and
// any number of people may look at it, each in their own terminal.
package run

import (
	"context"
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// keep is how many events the page keeps.
const keep = 5000

// again is how soon a stream that was lost is asked for again.
const again = 3 * time.Second

// Page follows one run. It is a value.
type Page struct {
	core  core.Core
	pool  *work.Pool
	scope work.Scope
	id    string

	ch   <-chan app.Followed
	gen  int
	open bool      // the stream is
	lost time.Time // when it was; zero: it was not
	err  error     // why

	view   app.RunView
	heard  time.Time // when the view came; zero before the first
	events []state.Event
	acting string // what is being told to the run

	copies map[string]tally // by their steps

	front  pane // which part the keys move
	back   int  // events that the log is scrolled up by; 0 follows it
	held   bool // the steps were scrolled, and do not follow the run
	scroll component.Scroll
}

// pane is a part of the page that scrolls on its own.
type pane uint8

const (
	paneLog pane = iota
	paneSteps
)

// New returns the page of a run.
func New(c core.Core, pool *work.Pool, id string) Page {
	return Page{core: c, pool: pool, scope: pool.Scope(), id: id}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

type followingMsg struct {
	to  work.ID
	gen int
	ch  <-chan app.Followed
	err error
}

// Addressee implements [work.Addressed].
func (m followingMsg) Addressee() work.ID { return m.to }

// decideMsg is the person's word.
type decideMsg struct {
	to work.ID
	d  app.Decision
}

// Addressee implements [work.Addressed].
func (m decideMsg) Addressee() work.ID { return m.to }

// confirmMsg is a word with its reason, which has to be confirmed.
type confirmMsg struct {
	to     work.ID
	verb   state.Verb
	reason string
}

// Addressee implements [work.Addressed].
func (m confirmMsg) Addressee() work.ID { return m.to }

type toldMsg struct {
	to   work.ID
	what string
	err  error
}

// Addressee implements [work.Addressed].
func (m toldMsg) Addressee() work.ID { return m.to }

// Init implements [screen.Page].
func (p Page) Init(screen.Scene) (screen.Page, screen.Out) { return p.follow() }

// follow asks for what is new since the last event.
func (p Page) follow() (Page, screen.Out) {
	p.gen++
	p.open, p.lost = true, time.Time{}
	after := int64(0)
	if n := len(p.events); n > 0 {
		after = p.events[n-1].Seq
	}
	c, id, to, gen := p.core, p.id, p.scope.ID, p.gen
	return p, screen.Run(p.scope.Do(func(ctx context.Context) tea.Msg {
		ch, err := c.Follow(ctx, id, after)
		return followingMsg{to, gen, ch, err}
	}))
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch m := msg.(type) {
	case screen.Tick:
		if !p.open && !p.view.Run.State.Ended() && s.Now.Sub(p.lost) >= again {
			return p.follow()
		}
	case followingMsg:
		if m.gen != p.gen {
			return p, screen.Out{}
		}
		if m.err != nil {
			return p.cut(m.err, s), screen.Out{}
		}
		p.ch = m.ch
		return p, screen.Run(work.Next(p.scope, p.gen, p.ch))
	case work.Batch[app.Followed]:
		if m.Gen == p.gen {
			return p.hear(m, s)
		}
	case confirmMsg:
		return p, screen.Say(screen.Show{Dialog: p.sure(m.verb, m.reason)})
	case decideMsg:
		return p.tell(m.d)
	case toldMsg:
		p.acting = ""
		if m.err != nil {
			return p, screen.Say(screen.Notice{Text: m.what + ": it was not told", Err: m.err})
		}
		next, out := p.follow()
		return next, out.And(screen.Notice{Text: m.what + ": told"})
	}
	return p, screen.Out{}
}

// cut notes that the stream is lost.
func (p Page) cut(err error, s screen.Scene) Page {
	p.open, p.lost, p.err = false, s.Now, err
	return p
}

func (p Page) hear(m work.Batch[app.Followed], s screen.Scene) (Page, screen.Out) {
	var failed error
	p.events = slices.Clone(p.events) // once for all of them
	for _, f := range m.Items {
		switch {
		case f.Err != nil:
			failed = f.Err
		case f.Event != nil:
			p = p.noted(*f.Event)
			p.copies = heard(p.copies, *f.Event)
		case f.View != nil:
			p.view, p.heard, p.err = *f.View, s.Now, nil
		}
	}
	if over := len(p.events) - keep; over > 0 {
		p.events = p.events[over:]
	}
	if bug, ok := errors.AsType[*fault.Panic](failed); ok {
		return p.cut(failed, s), screen.Run(p.pool.Crash(bug.Value, bug.Stack))
	}
	if m.Closed || failed != nil {
		return p.cut(failed, s), screen.Out{}
	}
	return p, screen.Run(work.Next(p.scope, p.gen, p.ch))
}

// tell says something to the run. It does not end with the page.
func (p Page) tell(d app.Decision) (Page, screen.Out) {
	p.acting = string(d.Verb)
	c, id, to := p.core, p.id, p.scope.ID
	return p, screen.Run(p.pool.Do(func(ctx context.Context) tea.Msg {
		if d.Verb == resume {
			return toldMsg{to, "resume", c.Resume(ctx, id)}
		}
		return toldMsg{to, string(d.Verb), c.Decide(ctx, id, d)}
	}))
}
