// Package approvals lists what waits for somebody's yes, and what has an answer; one of them is a page with its plan, where it is approved,
// refused, and run.
package approvals

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// Page is the list. It is a value.
type Page struct {
	scope   work.Scope
	all     reading.One[[]app.Waiting]
	list    listing.List
	covered bool
}

// New returns the list. Init begins to read.
func New(c core.Core, pool *work.Pool) Page {
	scope := pool.Scope()
	return Page{scope: scope, all: reading.NewOne(scope, c.Approvals), list: listing.New("approval", columns(), orders...)}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.list.Captures() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s) }

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	p.all, cmd = p.all.Start(s.Now)
	return p, screen.Run(cmd)
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg := msg.(type) {
	case screen.Tick:
		if !p.covered && p.all.Due(s) {
			return p.read(s)
		}
	case screen.Resumed: // what was said on the page above is seen at once
		p.covered = false
		return p.read(s)
	case screen.Covered:
		p.covered = true
	case screen.Cancel:
		if p.all.Loading() {
			p.all = p.all.Cancel()
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
	case tea.KeyPressMsg, tea.PasteMsg:
		var out screen.Out
		p.list, out = p.list.Type(msg)
		return p, out
	}
	if next, ok := p.all.Update(msg); ok {
		p.all = next
	}
	return p.sync(s), screen.Out{}
}

// sync puts what is known into the list.
func (p Page) sync(s screen.Scene) Page {
	all, known := p.all.Value()
	rows := make([]component.Row, 0, len(all))
	for _, w := range sorted(all, p.list.Order()) {
		rows = append(rows, row(w, s.Now))
	}
	empty := "reading the approvals"
	switch {
	case known:
		empty = "nobody has asked for an approval: where one is needed, running a plan asks"
	case p.all.Err() != nil:
		empty = "the approvals are not known"
	}
	p.list = p.list.Rows(rows, empty)
	return p
}

func (p Page) selected() (app.Waiting, bool) {
	all, _ := p.all.Value()
	i := slices.IndexFunc(all, func(w app.Waiting) bool { return w.Approval.ID == p.list.Selected() })
	if i < 0 {
		return app.Waiting{}, false
	}
	return all[i], true
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	note, cursor := p.list.Note()
	waits := 0
	all, _ := p.all.Value()
	for _, w := range all {
		if rank(w.Approval) == 0 {
			waits++
		}
	}
	facts := ""
	if waits > 0 {
		facts = text.Count(waits, "request") + " without an answer"
	}
	return screen.Header{Title: []string{"Approvals"}, Facts: facts, Note: note, Cursor: cursor, Fresh: p.all.Fresh()}
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return []string{"dbops", "approvals", "list", "--all"} }

// top says above the list why it could not be read.
func (p Page) top(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	listing.Failure(d, p.all.Err(), "the approvals could not be read")
	return d.Lines()
}

func (p Page) panes(s screen.Scene) component.Panes {
	return component.Divide(p.list.Lines(), s.Area.W, s.Area.H-len(p.top(s)))
}

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (next screen.Page, hit bool) {
	p = p.sync(s)
	if panes, y := p.panes(s), y-len(p.top(s)); x < panes.ListW && y < panes.ListH {
		p.list.Table, hit = p.list.Pick(y, panes.ListH)
	}
	return p, hit
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	p = p.sync(s)
	a, top := s.Area, p.top(s)
	panes := p.panes(s)
	var said []string
	if w, ok := p.selected(); ok && panes.DetailW > 0 {
		d := component.NewDoc(s.Theme, panes.DetailW)
		d.Raw(component.Rule(s.Theme, "approval "+w.Approval.ID, panes.DetailW-2))
		d.Add(theme.Strong, 0, title(w))
		about(d, w, s.Now)
		d.Fact(theme.Text, "target", target(w.Approval))
		d.Fact(theme.Text, "plan", w.Approval.PlanHash[:min(10, len(w.Approval.PlanHash))])
		said = d.Lines()
	}
	out := panes.View(s.Theme, p.list.View(s.Theme, panes.ListW, panes.ListH, true), said)
	if len(top) == 0 {
		return out
	}
	return text.Box(top, a.W, len(top), s.Theme.Glyphs.Tail) + "\n" + out
}

const (
	actOpen    = "approval.open"
	actRefresh = "approvals.refresh"
	actCopy    = "approval.copy"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	w, ok := p.selected()
	none, loading := "", ""
	if !ok {
		none = "no approval is selected"
	}
	if p.all.Loading() {
		loading = "they are being read"
	}
	out := append([]screen.Action{{
		ID: actOpen, Title: "open: its plan, what was said, approve, refuse, run", Short: "open", Key: screen.Keys("enter"), Off: none,
		CLI: []string{"dbops", "approvals", "show", w.Approval.ID},
	}}, p.list.Actions()...)
	return append(
		out,
		screen.Action{ID: actRefresh, Title: "read them now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: p.CLI(s)},
		screen.Action{ID: actCopy, Title: "copy the approval's name", Short: "copy name", Key: screen.Keys("y"), Off: none},
	)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	w, _ := p.selected()
	switch id {
	case actOpen:
		return p, screen.Say(screen.OpenApproval{ID: w.Approval.ID})
	case actRefresh:
		return p.read(s)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "approval", Text: w.Approval.ID})
	}
	next, out, _ := p.list.Do(id, p.panes(s).ListH)
	p.list = next
	return p.sync(s), out
}
