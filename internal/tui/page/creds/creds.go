// Package creds is the tab of an instance's credentials: of each container its login, where it is delivered, who uses it, what is wrong with it,
// and the rotation under way. No password ever gets here.
package creds

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/creds"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/underway"
	"dbops/internal/tui/work"
)

// The values that the page reads, each of a type of its own.
type (
	listed struct {
		all     []creds.Listed
		changes []underway.Change
		blind   error // why it is not known what is under way
	}
	tried   map[string]creds.Listed // by container
	audited struct{ report *creds.AuditReport }
)

type view uint8

const (
	viewList view = iota
	viewOne
	viewAudit
)

// Page is the tab. It is a value.
type Page struct {
	scope work.Scope
	at    app.Instance

	list    reading.One[listed]
	tries   reading.One[tried]   // each credential with a login: not again and again, every try is a line in the server's log
	audit   reading.One[audited] // begun when it is looked at, or wanted anew
	covered bool

	view   view
	table  component.Table
	filter component.Filter
	order  order
	scroll component.Scroll // of the container or the audit in front
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	scope, env, name := pool.Scope(), at.Environment, at.Name
	return Page{
		scope: scope, at: at, filter: component.NewFilter(), table: component.Table{Columns: columns},
		list: reading.NewOne(scope, func(ctx context.Context) (l listed, err error) {
			if l.all, err = c.Credentials(ctx, env, name, creds.Look{}); err == nil {
				l.changes, l.blind = underway.Read(ctx, c, env, name, "creds")
			}
			return l, err
		}),
		tries: reading.NewOne(scope, func(ctx context.Context) (tried, error) {
			all, err := c.Credentials(ctx, env, name, creds.Look{Login: true})
			t := tried{}
			for _, l := range all {
				t[l.Name] = l
			}
			return t, err
		}),
		audit: reading.NewOne(scope, func(ctx context.Context) (a audited, err error) {
			all, err := c.AuditCredentials(ctx, env, name)
			if err == nil && len(all) > 0 {
				a.report = all[0]
			}
			return a, err
		}),
	}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.filter.Editing() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	p, list := p.read(s)
	p, tries := p.try(s)
	return p, screen.Run(tea.Batch(list, tries))
}

func (p Page) read(s screen.Scene) (Page, tea.Cmd) {
	var list, audit tea.Cmd
	p.list, list = p.list.Start(s.Now)
	if p.view == viewAudit {
		p.audit, audit = p.audit.Start(s.Now)
	}
	return p, tea.Batch(list, audit)
}

func (p Page) try(s screen.Scene) (next Page, cmd tea.Cmd) {
	p.tries, cmd = p.tries.Start(s.Now)
	return p, cmd
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg.(type) {
	case tea.KeyPressMsg, tea.PasteMsg:
		next, cmd := p.filter.Update(msg)
		p.filter = next
		return p.sync(s), screen.Run(cmd)
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed, screen.Tick:
		if _, resumed := msg.(screen.Resumed); resumed {
			p.covered = false
		}
		if p.covered || !p.list.Due(s) {
			return p, screen.Out{}
		}
		next, cmd := p.read(s)
		return next, screen.Run(cmd)
	case screen.Cancel:
		if !p.list.Loading() && !p.tries.Loading() && !p.audit.Loading() {
			return p, screen.Out{}
		}
		p.list, p.tries, p.audit = p.list.Cancel(), p.tries.Cancel(), p.audit.Cancel()
		return p, screen.Say(screen.Notice{Text: "reading cancelled"})
	}
	return p.answer(msg, s)
}

func (p Page) answer(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	var ok bool
	if p.list, ok = p.list.Update(msg); ok {
		return p.sync(s), said("the credentials were not read", p.list.Err())
	}
	if p.tries, ok = p.tries.Update(msg); ok {
		return p.sync(s), said("the credentials were not tried", p.tries.Err())
	}
	if p.audit, ok = p.audit.Update(msg); ok {
		return p, said("the logins were not audited", p.audit.Err())
	}
	return p, screen.Out{}
}

func said(what string, err error) screen.Out {
	if err == nil {
		return screen.Out{}
	}
	return screen.Say(screen.Notice{Text: what, Err: err})
}

// sync puts what is known into the table.
func (p Page) sync(s screen.Scene) Page {
	p.table = p.table.WithRows(p.rows(s)).WithFilter(p.filter.Value())
	p.table.Empty = "dbops.yaml declares no container with a database on this instance"
	if _, all := p.table.Len(); all > 0 {
		p.table.Empty = "no container matches the filter"
	}
	if _, ok := p.selected(); !ok && p.view == viewOne {
		p.view = viewList
	}
	return p
}

// selected is the container under the cursor.
func (p Page) selected() (creds.Listed, bool) {
	known, _ := p.list.Value()
	for _, l := range known.all {
		if l.Name == p.table.Selected() {
			return l, true
		}
	}
	return creds.Listed{}, false
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	h := screen.Header{Cursor: -1, Fresh: p.list.Fresh()}
	if p.view == viewAudit {
		h.Fresh = p.audit.Fresh()
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	switch one, _ := p.selected(); p.view {
	case viewAudit:
		return p.cliHere("audit")
	case viewOne:
		return p.cli("show", one.Name)
	default:
		return p.cliHere("list")
	}
}

// cli is a command on a container, or on none.
func (p Page) cli(verb string, args ...string) []string {
	return append([]string{"dbops", "creds", verb, "-e", p.at.Environment}, args...)
}

// cliHere is a command on what is on the instance.
func (p Page) cliHere(verb string, args ...string) []string {
	return append(p.cli(verb, "-i", p.at.Name), args...)
}
