package tui

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/screen"
)

const (
	// twice is how soon a second click on a row opens it.
	twice = 500 * time.Millisecond
	// notch is how many rows the wheel moves at once.
	notch = 3
)

// click is where and when the mouse was pressed last.
type click struct {
	at   time.Time
	x, y int
}

// spot is a piece of a row that can be clicked on.
type spot struct {
	from, to int // cells, to is not part of it
	key      string
}

func hit(all []spot, x int) (string, bool) {
	for _, s := range all {
		if x >= s.from && x < s.to {
			return s.key, true
		}
	}
	return "", false
}

// clicked runs what was clicked on: a tab, a key in the row of keys, or a row of the page; there a second click is enter.
func (m model) clicked(msg tea.MouseClickMsg) (model, tea.Cmd) {
	at := msg.Mouse()
	if at.Button != tea.MouseLeft || m.leaving || m.tooSmall() {
		return m, nil
	}
	now := m.opts.Now()
	second := m.click.x == at.X && m.click.y == at.Y && now.Sub(m.click.at) <= twice
	m.click = click{now, at.X, at.Y}
	switch {
	case at.Y == m.height-1:
		_, spots := m.keyRow()
		if key, ok := hit(spots, at.X); ok {
			return m.pressedNamed(key)
		}
		return m, nil
	case len(m.dialogs) > 0 || m.top().Captures():
		return m, nil
	case at.Y == 1:
		h := m.header()
		_, spots := m.tabs(h, m.tabRoom(h))
		if key, ok := hit(spots, at.X); ok {
			return m.pressedNamed(key)
		}
		return m, nil
	}
	p, ok := m.top().(screen.Clicker)
	if !ok || at.Y < 2 || at.Y >= m.height-2 {
		return m, nil
	}
	next, hit := p.Click(at.X, at.Y-2, m.scene())
	if m = m.setPage(len(m.stack)-1, next); second && hit {
		return m.pressedNamed("enter")
	}
	return m, nil
}

// wheeled moves in the list or the text that the pointer is over.
func (m model) wheeled(msg tea.MouseWheelMsg) (model, tea.Cmd) {
	key := map[tea.MouseButton]string{tea.MouseWheelUp: "up", tea.MouseWheelDown: "down"}[msg.Mouse().Button]
	if key == "" || m.leaving || m.tooSmall() {
		return m, nil
	}
	if p, ok := m.top().(screen.Pointer); ok && len(m.dialogs) == 0 && !m.top().Captures() {
		at := msg.Mouse()
		m = m.setPage(len(m.stack)-1, p.Point(at.X, at.Y-2, m.scene()))
	}
	var cmds []tea.Cmd
	for range notch {
		var cmd tea.Cmd
		m, cmd = m.pressedNamed(key)
		cmds = append(cmds, cmd)
	}
	return m, tea.Batch(cmds...)
}

// pressedNamed is a key by its name, as if it had been typed.
func (m model) pressedNamed(name string) (model, tea.Cmd) { return m.pressed(screen.KeyNamed(name)) }
