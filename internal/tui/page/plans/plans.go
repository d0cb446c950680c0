// Package plans lists the plans of several changes: worked out side by side, their findings counted, those that are blocked named.
//
// Nothing is run from the list. Each plan is opened as a page of its own, on which all of it stands, and is confirmed and run there; the list
// follows what became of it.
package plans

import (
	"context"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// atOnce is how many plans are worked out at the same time: each asks a provider, or logs in.
const atOnce = 4

// followEvery is how often the list looks at the runs of its plans.
const followEvery = 2 * time.Second

// Page is the list. It is a value.
type Page struct {
	scope  work.Scope
	title  string
	each   []item
	fate   reading.One[fates]
	table  component.Table
	began  time.Time
	hidden bool // another page is on top
}

// item is one of the plans.
type item struct {
	want screen.Wanted
	plan reading.One[*op.Plan]
	of   work.Scope // of its answers
	left bool       // it waits for its turn to be worked out
}

// fates are what became of the plans, by their hashes.
type fates struct {
	runs      map[string]state.Run
	approvals map[string]state.Approval
}

// New returns the page. Init begins to work the plans out.
func New(c core.Core, pool *work.Pool, want screen.OpenPlans) Page {
	p := Page{scope: pool.Scope(), title: want.Title, table: component.Table{Columns: columns(), Edges: true, Empty: "nothing is planned"}}
	for _, w := range want.Each {
		of := pool.Scope()
		p.each = append(p.each, item{want: w, of: of, left: true, plan: reading.NewOne(of, func(ctx context.Context) (*op.Plan, error) {
			change := w.Change
			if w.Request != nil {
				request, err := w.Request(ctx)
				if err != nil {
					return nil, err
				}
				change.Request = request
			}
			return c.PlanChange(ctx, change)
		})})
	}
	p.fate = reading.NewOne(p.scope, func(ctx context.Context) (fates, error) { return become(ctx, c) })
	return p
}

// become reads what became of the newest plans.
func become(ctx context.Context, c core.Changes) (fates, error) {
	out := fates{map[string]state.Run{}, map[string]state.Approval{}}
	runs, err := c.Runs(ctx, state.RunFilter{})
	if err != nil {
		return out, err
	}
	for _, r := range slices.Backward(runs) { // newest first
		out.runs[r.PlanHash] = r
	}
	waiting, err := c.Approvals(ctx)
	for _, w := range slices.Backward(waiting) {
		out.approvals[w.Approval.PlanHash] = w.Approval
	}
	return out, err
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Holds implements [screen.Holder]: each plan has a scope of its own.
func (p Page) Holds(id work.ID) bool {
	return slices.ContainsFunc(p.each, func(it item) bool { return it.of.ID == id })
}

// Close implements [screen.Page]. What was begun goes on.
func (p Page) Close() {
	for _, it := range p.each {
		it.of.Close()
	}
	p.scope.Close()
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	p.began = s.Now
	p, out := p.work(s)
	return p.sync(s), out
}

// work begins to work plans out while fewer than atOnce are.
func (p Page) work(s screen.Scene) (Page, screen.Out) {
	busy := 0
	for _, it := range p.each {
		if it.plan.Loading() {
			busy++
		}
	}
	p.each = slices.Clone(p.each)
	var cmds []tea.Cmd
	for i, it := range p.each {
		if !it.left || busy >= atOnce {
			continue
		}
		var cmd tea.Cmd
		p.each[i].left = false
		p.each[i].plan, cmd = it.plan.Start(s.Now)
		cmds = append(cmds, cmd)
		busy++
	}
	return p, screen.Run(tea.Batch(cmds...))
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch msg.(type) {
	case screen.Covered:
		p.hidden = true
	case screen.Tick, screen.Resumed:
		_, back := msg.(screen.Resumed)
		p.hidden = p.hidden && !back
		if !p.hidden && !p.fate.Loading() && (back || s.Now.Sub(p.fate.Began()) >= followEvery) {
			var cmd tea.Cmd
			p.fate, cmd = p.fate.Start(s.Now)
			return p.sync(s), screen.Run(cmd)
		}
	case screen.Cancel:
		return p.cancel(s)
	}
	if next, ok := p.fate.Update(msg); ok {
		p.fate = next
		return p.sync(s), screen.Out{}
	}
	for i, it := range p.each {
		if next, ok := it.plan.Update(msg); ok {
			p.each = slices.Clone(p.each)
			p.each[i].plan = next
			p, out := p.work(s)
			return p.sync(s), out
		}
	}
	return p.sync(s), screen.Out{}
}

// cancel gives up the plans that are not worked out yet.
func (p Page) cancel(s screen.Scene) (screen.Page, screen.Out) {
	p.each = slices.Clone(p.each)
	given := false
	for i, it := range p.each {
		if it.left || it.plan.Loading() {
			p.each[i].left, p.each[i].plan, given = false, it.plan.Cancel(), true
		}
	}
	if !given {
		return p, screen.Out{}
	}
	return p.sync(s), screen.Say(screen.Notice{Text: "planning cancelled: r plans the selected one again"})
}

// at is the number of the selected plan.
func (p Page) at() (int, bool) {
	i := slices.IndexFunc(p.each, func(it item) bool { return it.key() == p.table.Selected() })
	return i, i >= 0
}

// made is the plan; nil until it is worked out.
func (it item) made() *op.Plan {
	made, _ := it.plan.Value()
	return made
}

func (it item) key() string { return it.want.Change.Environment + "/" + it.want.Change.Instance }

// environments are those of the plans, in their order.
func (p Page) environments() (out []string) {
	for _, it := range p.each {
		if !slices.Contains(out, it.want.Change.Environment) {
			out = append(out, it.want.Change.Environment)
		}
	}
	return out
}
