package tui

import (
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/page/approvals"
	"dbops/internal/tui/page/audit"
	"dbops/internal/tui/page/runs"
	"dbops/internal/tui/screen"
)

// sections are the pages that belong to no environment, in the order of [screen.Section].
var sections = []struct {
	key, name, short string
	cli              []string
}{
	{"1", "Fleet", "", screen.CLIStatus("")},
	{"2", "Runs", "", []string{"dbops", "runs", "list"}},
	{"3", "Approvals", "Appr", []string{"dbops", "approvals", "list"}},
	{"4", "Audit", "", []string{"dbops", "audit", "list"}},
}

const actSection = "section." // and its name

// section is the section in front; ok is false where another page is.
func (m model) section() (screen.Section, bool) {
	switch top := m.stack[len(m.stack)-1]; top.kind {
	case kindFleet:
		return screen.SectionFleet, true
	case kindSection:
		return top.section, true
	default:
		return 0, false
	}
}

// header is that of the page on top, with the tabs of the sections where it is one.
func (m model) header() screen.Header {
	h := m.top().Header(m.scene())
	at, ok := m.section()
	if !ok {
		return h
	}
	running, waiting := m.attention.active()
	h.Active, h.Tabs = int(at), nil
	for i, s := range sections {
		t := screen.Tab{Key: s.key, Name: s.name, Short: s.short}
		switch screen.Section(i) {
		case screen.SectionRuns:
			if t.Badge = m.attention.badge(running); m.attention.urgent() {
				t.Badge = "! " + t.Badge
			}
		case screen.SectionApprovals:
			t.Badge = m.attention.badge(waiting)
		default:
		}
		h.Tabs = append(h.Tabs, t)
	}
	return h
}

// sectionActions are the keys of the tabs, on the pages that have them.
func (m model) sectionActions() []screen.Action {
	if _, ok := m.section(); !ok {
		return nil
	}
	var out []screen.Action
	for _, s := range sections {
		out = append(out, screen.Action{ID: actSection + s.name, Title: s.name, Group: screen.GroupMove, Key: screen.Keys(s.key), CLI: s.cli})
	}
	return append(
		out,
		screen.Action{ID: actSection + "next", Title: "next section", Group: screen.GroupMove, Key: screen.ShownAs(screen.Keys("tab", "]"), "tab ]")},
		screen.Action{ID: actSection + "previous", Title: "previous section", Group: screen.GroupMove, Key: screen.ShownAs(screen.Keys("shift+tab", "["), "shift+tab [")},
	)
}

// doSection runs one of them. ok is false when it is another's.
func (m model) doSection(id string) (model, tea.Cmd, bool) {
	at, _ := m.section()
	n := screen.Section(len(sections))
	switch id {
	case actSection + "next":
		m, cmd := m.openSection((at + 1) % n)
		return m, cmd, true
	case actSection + "previous":
		m, cmd := m.openSection((at + n - 1) % n)
		return m, cmd, true
	}
	for i, s := range sections {
		if id == actSection+s.name {
			m, cmd := m.openSection(screen.Section(i))
			return m, cmd, true
		}
	}
	return m, nil, false
}

// openSection shows a section above the fleet, in place of whatever is there.
func (m model) openSection(s screen.Section) (model, tea.Cmd) {
	if s == screen.SectionFleet {
		return m.truncate(1)
	}
	if len(m.stack) > 1 && m.stack[1].kind == kindSection && m.stack[1].section == s {
		return m.truncate(2)
	}
	m, back := m.truncate(1)
	e := entry{kind: kindSection, section: s}
	switch s {
	case screen.SectionRuns:
		e.page = runs.New(m.core, m.pool)
	case screen.SectionApprovals:
		e.page = approvals.New(m.core, m.pool)
	default:
		e.page = audit.All(m.core, m.pool)
	}
	m, cmd := m.push(e)
	return m, tea.Batch(back, cmd)
}
