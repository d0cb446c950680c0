// Package upgrade is the tab that leads through a major-version upgrade, a page for each of its stages: choose, rehearse, report, run, cut over,
// observe, and the end of it. Where an upgrade stands comes from the journal, so another terminal shows the same; what is changed is planned on the
// page of the plan and decided on that of the run.
package upgrade

import (
	"context"
	"errors"
	"maps"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page is the upgrades of one instance. It is a value.
type Page struct {
	sheet.Sheet[app.Upgrading]
	core core.Core

	facts reading.One[facts]
	looks map[string]look // by the command line of what is planned
	queue []asked         // looked at one after another, the first of them now
	sub   work.Scope      // of that one

	stage  stage // that is shown, where somebody turned to it
	turned bool
	want   want
	picked bool // somebody chose; else the journal or the default says what is wanted
	doc    component.Scroll
}

// facts are what the provider tells.
type facts struct {
	major  int
	offers []cloud.Offer
}

// look is a plan that was made to see what it says.
type look struct {
	plan    *op.Plan
	err     error
	at      time.Time
	loading bool
}

// asked is a change whose plan is to be looked at.
type asked struct {
	key    string
	change app.Change
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	p := Page{core: c, want: want{way: copying}, Sheet: sheet.New(pool, at, "how the upgrade stands", 0, func(ctx context.Context) (app.Upgrading, error) {
		return c.Upgrading(ctx, at.Environment, at.Name)
	})}
	p.facts = reading.NewOne(p.Scope(), func(ctx context.Context) (facts, error) { return read(ctx, c, at) })
	return p
}

// read asks the provider which major the instance is, and which it could become.
func read(ctx context.Context, c core.Core, at app.Instance) (f facts, err error) {
	ch, err := c.Status(ctx, at.Environment, at.Name)
	if err != nil {
		return f, err
	}
	for st := range ch {
		if st.Live != nil {
			f.major = st.Live.Major
		}
		err = errors.Join(err, st.Err)
	}
	if err != nil {
		return f, err
	}
	f.offers, err = c.UpgradeOffers(ctx, at.Environment, at.Name)
	return f, err
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	next, out := p.read(s)
	return next, out
}

func (p Page) read(s screen.Scene) (Page, screen.Out) {
	var out screen.Out
	var cmd tea.Cmd
	p.Sheet, out = p.Read(s)
	p.facts, cmd = p.facts.Start(s.Now)
	out.Cmd = tea.Batch(out.Cmd, cmd)
	return p, out
}

// lookMsg is a plan that was looked at.
type lookMsg struct {
	to   work.ID
	key  string
	look look
}

// Addressee implements [work.Addressed].
func (m lookMsg) Addressee() work.ID { return m.to }

// chosenMsg is what somebody chose in a form.
type chosenMsg struct {
	to   work.ID
	want want
}

// Addressee implements [work.Addressed].
func (m chosenMsg) Addressee() work.ID { return m.to }

// saveMsg is where a report is to be saved.
type saveMsg struct {
	to        work.ID
	run, file string
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
	case lookMsg:
		if len(p.queue) == 0 || p.queue[0].key != m.key { // it was cancelled
			return p, screen.Out{}
		}
		m.look.at = s.Now
		p = p.looked(m.key, m.look)
		return p.next()
	case chosenMsg:
		p.want, p.picked = m.want, true
		return p, screen.Out{}
	case saveMsg:
		c, to := p.core, p.ID()
		return p, screen.Run(p.Scope().Do(func(ctx context.Context) tea.Msg {
			return savedMsg{to, m.file, c.SaveUpgradeReport(ctx, m.run, m.file)}
		}))
	case savedMsg:
		if m.err != nil {
			return p, screen.Say(screen.Notice{Text: "the report was not saved", Err: m.err})
		}
		return p, screen.Say(screen.Notice{Text: "the report is in " + m.file})
	case screen.Resumed: // what was planned from here may have begun
		var woken screen.Out
		p.Sheet, _, _ = p.Sheet.Update(msg, s)
		p.Sheet, woken = p.Read(s)
		return p, woken
	case screen.Cancel:
		p = p.stop()
		p.facts = p.facts.Cancel()
	}
	if next, ok := p.facts.Update(msg); ok {
		p.facts = next
		return p, screen.Out{}
	}
	var out screen.Out
	before, _ := p.Value()
	p.Sheet, out, _ = p.Sheet.Update(msg, s)
	if now, _ := p.Value(); standing(now).here != standing(before).here { // something was begun, or went on
		p.turned = false
	}
	return p, out
}

// stop gives up what is being looked at.
func (p Page) stop() Page {
	p.sub.Close()
	for _, a := range p.queue {
		l := p.looks[a.key]
		l.loading = false
		p = p.looked(a.key, l)
	}
	p.queue = nil
	return p
}

// limit is that of a look: the checks of a plan ask every database.
const limit = 2 * time.Minute

// ask has plans looked at, one after another, so that the servers are asked by one at a time.
func (p Page) ask(all []asked) (Page, screen.Out) {
	idle := len(p.queue) == 0
	p.queue = append(p.queue[:len(p.queue):len(p.queue)], all...)
	for _, a := range all {
		p = p.looked(a.key, look{plan: p.looks[a.key].plan, at: p.looks[a.key].at, loading: true})
	}
	if !idle {
		return p, screen.Out{}
	}
	return p.begin()
}

// next goes on with what else is to be looked at.
func (p Page) next() (screen.Page, screen.Out) {
	p.queue = p.queue[1:]
	next, out := p.begin()
	return next, out
}

func (p Page) begin() (Page, screen.Out) {
	if len(p.queue) == 0 {
		return p, screen.Out{}
	}
	p.sub = p.Scope().Sub(limit)
	a, c, to, sub := p.queue[0], p.core, p.ID(), p.sub
	return p, screen.Run(sub.Do(func(ctx context.Context) tea.Msg {
		defer sub.Close()
		made, err := c.PlanChange(ctx, a.change)
		if err != nil && sub.Expired() {
			err = fault.New(fault.Unavailable, "plan it", err).Hint("no answer within %s", limit)
		}
		return lookMsg{to, a.key, look{plan: made, err: err}}
	}))
}

func (p Page) looked(key string, l look) Page {
	p.looks = maps.Clone(p.looks)
	if p.looks == nil {
		p.looks = map[string]look{}
	}
	p.looks[key] = l
	return p
}
