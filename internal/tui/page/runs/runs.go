// Package runs lists all runs: those that wait for a person first, then those that go on, then those that have ended.
package runs

import (
	"context"
	"fmt"
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// keep is how many runs are read; those that have not ended are, besides.
const keep = 200

// Page is the list. It is a value.
type Page struct {
	scope   work.Scope
	all     reading.One[[]state.Run]
	list    listing.List
	covered bool
}

// New returns the page. Init begins to read.
func New(c core.Core, pool *work.Pool) Page {
	scope := pool.Scope()
	return Page{
		scope: scope, list: listing.New("run", columns(), orders...),
		all: reading.NewOne(scope, func(ctx context.Context) ([]state.Run, error) { return Read(ctx, c, keep) }),
	}
}

// Read returns the newest n runs, and those that have not ended, however old.
func Read(ctx context.Context, c core.Changes, n int) ([]state.Run, error) {
	active, err := c.Runs(ctx, state.RunFilter{Active: true, Limit: n})
	if err != nil {
		return nil, err
	}
	all, err := c.Runs(ctx, state.RunFilter{Limit: n})
	for _, r := range active {
		if !slices.ContainsFunc(all, func(o state.Run) bool { return o.ID == r.ID }) {
			all = append(all, r)
		}
	}
	return all, err
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
	case screen.Tick, screen.Resumed:
		if _, back := msg.(screen.Resumed); back {
			p.covered = false
		}
		if !p.covered && p.all.Due(s) {
			return p.read(s)
		}
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
	for _, r := range sorted(all, p.list.Order()) {
		rows = append(rows, row(r, s.Now))
	}
	empty := "reading the runs"
	switch {
	case known:
		empty = "nothing was run yet: a change that is planned and begun is listed here"
	case p.all.Err() != nil:
		empty = "the runs are not known"
	}
	p.list = p.list.Rows(rows, empty)
	return p
}

func (p Page) selected() (state.Run, bool) {
	all, _ := p.all.Value()
	i := slices.IndexFunc(all, func(r state.Run) bool { return r.ID == p.list.Selected() })
	if i < 0 {
		return state.Run{}, false
	}
	return all[i], true
}

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	note, cursor := p.list.Note()
	return screen.Header{Title: []string{"Runs"}, Facts: p.census(), Note: note, Cursor: cursor, Fresh: p.all.Fresh()}
}

// census counts those that have not ended.
func (p Page) census() string {
	waits, active := 0, 0
	all, _ := p.all.Value()
	for _, r := range all {
		switch rank(r) {
		case 0:
			waits++
		case 1:
			active++
		}
	}
	switch {
	case waits > 0 && active > 0:
		return fmt.Sprintf("%s for a person to decide, %d more under way", text.Count(waits, "run"), active)
	case waits > 0:
		return text.Count(waits, "run") + " for a person to decide"
	case active > 0:
		return text.Count(active, "run") + " under way"
	}
	return ""
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return []string{"dbops", "runs", "list"} }

// top says above the list why it could not be read.
func (p Page) top(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	listing.Failure(d, p.all.Err(), "the runs could not be read")
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
	list := p.list.View(s.Theme, panes.ListW, panes.ListH, true)
	out := panes.View(s.Theme, list, p.detail(s, panes.DetailW))
	if len(top) == 0 {
		return out
	}
	return text.Box(top, a.W, len(top), s.Theme.Glyphs.Tail) + "\n" + out
}

// detail is what there is to say of the selected run.
func (p Page) detail(s screen.Scene, w int) []string {
	r, ok := p.selected()
	if !ok || w == 0 {
		return nil
	}
	d := component.NewDoc(s.Theme, w)
	d.Raw(component.Rule(s.Theme, "run "+r.ID, w-2))
	d.Add(theme.Strong, 0, r.Title)
	c := State(r)
	d.Fact(c.Role, "state", c.Text)
	d.Fact(theme.Text, "kind", r.Kind)
	d.Fact(theme.Text, "asked by", r.Requester)
	if r.Actor != "" && r.Actor != r.Requester {
		d.Fact(theme.Text, "goes by", r.Actor)
	}
	d.Fact(theme.Text, "made", text.Stamp(r.Created))
	if !r.Ended.IsZero() {
		d.Fact(theme.Text, "ended", text.Stamp(r.Ended))
	}
	if r.Step != "" && r.State != state.Done {
		d.Fact(theme.Text, "step", r.Step)
	}
	if r.Problem != "" {
		d.Fact(c.Role, "problem", r.Problem)
	}
	if r.Hint != "" {
		d.Fact(theme.Text, "next", r.Hint)
	}
	if r.Alive && !r.State.Ended() {
		d.Fact(theme.Muted, "worked on", op.Sign(r))
	}
	return d.Lines()
}

const (
	actOpen    = "run.open"
	actTarget  = "run.target"
	actCopy    = "run.copy"
	actRefresh = "runs.refresh"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	r, ok := p.selected()
	none, target, loading := "", "", ""
	if !ok {
		none = "no run is selected"
	}
	if _, known := instance(s, r); !known {
		target = "it is not configured here"
	}
	if p.all.Loading() {
		loading = "they are being read"
	}
	verb := "watch"
	if r.State.Ended() {
		verb = "show"
	}
	out := append([]screen.Action{
		{ID: actOpen, Title: "open the run", Short: "open", Key: screen.Keys("enter"), Off: none, CLI: []string{"dbops", "runs", verb, r.ID}},
	}, p.list.Actions()...)
	return append(
		out,
		screen.Action{ID: actTarget, Title: "go to its instance", Short: "instance", Key: screen.Keys("i"), Off: target},
		screen.Action{ID: actRefresh, Title: "read them now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: p.CLI(s)},
		screen.Action{ID: actCopy, Title: "copy the run's name", Short: "copy name", Key: screen.Keys("y"), Off: none},
	)
}

func instance(s screen.Scene, r state.Run) (app.Instance, bool) {
	for _, i := range s.Instances {
		if i.Environment == r.Environment && i.Name == r.Instance {
			return i, true
		}
	}
	return app.Instance{}, false
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	r, _ := p.selected()
	switch id {
	case actOpen:
		return p, screen.Say(screen.OpenRun{ID: r.ID})
	case actTarget:
		at, _ := instance(s, r)
		return p, screen.Say(screen.OpenTab{Instance: at, Tab: "Overview"})
	case actRefresh:
		return p.read(s)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "run", Text: r.ID})
	}
	next, out, _ := p.list.Do(id, p.panes(s).ListH)
	p.list = next
	return p.sync(s), out
}
