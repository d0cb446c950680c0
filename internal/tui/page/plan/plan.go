// Package plan is the one screen on which every change is looked at before it is run: findings first, what changes, the downtime, the steps, the
// way back; then it is run, saved, or left.
package plan

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/page/internal/begin"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page shows one plan. It is a value.
type Page struct {
	core  core.Core
	pool  *work.Pool
	scope work.Scope
	want  screen.OpenPlan
	plan  reading.One[*op.Plan]

	scroll   component.Scroll
	begins   time.Time       // since when the run is being begun; zero: it is not
	approval *state.Approval // what was asked for from here last; nil: nothing was
}

// New returns a page that works out a plan.
func New(c core.Core, pool *work.Pool, want screen.OpenPlan) Page {
	scope := pool.Scope()
	return Page{core: c, pool: pool, scope: scope, want: want, plan: reading.NewOne(scope, func(ctx context.Context) (*op.Plan, error) {
		return c.PlanChange(ctx, want.Change)
	})}
}

// ID implements [screen.Page].
func (p Page) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page]. A run that is being begun is begun all the same.
func (p Page) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	if p.want.Made != nil {
		p.plan = p.plan.Holding(p.want.Made, s.Now)
		return p, screen.Out{}
	}
	return p.read(s)
}

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var cmd tea.Cmd
	p.plan, cmd = p.plan.Start(s.Now)
	return p, screen.Run(cmd)
}

// Made is the plan, nil until it is worked out.
func (p Page) Made() *op.Plan {
	made, _ := p.plan.Value()
	return made
}

// saveMsg is where the plan is to be saved.
type saveMsg struct {
	to   work.ID
	file string
}

// Addressee implements [work.Addressed].
func (m saveMsg) Addressee() work.ID { return m.to }

type savedMsg struct {
	to   work.ID
	file string
	err  error
}

// Addressee implements [work.Addressed].
func (m savedMsg) Addressee() work.ID { return m.to }

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch m := msg.(type) {
	case begin.Yes:
		return p.begin(m, s)
	case begin.Answer:
		return p.begun(m)
	case saveMsg:
		c, made, to := p.core, p.Made(), p.scope.ID
		return p, screen.Run(p.scope.Do(func(context.Context) tea.Msg { return savedMsg{to, m.file, c.SavePlan(made, m.file)} }))
	case savedMsg:
		if m.err != nil {
			return p, screen.Say(screen.Notice{Text: "the plan was not saved", Err: m.err})
		}
		return p, screen.Say(screen.Notice{Text: "saved: dbops apply " + m.file})
	case screen.Cancel:
		if p.plan.Loading() {
			p.plan = p.plan.Cancel()
			return p, screen.Say(screen.Notice{Text: "planning cancelled"})
		}
		return p, screen.Out{}
	}
	next, ok := p.plan.Update(msg)
	if !ok {
		return p, screen.Out{}
	}
	p.plan = next
	if err := next.Err(); err != nil {
		return p, screen.Say(screen.Notice{Text: "there is no plan", Err: err})
	}
	return p, screen.Out{}
}

// begin has the plan run.
func (p Page) begin(m begin.Yes, s screen.Scene) (Page, screen.Out) {
	if !p.begins.IsZero() {
		return p, screen.Out{}
	}
	p.begins = s.Now
	return p, screen.Run(begin.Run(p.pool, p.core, p.Made(), m))
}

func (p Page) begun(m begin.Answer) (Page, screen.Out) {
	p.begins = time.Time{}
	asked := ""
	if a := m.Begun.Approval; m.Err == nil && a != nil {
		asked = "approval " + a.ID + " is asked for: somebody else has to give it"
		if p.approval != nil && p.approval.ID == a.ID {
			asked = "approval " + a.ID + " waits already: somebody else has to give it"
		}
		p.approval = a
	}
	return p, m.Said(screen.Out{}, asked)
}
