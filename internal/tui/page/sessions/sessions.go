// Package sessions is the tab that shows who is connected to a server, who waits for whom, and the whole of one session, and from which sessions
// are cancelled and terminated.
package sessions

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/live"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// pace is how often a server is looked at while the tab is in front. A reading that takes longer sets a pace of its own.
const pace = 2 * time.Second

// view is what the tab shows.
type view uint8

const (
	viewSessions view = iota
	viewLocks
	viewOne
)

// Page is the sessions of one instance. It is a value.
type Page struct {
	sheet.Sheet[*live.Activity]
	core    core.Core
	scope   work.Scope // of the session that is shown
	began   time.Time
	covered bool

	view     view
	behind   view // that esc goes back to from one
	order    order
	filter   component.Filter
	sessions component.Table
	locks    component.Table
	byKey    map[string]live.Session // of the rows of both lists

	one    live.Session // as it was when it was opened
	detail reading.One[*live.Detail]
	scroll component.Scroll
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	p := Page{core: c, filter: component.NewFilter()}
	p.Sheet = sheet.New(pool, at, "the sessions", 0, func(ctx context.Context) (*live.Activity, error) {
		return c.LiveSessions(ctx, at.Environment, at.Name)
	})
	p.scope = pool.Scope()
	p.scope.ID = p.ID() // answers come to the page
	p.detail = reading.NewOne[*live.Detail](p.scope, nil)
	p.sessions.Columns, p.locks.Columns = sessionColumns, lockColumns
	return p
}

// Close implements [screen.Page].
func (p Page) Close() {
	p.Sheet.Close()
	p.scope.Close()
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.filter.Editing() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s) }

// read reads what is in front.
func (p Page) read(s screen.Scene) (Page, screen.Out) {
	p.began = s.Now
	if p.view == viewOne {
		var cmd tea.Cmd
		p.detail, cmd = p.detail.Start(s.Now)
		return p, screen.Run(cmd)
	}
	var out screen.Out
	p.Sheet, out = p.Read(s)
	return p, out
}

func (p Page) loading() bool {
	if p.view == viewOne {
		return p.detail.Loading()
	}
	return p.Sheet.Header().Fresh.Loading
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg.(type) {
	case screen.Tick:
		if !p.covered && !p.loading() && s.Now.Sub(p.began) >= pace {
			return p.read(s)
		}
		return p, screen.Out{}
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed:
		p.covered = false
		if p.loading() {
			return p, screen.Out{}
		}
		return p.read(s)
	case screen.Cancel:
		p.detail = p.detail.Cancel()
	case tea.KeyPressMsg, tea.PasteMsg:
		if p.filter.Editing() {
			next, cmd := p.filter.Update(msg)
			p.filter = next
			return p.refilter(), screen.Run(cmd)
		}
	}
	if one, ok := p.detail.Update(msg); ok {
		p.detail = one
		return p, screen.Out{}
	}
	next, out, read := p.Sheet.Update(msg, s)
	p.Sheet = next
	if read {
		p = p.fill(s)
	}
	return p, out
}

func (p Page) refilter() Page {
	p.sessions, p.locks = p.sessions.WithFilter(p.filter.Value()), p.locks.WithFilter(p.filter.Value())
	return p
}

// list is the list in front.
func (p Page) list() component.Table {
	if p.view == viewLocks {
		return p.locks
	}
	return p.sessions
}

// with replaces the list in front.
func (p Page) with(t component.Table) Page {
	if p.view == viewLocks {
		p.locks = t
	} else {
		p.sessions = t
	}
	return p
}

// selected is the session that an action is about.
func (p Page) selected() (live.Session, bool) {
	if p.view == viewOne {
		if d, ok := p.detail.Value(); ok && d.Session != nil && d.Session.Started.Equal(p.one.Started) {
			return *d.Session, true
		}
		return p.one, !p.ended()
	}
	one, ok := p.byKey[p.list().Selected()]
	return one, ok
}

// ended tells that the session that is shown is not there any more.
func (p Page) ended() bool {
	d, ok := p.detail.Value()
	return ok && (d.Session == nil || !d.Session.Started.Equal(p.one.Started))
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	h := p.Sheet.Header()
	if p.view == viewOne {
		h.Fresh = p.detail.Fresh()
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	switch p.view {
	case viewLocks:
		return p.Sheet.CLI([]string{"sessions", "locks"})
	case viewOne:
		return p.Sheet.CLI([]string{"sessions", "list"}, pid(p.one))
	default:
		return p.Sheet.CLI([]string{"sessions", "list"})
	}
}
