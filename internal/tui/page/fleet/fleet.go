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
	reader  reading.Reader
	known   map[string]overview.Known
	done    time.Time // when the last complete reading ended
	err     error     // why the last reading ended early
	covered bool

	table  component.Table
	filter component.Filter
	order  order
}

// New returns the page. Init begins the first reading.
func New(c core.Core, pool *work.Pool) Page {
	scope := pool.Scope()
	return Page{
		scope:  scope,
		reader: reading.New(c, scope, "", ""),
		known:  map[string]overview.Known{},
		table:  component.Table{Columns: columns()},
		filter: component.NewFilter(),
	}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Page) Close() { p.scope.Close() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s) }

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
		if !p.covered && p.due(s) {
			return p.read(s)
		}
		return p.sync(s), screen.Out{}
	case screen.Covered:
		p.covered = true
		return p, screen.Out{}
	case screen.Resumed:
		p.covered = false
		p = p.sync(s)
		if p.due(s) {
			return p.read(s)
		}
		return p, screen.Out{}
	case screen.Cancel:
		if p.reader.Loading() {
			p.reader = p.reader.Cancel()
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
		return p, screen.Out{}
	case tea.KeyPressMsg, tea.PasteMsg:
		var cmd tea.Cmd
		p.filter, cmd = p.filter.Update(msg)
		p.table = p.table.WithFilter(p.filter.Value())
		return p, screen.Run(cmd)
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
		return p, screen.Out{}
	}
	p.reader = r
	p.known = maps.Clone(p.known)
	for _, st := range res.Statuses {
		key := overview.Key(st.Environment, st.Name)
		p.known[key] = p.known[key].With(st)
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

// sync puts what is known into the table.
func (p Page) sync(s screen.Scene) Page {
	p.table = p.table.WithRows(rows(p.all(s), s))
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
