// Package audit shows the audit log, newest first: who did what to what, what came of it, and whether the log is what was signed.
package audit

import (
	"context"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/state/audit"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// chunk is how many entries are read at once.
const chunk = 200

// Page is the log, or what it has of one instance. It is a value.
type Page struct {
	core   core.Core
	pool   *work.Pool
	scope  work.Scope
	at     app.Instance // whose entries; the zero value for all
	newest reading.One[[]audit.Entry]
	chain  chain
	list   listing.List

	entries []audit.Entry // newest first
	older   int64         // the entry whose predecessors are being read; 0: none are
	first   bool          // the first entry of all is there
	covered bool
}

// All returns the page of the whole log.
func All(c core.Core, pool *work.Pool) Page { return open(c, pool, app.Instance{}) }

// New returns the page of one instance's entries.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page { return open(c, pool, at) }

func open(c core.Core, pool *work.Pool, at app.Instance) Page {
	p := Page{core: c, pool: pool, scope: pool.Scope(), at: at}
	p.chain = chain{core: c, scope: p.scope}
	p.list = listing.New("entry", columns(p.ofOne()))
	p.newest = reading.NewOne(p.scope, func(ctx context.Context) ([]audit.Entry, error) { return c.AuditEntries(ctx, p.want(0)) })
	return p
}

func (p Page) ofOne() bool { return p.at.Name != "" }

func (p Page) want(before int64) audit.Filter {
	f := audit.Filter{Before: before, Limit: chunk}
	if p.ofOne() {
		f.Target = overview.Key(p.at.Environment, p.at.Name)
	}
	return f
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.list.Captures() }

type olderMsg struct {
	to      work.ID
	before  int64
	entries []audit.Entry
	err     error
}

// Addressee implements [work.Addressed].
func (m olderMsg) Addressee() work.ID { return m.to }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s, true) }

// read asks for the newest entries, and has the log verified: all of it, or what is new.
func (p Page) read(s screen.Scene, all bool) (Page, screen.Out) {
	var cmd, verify tea.Cmd
	p.newest, cmd = p.newest.Start(s.Now)
	p.chain, verify = p.chain.verify(s.Now, all)
	return p, screen.Run(tea.Batch(cmd, verify))
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch m := msg.(type) {
	case screen.Tick, screen.Resumed:
		if _, back := m.(screen.Resumed); back {
			p.covered = false
		}
		if !p.covered && p.newest.Due(s) && p.chain.due(s) {
			return p.read(s, false)
		}
		return p, screen.Out{}
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Cancel:
		if p.newest.Loading() || p.older != 0 {
			p.newest, p.older = p.newest.Cancel(), 0
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
		return p, screen.Out{}
	case tea.KeyPressMsg, tea.PasteMsg:
		var out screen.Out
		p.list, out = p.list.Type(msg)
		return p, out
	case olderMsg:
		return p.took(m)
	case verifiedMsg:
		was := p.chain.report.OK()
		p.chain = p.chain.verified(m)
		if m.err == nil && was && !m.report.OK() {
			return p, screen.Say(screen.Notice{Text: "the audit log is not what was signed", Err: m.report.Err()})
		}
		return p, screen.Out{}
	}
	next, ok := p.newest.Update(msg)
	if !ok {
		return p, screen.Out{}
	}
	p.newest = next
	if next.Err() == nil {
		p = p.merge()
	}
	return p.sync(), screen.Out{}
}

// merge puts the newest entries before those that are known. Where there may be a gap between them, the older ones are read again.
func (p Page) merge() Page {
	found, _ := p.newest.Value()
	found = slices.Clone(found)
	slices.Reverse(found)
	if len(p.entries) == 0 {
		p.first = len(found) < chunk
	}
	at := slices.IndexFunc(found, func(e audit.Entry) bool { return len(p.entries) > 0 && e.Seq <= p.entries[0].Seq })
	switch {
	case at >= 0:
		p.entries = append(found[:at:at], p.entries...)
	case len(found) == chunk && len(p.entries) > 0:
		p.entries, p.first, p.older = found, false, 0
	default:
		p.entries = append(found, p.entries...)
	}
	return p
}

// more asks for the entries before those that are known.
func (p Page) more() (Page, screen.Out) {
	n := len(p.entries)
	if n == 0 || p.first || p.older != 0 {
		return p, screen.Out{}
	}
	before := p.entries[n-1].Seq
	if before == 0 {
		p.first = true
		return p, screen.Out{}
	}
	p.older = before
	c, to, want := p.core, p.scope.ID, p.want(before)
	return p, screen.Run(p.scope.Do(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, reading.Limit)
		defer cancel()
		found, err := c.AuditEntries(ctx, want)
		return olderMsg{to, before, found, err}
	}))
}

func (p Page) took(m olderMsg) (Page, screen.Out) {
	if m.before != p.older {
		return p, screen.Out{}
	}
	p.older = 0
	if m.err != nil {
		return p, screen.Say(screen.Notice{Text: "the older entries were not read", Err: m.err})
	}
	found := slices.Clone(m.entries)
	slices.Reverse(found)
	p.entries = append(p.entries[:len(p.entries):len(p.entries)], found...)
	p.first = len(found) < chunk
	return p.sync(), screen.Out{}
}

// sync puts what is known into the list.
func (p Page) sync() Page {
	rows := make([]component.Row, len(p.entries))
	for i, e := range p.entries {
		rows[i] = row(e, p.ofOne())
	}
	empty := "reading the log"
	switch _, known := p.newest.Value(); {
	case known && p.ofOne():
		empty = "nothing was done to it yet"
	case known:
		empty = "nothing was done yet: every change is written down here before it is made"
	case p.newest.Err() != nil:
		empty = "the log is not known"
	}
	p.list = p.list.Rows(rows, empty)
	return p
}

func (p Page) selected() (audit.Entry, bool) {
	i := slices.IndexFunc(p.entries, func(e audit.Entry) bool { return fmt.Sprint(e.Seq) == p.list.Selected() })
	if i < 0 {
		return audit.Entry{}, false
	}
	return p.entries[i], true
}

// last tells that the selection is on the last row that is shown.
func (p Page) last() bool {
	here := p.list.Selected()
	return p.list.Table.Move(1).Selected() == here
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	note, cursor := p.list.Note()
	h := screen.Header{Title: []string{"Audit"}, Facts: p.chain.facts(), Note: note, Cursor: cursor, Fresh: p.newest.Fresh()}
	if p.ofOne() {
		h.Environment, h.Title = p.at.Environment, []string{p.at.Name}
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	cli := []string{"dbops", "audit", "list"}
	if f := p.want(0); f.Target != "" {
		cli = append(cli, "--target", f.Target)
	}
	return cli
}

func (p Page) end() string {
	switch {
	case p.older != 0:
		return "~ reading older entries"
	case p.first:
		return "this is the first entry"
	}
	return "older entries are read when the end is reached"
}
