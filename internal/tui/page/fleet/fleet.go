// Package fleet is the page that a person sees first: every instance of every environment, and what needs attention.
//
// Instances are grouped by environment, protected ones first, under a heading in the environment's colour that stays on the
// screen. A row keeps the last good values when its instance cannot be read, muted and with their age; the reason stands below.
package fleet

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// Page is the fleet. It is a [screen.Page].
type Page struct {
	scope   work.Scope
	core    core.Core
	reader  reading.Many[app.Status]
	watch   watch
	known   map[string]overview.Known
	done    time.Time // when the last complete reading ended
	err     error     // why the last reading ended early
	covered bool

	table  component.Table
	synced synced // what the table was filled from
	found  []overview.Finding
	filter component.Filter
	order  order
	marked map[string]bool // never changed: replaced
}

// New returns the page. Init begins the first reading.
func New(c core.Core, pool *work.Pool) Page {
	scope := pool.Scope()
	return Page{
		scope:  scope,
		core:   c,
		reader: reading.Status(c, scope, "", ""),
		watch:  newWatch(c, scope),
		known:  map[string]overview.Known{},
		table:  component.Table{Columns: titles(), Edges: true},
		filter: component.NewFilter(),
	}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	p, out := p.read(s)
	return p.look(s, out)
}

// look reads what stands beside the status, if it is time.
func (p Page) look(s screen.Scene, out screen.Out) (Page, screen.Out) {
	room := !p.done.IsZero() || p.err != nil || s.Now.Sub(p.reader.Began()) >= statusAlone
	var cmd tea.Cmd
	p.watch, cmd = p.watch.due(s.Now, room)
	out.Cmd = tea.Batch(out.Cmd, cmd)
	return p, out
}

// readAll reads the status, and everything beside it, now.
func (p Page) readAll(s screen.Scene) (Page, screen.Out) {
	p, out := p.read(s)
	var cmd tea.Cmd
	p.watch, cmd = p.watch.start(s.Now)
	out.Cmd = tea.Batch(out.Cmd, cmd)
	return p, out
}

// tick reads what it is time for.
func (p Page) tick(s screen.Scene) (screen.Page, screen.Out) {
	if p.covered {
		return p, screen.Out{}
	}
	var out screen.Out
	if p.due(s) {
		p, out = p.read(s)
	}
	p, out = p.look(s, out)
	return p.sync(s), out
}

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	p.reader, cmd = p.reader.Start(s.Now)
	return p, screen.Run(cmd)
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.filter.Editing() }

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg := msg.(type) {
	case screen.Tick:
		return p.tick(s)
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed:
		p.covered = false
		return p.tick(s)
	case backUpMsg:
		return p.backUp(msg, s)
	case rotateMsg:
		return p.rotate(msg, s)
	case screen.Cancel:
		if p.reader.Loading() || p.watch.loading() {
			p.reader, p.watch = p.reader.Cancel(), p.watch.cancel()
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
		return p, screen.Out{}
	case tea.KeyPressMsg, tea.PasteMsg:
		var cmd tea.Cmd
		p.filter, cmd = p.filter.Update(msg)
		p.table = p.table.WithFilter(p.filter.Value())
		return p.sync(s), screen.Run(cmd)
	}
	return p.answer(msg, s)
}

// due tells whether it is time to read anew.
func (p Page) due(s screen.Scene) bool {
	return s.Instances != nil && !p.reader.Loading() && s.Now.Sub(p.reader.Began()) >= s.Refresh
}

// answer takes what a reading brought.
func (p Page) answer(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	r, cmd, res, ok := p.reader.Update(msg)
	if !ok {
		return p.watched(msg, s)
	}
	p.reader = r
	p.known = maps.Clone(p.known)
	for _, st := range res.Answers {
		key := overview.Key(st.Environment, st.Name)
		was := p.known[key]
		p.known[key] = was.With(st)
		if was.Err != nil && p.known[key].Err == nil {
			p.watch.agesAgain, p.watch.driftAgain = true, true
		}
	}
	if res.Silent != nil {
		for _, k := range p.all(s) {
			p.known[k.Key()] = k.Unheard(r.Began(), s.Now, res.Silent)
		}
	}
	out := screen.Run(cmd)
	if res.Done {
		p.err = res.Err
		if res.Err == nil {
			p.done = s.Now
		} else {
			out = out.And(screen.Notice{Text: "the fleet was not read", Err: res.Err})
		}
		p, out = p.look(s, out)
	}
	return p.sync(s), out
}

