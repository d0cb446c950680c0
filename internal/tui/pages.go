package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/instance"
	"dbops/internal/tui/page/proxy"
	"dbops/internal/tui/screen"
)

// kind is what a page shows. Pages of a kind replace each other, so the stack is never deeper than there are kinds.
type kind uint8

const (
	kindFleet kind = iota
	kindInstance
	kindProxy
)

// entry is one page of the stack.
type entry struct {
	kind kind
	env  string // of an instance or a proxy
	name string // of an instance
	page screen.Page
}

// goFleet asks for the first page.
type goFleet struct{}

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

// back goes one page back; on the first it does nothing.
func (m model) back() (model, tea.Cmd) { return m.truncate(len(m.stack) - 1) }
