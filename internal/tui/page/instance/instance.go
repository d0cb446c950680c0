// Package instance is the page of one instance: its tabs.
package instance

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/summary"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page holds the tabs, and shows one. It is a value.
type Page struct {
	core core.Core
	pool *work.Pool
	at   overview.Known

	pages  []screen.Page // nil: not looked at yet
	active int
}

// New returns the page of an instance of which k is known already.
func New(c core.Core, pool *work.Pool, k overview.Known) Page {
	p := Page{core: c, pool: pool, at: k, pages: make([]screen.Page, 1+len(tabs))}
	p.pages[0] = summary.New(c, pool, k)
	return p
}

// At puts the tab of a name in front, before the page is begun.
func (p Page) At(name string) Page {
	if i := slices.IndexFunc(p.names(), func(t screen.Tab) bool { return t.Name == name }); i > 0 {
		p.active = i
		p.pages = slices.Clone(p.pages)
		p.pages[i] = p.open(i)
	}
	return p
}

func (p Page) open(i int) screen.Page { return tabs[i-1].open(p.core, p.pool, p.at.Instance) }

// first is the tab that shows what is known at once.
var first = screen.Tab{Key: "1", Name: "Overview"}

func (p Page) names() []screen.Tab {
	out := []screen.Tab{first}
	for _, t := range tabs {
		out = append(out, t.Tab)
	}
	return out
}

func (p Page) top() screen.Page { return p.pages[p.active] }

// with replaces the page of a tab.
func (p Page) with(i int, next screen.Page) Page {
	p.pages = slices.Clone(p.pages)
	p.pages[i] = next
	return p
}

// ID implements [screen.Page]: the scope of the first tab is the page's own.
func (p Page) ID() work.ID { return p.pages[0].ID() }

// Holds implements [screen.Holder].
func (p Page) Holds(id work.ID) bool { return p.index(id) >= 0 }

func (p Page) index(id work.ID) int {
	return slices.IndexFunc(p.pages, func(t screen.Page) bool { return t != nil && t.ID() == id })
}

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	next, out := p.top().Init(s)
	return p.with(p.active, next), out
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	i := p.active
	if m, ok := msg.(work.Addressed); ok {
		if i = p.index(m.Addressee()); i < 0 {
			return p, screen.Out{}
		}
	}
	next, out := p.pages[i].Update(msg, s)
	return p.with(i, next), out
}

// turn puts another tab in front.
func (p Page) turn(to int, s screen.Scene) (Page, screen.Out) {
	if to == p.active {
		return p, screen.Out{}
	}
	covered, out := p.top().Update(screen.Covered{}, s)
	p = p.with(p.active, covered)
	p.active = to
	var next screen.Page
	var began screen.Out
	if p.pages[to] == nil {
		next, began = p.open(to).Init(s)
	} else {
		next, began = p.pages[to].Update(screen.Resumed{}, s)
	}
	return p.with(to, next), screen.Out{Say: append(slices.Clone(out.Say), began.Say...), Cmd: tea.Batch(out.Cmd, began.Cmd)}
}

const (
	actNext = "tab.next"
	actPrev = "tab.previous"
	actTab  = "tab." // and its key
)

// Actions implements [screen.Page]. The keys of the tabs are not a tab's own to use.
func (p Page) Actions(s screen.Scene) []screen.Action {
	taken := []string{"tab", "shift+tab", "[", "]"}
	for _, t := range p.names() {
		taken = append(taken, t.Key)
	}
	out := slices.Clone(p.top().Actions(s))
	for i, a := range out {
		out[i].Key = screen.Without(a.Key, taken)
	}
	for i, t := range p.names() {
		a := screen.Action{ID: actTab + t.Key, Title: t.Name, Group: screen.GroupMove, Key: screen.Keys(t.Key)}
		if p.pages[i] != nil {
			a.CLI = p.pages[i].CLI(s)
		}
		out = append(out, a)
	}
	return append(
		out,
		screen.Action{ID: actNext, Title: "next tab", Short: "next tab", Group: screen.GroupMove, Key: screen.ShownAs(screen.Keys("tab", "]"), "tab ]")},
		screen.Action{ID: actPrev, Title: "previous tab", Group: screen.GroupMove, Key: screen.ShownAs(screen.Keys("shift+tab", "["), "shift+tab [")},
	)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	switch id {
	case actNext:
		return p.turn((p.active+1)%len(p.pages), s)
	case actPrev:
		return p.turn((p.active+len(p.pages)-1)%len(p.pages), s)
	}
	for i, t := range p.names() {
		if id == actTab+t.Key {
			return p.turn(i, s)
		}
	}
	next, out := p.top().Do(id, s)
	return p.with(p.active, next), out
}

// HasTab tells whether there is a tab of a name.
func HasTab(name string) bool {
	return name == first.Name || slices.ContainsFunc(tabs, func(t tab) bool { return t.Name == name })
}

// Turn puts the tab of a name in front.
func (p Page) Turn(name string, s screen.Scene) (screen.Page, screen.Out) {
	if i := slices.IndexFunc(p.names(), func(t screen.Tab) bool { return t.Name == name }); i >= 0 {
		return p.turn(i, s)
	}
	return p, screen.Out{}
}

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (screen.Page, bool) {
	c, ok := p.top().(screen.Clicker)
	if !ok {
		return p, false
	}
	next, hit := c.Click(x, y, s)
	return p.with(p.active, next), hit
}

// Point implements [screen.Pointer].
func (p Page) Point(x, y int, s screen.Scene) screen.Page {
	if c, ok := p.top().(screen.Pointer); ok {
		return p.with(p.active, c.Point(x, y, s))
	}
	return p
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.top().Captures() }

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string { return p.top().View(s) }

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	h := p.top().Header(s)
	h.Environment, h.Title = p.at.Environment, []string{p.at.Name}
	h.Tabs, h.Active = p.names(), p.active
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(s screen.Scene) []string { return p.top().CLI(s) }

// Close implements [screen.Page].
func (p Page) Close() {
	for _, t := range p.pages {
		if t != nil {
			t.Close()
		}
	}
}
