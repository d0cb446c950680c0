package approvals

import (
	"context"
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/page/internal/begin"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Seen tells the root which plan the person looks at, for when there is another of the same change.
type Seen struct{ Plan *op.Plan }

// One is the page of one approval. It is a value.
type One struct {
	core  core.Core
	pool  *work.Pool
	scope work.Scope
	id    string
	now   reading.One[app.Waiting]

	looked  Looked
	before  *op.Plan // the plan of the same change that was looked at last, when it was another
	covered bool
	acting  string // what is being said
	refusal error  // why it was not taken
	scroll  component.Scroll
}

// NewOne returns the page of an approval; looked are the plans that the person has seen.
func NewOne(c core.Core, pool *work.Pool, id string, looked Looked) One {
	scope := pool.Scope()
	return One{core: c, pool: pool, scope: scope, id: id, looked: looked, now: reading.NewOne(scope, func(ctx context.Context) (app.Waiting, error) {
		return c.Approval(ctx, id)
	})}
}

// ID implements [screen.Page].
func (p One) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page]. What was said yes to is done all the same.
func (p One) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p One) Captures() bool { return false }

// Init implements [screen.Page].
func (p One) Init(s screen.Scene) (screen.Page, screen.Out) { return p.read(s) }

func (p One) read(s screen.Scene) (One, screen.Out) {
	var cmd tea.Cmd
	p.now, cmd = p.now.Start(s.Now)
	return p, screen.Run(cmd)
}

// wordMsg is a vote with its reason, which has to be confirmed.
type wordMsg struct {
	to      work.ID
	approve bool
	reason  string
}

// Addressee implements [work.Addressed].
func (m wordMsg) Addressee() work.ID { return m.to }

// voteMsg is the person's vote.
type voteMsg wordMsg

// Addressee implements [work.Addressed].
func (m voteMsg) Addressee() work.ID { return m.to }

type votedMsg struct {
	to      work.ID
	approve bool
	now     state.Approval
	err     error
}

// Addressee implements [work.Addressed].
func (m votedMsg) Addressee() work.ID { return m.to }

// Update implements [screen.Page].
func (p One) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	switch m := msg.(type) {
	case screen.Tick, screen.Resumed:
		if _, back := m.(screen.Resumed); back {
			p.covered = false
		}
		if !p.covered && p.now.Due(s) {
			return p.read(s)
		}
	case screen.Covered:
		p.covered = true
	case screen.Cancel:
		if p.now.Loading() {
			p.now = p.now.Cancel()
			return p, screen.Say(screen.Notice{Text: "reading cancelled"})
		}
	case wordMsg:
		return p, screen.Say(screen.Show{Dialog: p.sure(m, s)})
	case voteMsg:
		return p.vote(m)
	case votedMsg:
		return p.voted(m, s)
	case begin.Yes:
		return p.begin(m)
	case begin.Answer:
		return p.begun(m, s)
	}
	next, ok := p.now.Update(msg)
	if !ok {
		return p, screen.Out{}
	}
	p.now = next
	return p.see()
}

// see compares the plan with the one that was looked at before, and remembers it.
func (p One) see() (One, screen.Out) {
	w, ok := p.now.Value()
	if !ok || w.Plan == nil {
		return p, screen.Out{}
	}
	if old := p.looked[change(w.Plan)]; old != nil && old.Hash() != w.Plan.Hash() {
		p.before = old
	}
	p.looked = p.looked.With(w.Plan)
	return p, screen.Say(Seen{w.Plan})
}

// vote says yes or no. It does not end with the page.
func (p One) vote(m voteMsg) (One, screen.Out) {
	p.acting, p.refusal = verb(m.approve), nil
	c, id := p.core, p.id
	return p, screen.Run(p.pool.Do(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, reading.Limit)
		defer cancel()
		now, err := c.Vote(ctx, id, m.approve, m.reason)
		return votedMsg{m.to, m.approve, now, err}
	}))
}

func verb(approve bool) string {
	if approve {
		return "approve"
	}
	return "refuse"
}

func (p One) voted(m votedMsg, s screen.Scene) (One, screen.Out) {
	p.acting, p.refusal = "", m.err
	p.scroll = component.Scroll{}
	next, out := p.read(s)
	switch {
	case m.err != nil:
		return next, out.And(screen.Notice{Text: p.id + ": " + verb(m.approve) + " was not taken", Err: m.err})
	case !m.approve:
		return next, out.And(screen.Notice{Text: p.id + " is refused"})
	case m.now.State == state.Approved:
		return next, out.And(screen.Notice{Text: p.id + " is approved: it can be run (R)"})
	}
	return next, out.And(screen.Notice{Text: p.id + ": your yes is written down, and more are needed"})
}

// begin has the plan run.
func (p One) begin(m begin.Yes) (One, screen.Out) {
	w, _ := p.now.Value()
	p.acting, p.refusal = "run", nil
	return p, screen.Run(begin.Run(p.pool, p.core, w.Plan, m))
}

func (p One) begun(m begin.Answer, s screen.Scene) (One, screen.Out) {
	p.acting, p.refusal = "", m.Err
	p.scroll = component.Scroll{}
	next, out := p.read(s)
	asked := ""
	if a := m.Begun.Approval; a != nil {
		asked = "it is not approved any more: " + a.ID + " is asked for"
	}
	return next, m.Said(out, asked)
}

func (p One) target(s screen.Scene) (app.Instance, bool) {
	w, _ := p.now.Value()
	i := slices.IndexFunc(s.Instances, func(i app.Instance) bool {
		return i.Environment == w.Approval.Environment && i.Name == w.Approval.Instance
	})
	if i < 0 {
		return app.Instance{}, false
	}
	return s.Instances[i], true
}