// all is what is configured, with what is known of each, in the order of the screen.
func (p Page) all(s screen.Scene) []overview.Known {
	out := make([]overview.Known, 0, len(s.Instances))
	for _, i := range s.Instances {
		k := p.known[overview.Key(i.Environment, i.Name)]
		k.Instance = i
		out = append(out, k)
	}
	slices.SortStableFunc(out, func(a, b overview.Known) int { return p.order.compare(a, b) })
	return out
}

// synced is what of a scene stands in the table. What the page itself knows is put there by whatever changes it.
type synced struct {
	now     time.Time
	first   *app.Instance
	proxies string
}

func syncedOf(s screen.Scene) synced {
	of := synced{now: s.Now}
	if len(s.Instances) > 0 {
		of.first = &s.Instances[0] // they are replaced as a whole
	}
	for _, env := range slices.Sorted(maps.Keys(s.Proxies)) {
		of.proxies += proxyNote(s.Proxies[env]) + "\n"
	}
	return of
}

// resync is sync, if the scene has changed: that takes longer than all else of a frame.
func (p Page) resync(s screen.Scene) Page {
	if p.synced == syncedOf(s) {
		return p
	}
	return p.sync(s)
}

// sync puts what is known into the table.
func (p Page) sync(s screen.Scene) Page {
	p.synced = syncedOf(s)
	p.marked = stillThere(p.marked, s)
	all := p.all(s)
	p.table = p.table.WithRows(p.rows(all, s))
	p.found = overview.Findings(all, s.Now)
	p.table.Empty = "no instance is configured: dbops config init finds yours"
	if p.filter.Value() != "" {
		p.table.Empty = "no instance matches the filter"
	}
	return p
}

// selected is the instance under the cursor.
func (p Page) selected(s screen.Scene) (overview.Known, bool) {
	key := p.table.Selected()
	for _, i := range s.Instances {
		if overview.Key(i.Environment, i.Name) == key {
			k := p.known[key]
			k.Instance = i
			return k, true
		}
	}
	return overview.Known{}, false
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return screen.CLIStatus("") }

// Header implements [screen.Page].
func (p Page) Header(s screen.Scene) screen.Header {
	note, cursor := p.filter.Note()
	if shown, all := p.table.Len(); p.filter.Value() != "" {
		note += "  " + strconv.Itoa(shown) + " of " + text.Count(all, "instance")
	}
	if p.order != byName {
		note = strings.TrimLeft(note+"  sorted by "+p.order.String(), " ")
	}
	if m := p.marksNote(); m != "" {
		note = strings.TrimLeft(note+"  "+m, " ")
	}
	h := screen.Header{
		Title: []string{"Fleet"}, Facts: census(s.Instances), Note: note, Cursor: cursor,
		Fresh: screen.Fresh{At: p.done, Loading: p.reader.Loading()},
	}
	if p.err != nil {
		h.Fresh.Err = "the last reading failed"
	}
	return h
}

// census counts the instances of each environment: "5 prod  3 staging".
func census(all []app.Instance) string {
	var names []string
	n := map[string]int{}
	for _, i := range all {
		if n[i.Environment] == 0 {
			names = append(names, i.Environment)
		}
		n[i.Environment]++
	}
	if len(names) > 4 {
		return text.Count(len(all), "instance") + " in " + text.Count(len(names), "environment")
	}
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = strconv.Itoa(n[name]) + " " + name
	}
	return strings.Join(parts, "  ")
}

// Known is what the page knows of an instance.
func (p Page) Known(env, name string) overview.Known { return p.known[overview.Key(env, name)] }
