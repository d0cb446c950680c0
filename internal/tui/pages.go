package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/approvals"
	"dbops/internal/tui/page/instance"
	"dbops/internal/tui/page/plan"
	"dbops/internal/tui/page/plans"
	"dbops/internal/tui/page/proxy"
	"dbops/internal/tui/page/run"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// kind is what a page shows. Pages of a kind replace each other, so the stack is never deeper than there are kinds.
type kind uint8

const (
	kindFleet kind = iota
	kindInstance
	kindProxy
	kindPlan
	kindRun
	kindSection
	kindApproval
	kindDetail
	kindPlans
)

// entry is one page of the stack.
type entry struct {
	kind kind
	env  string // of an instance or a proxy
	name string // of an instance, or the id of a run or an approval
	page screen.Page

	section screen.Section // of a kindSection
}

// holds tells whether a message is for the entry's page, or for one within it.
func (e entry) holds(id work.ID) bool {
	if h, ok := e.page.(screen.Holder); ok && h.Holds(id) {
		return true
	}
	return e.page.ID() == id
}

func (m model) top() screen.Page { return m.stack[len(m.stack)-1].page }

// setPage replaces the page at i.
func (m model) setPage(i int, p screen.Page) model {
	m.stack = slices.Clone(m.stack)
	m.stack[i].page = p
	return m
}

func (m model) updatePage(i int, msg tea.Msg) (model, tea.Cmd) {
	p, out := m.stack[i].page.Update(msg, m.scene())
	return m.setPage(i, p).obey(out)
}

func (m model) initPage(i int) (model, tea.Cmd) {
	p, out := m.stack[i].page.Init(m.scene())
	return m.setPage(i, p).obey(out)
}

// obey does what a page or a dialog said, at once, and starts its command.
func (m model) obey(out screen.Out) (model, tea.Cmd) {
	cmds := []tea.Cmd{out.Cmd}
	for _, msg := range out.Say {
		var cmd tea.Cmd
		m, cmd = m.update(msg)
		cmds = append(cmds, cmd)
	}
	return m, tea.Batch(cmds...)
}

// push puts a page on top.
func (m model) push(e entry) (model, tea.Cmd) {
	m.dialogs = nil
	m, covered := m.updatePage(len(m.stack)-1, screen.Covered{})
	m.stack = append(slices.Clip(m.stack), e)
	m, cmd := m.initPage(len(m.stack) - 1)
	return m, tea.Batch(covered, cmd)
}

// truncate closes all pages but the first n.
func (m model) truncate(n int) (model, tea.Cmd) {
	m.dialogs = nil
	if n < 1 || n >= len(m.stack) {
		return m, nil
	}
	for _, e := range m.stack[n:] {
		if p, ok := e.page.(plan.Page); ok && p.Made() != nil {
			m.plans = m.plans.With(p.Made())
		}
		e.page.Close()
	}
	m.stack = slices.Clone(m.stack[:n])
	return m.updatePage(n-1, screen.Resumed{})
}

// openInstance shows an instance above the fleet.
func (m model) openInstance(msg screen.OpenInstance) (model, tea.Cmd) {
	k := msg.Known
	for i, e := range m.stack {
		if e.kind == kindInstance && e.env == k.Environment && e.name == k.Name {
			return m.truncate(i + 1)
		}
	}
	if k.Live == nil {
		if f, ok := m.stack[0].page.(interface {
			Known(env, name string) overview.Known
		}); ok {
			if known := f.Known(k.Environment, k.Name); known.Asked() {
				k = known
			}
		}
	}
	m, back := m.truncate(1)
	m, cmd := m.push(entry{kind: kindInstance, env: k.Environment, name: k.Name, page: instance.New(m.core, m.pool, k)})
	return m, tea.Batch(back, cmd)
}

// openProxy shows an environment's proxy, above an instance of that environment or the fleet.
func (m model) openProxy(msg screen.OpenProxy) (model, tea.Cmd) {
	top := m.stack[len(m.stack)-1]
	if top.kind == kindProxy && top.env == msg.Environment {
		m.dialogs = nil
		return m, nil
	}
	var back tea.Cmd
	if top.kind != kindInstance || top.env != msg.Environment {
		m, back = m.truncate(1)
	}
	m, cmd := m.push(entry{kind: kindProxy, env: msg.Environment, page: proxy.New(m.pool, msg.Environment)})
	return m, tea.Batch(back, cmd)
}

// openTab shows a tab of an instance.
func (m model) openTab(msg screen.OpenTab) (model, tea.Cmd) {
	m, open := m.openInstance(screen.OpenInstance{Known: overview.Known{Instance: msg.Instance}})
	i := len(m.stack) - 1
	p, ok := m.stack[i].page.(instance.Page)
	if !ok {
		return m, open
	}
	next, out := p.Turn(msg.Tab, m.scene())
	m, turn := m.setPage(i, next).obey(out)
	return m, tea.Batch(open, turn)
}

// openPlan works out a plan above the page that asked for it.
func (m model) openPlan(msg screen.OpenPlan) (model, tea.Cmd) {
	m, back := m.leaveTop(kindPlan)
	m, cmd := m.push(entry{kind: kindPlan, env: msg.Change.Environment, name: msg.Change.Instance, page: plan.New(m.core, m.pool, msg)})
	return m, tea.Batch(back, cmd)
}

// openPlans works out several plans above the page that asked for them.
func (m model) openPlans(msg screen.OpenPlans) (model, tea.Cmd) {
	m, back := m.leaveTop(kindPlans)
	m, cmd := m.push(entry{kind: kindPlans, page: plans.New(m.core, m.pool, msg)})
	return m, tea.Batch(back, cmd)
}

// openRun shows a run; in place of the plan that it was made by.
func (m model) openRun(msg screen.OpenRun) (model, tea.Cmd) {
	for i, e := range m.stack {
		if e.kind == kindRun && e.name == msg.ID {
			return m.truncate(i + 1)
		}
	}
	m, back := m.leaveTop(kindPlan, kindRun)
	m, cmd := m.push(entry{kind: kindRun, name: msg.ID, page: run.New(m.core, m.pool, msg.ID)})
	return m, tea.Batch(back, cmd)
}

// openApproval shows an approval with its plan.
func (m model) openApproval(msg screen.OpenApproval) (model, tea.Cmd) {
	for i, e := range m.stack {
		if e.kind == kindApproval && e.name == msg.ID {
			return m.truncate(i + 1)
		}
	}
	m, back := m.leaveTop(kindApproval, kindDetail)
	m, cmd := m.push(entry{kind: kindApproval, name: msg.ID, page: approvals.NewOne(m.core, m.pool, msg.ID, m.plans)})
	return m, tea.Batch(back, cmd)
}

// openDetail shows a page of what the page on top lists.
func (m model) openDetail(msg screen.Open) (model, tea.Cmd) {
	m, back := m.leaveTop(kindDetail)
	m, cmd := m.push(entry{kind: kindDetail, page: msg.Page})
	return m, tea.Batch(back, cmd)
}

// leaveTop closes the page on top if it is of one of the kinds.
func (m model) leaveTop(kinds ...kind) (model, tea.Cmd) {
	if n := len(m.stack); n > 1 && slices.Contains(kinds, m.stack[n-1].kind) {
		return m.truncate(n - 1)
	}
	return m, nil
}

// back goes one page back; on the first it does nothing.
func (m model) back() (model, tea.Cmd) { return m.truncate(len(m.stack) - 1) }
