package proxy

import (
	"strings"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// layout is the height of each part; a pane of height 0 is not drawn.
type layout struct {
	gap                            int // blank lines between parts
	databases, connections, events int
	leftW, rightW                  int // rightW 0: events stand below, not beside
}

// of is the height of a pane.
func (l layout) of(p pane) int {
	switch p {
	case paneConnections:
		return l.connections
	case paneEvents:
		return l.events
	default:
		return l.databases
	}
}

// stackHeight is the least height of the page at which all three lists fit; below it only the chosen one is drawn.
const stackHeight = 18

// plan divides the area below the summary.
func (p Page) plan(s screen.Scene) layout {
	a := s.Area
	l := layout{leftW: a.W}
	if a.Tall() {
		l.gap = 1
	}
	h := a.H - len(p.summary(s)) - 1
	if a.H < stackHeight {
		switch p.pane {
		case paneConnections:
			l.connections = h
		case paneEvents:
			l.events = h
		default:
			l.databases = h
		}
		return l
	}
	l.databases = min(p.databases.Lines(), max(3, h/3))
	if a.Wide() {
		l.rightW = a.W * 2 / 5
		l.leftW = a.W - l.rightW - 3
		l.connections = h - l.databases - 1
		l.events = h
		return l
	}
	rest := h - l.databases - 1 - l.gap
	l.connections = max(3, min(p.connections.Lines(), rest*2/3))
	l.events = rest - l.connections
	return l
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	p = p.sync(s)
	th, a, l := s.Theme, s.Area, p.plan(s)
	lines := append(p.summary(s), "")
	if a.Aloud { // one list at a time
		switch p.pane {
		case paneConnections:
			lines = append(lines, component.Rule(th, "connections", a.W), p.connections.View(th, a.W, a.H, true))
		case paneEvents:
			lines = append(lines, p.events(s, a.W, a.H)...)
		default:
			lines = append(lines, component.Rule(th, "databases", a.W), p.databases.View(th, a.W, a.H, true))
		}
		return strings.Join(lines, "\n")
	}
	add := func(view string, h int) {
		if h > 0 {
			lines = append(lines, strings.Split(view, "\n")...)
		}
	}
	add(p.databases.View(th, l.leftW, l.databases, p.pane == paneDatabases), l.databases)
	if l.databases > 0 && l.connections > 0 {
		lines = append(lines, "")
	}
	add(p.connections.View(th, l.leftW, l.connections, p.pane == paneConnections), l.connections)
	if l.rightW > 0 {
		return text.Box(p.beside(s, lines, l), a.W, a.H, th.Glyphs.Tail)
	}
	if l.events > 0 {
		if l.connections > 0 && l.gap > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, p.events(s, a.W, l.events)...)
	}
	return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
}

// at is the part at a cell, and the row within it.
func (p Page) at(x, y int, s screen.Scene) (part pane, row int, ok bool) {
	l := p.plan(s)
	y -= len(p.summary(s)) + 1
	if l.rightW > 0 && x > l.leftW {
		return paneEvents, y, y >= 0
	}
	for _, part := range []struct {
		pane
		h, gap int
	}{{paneDatabases, l.databases, 1}, {paneConnections, l.connections, l.gap}, {paneEvents, l.events, 0}} {
		if part.h == 0 {
			continue
		}
		if y < part.h {
			return part.pane, y, y >= 0
		}
		y -= part.h + part.gap
	}
	return 0, 0, false
}

// Point implements [screen.Pointer].
func (p Page) Point(x, y int, s screen.Scene) screen.Page {
	p = p.sync(s)
	if part, _, ok := p.at(x, y, s); ok {
		p.pane = part
	}
	return p
}

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (next screen.Page, hit bool) {
	p = p.sync(s)
	part, row, ok := p.at(x, y, s)
	if !ok {
		return p, false
	}
	h := p.plan(s).of(part)
	p.pane = part
	switch part {
	case paneDatabases:
		p.databases, hit = p.databases.Pick(row, h)
	case paneConnections:
		p.connections, hit = p.connections.Pick(row, h)
	case paneEvents, panes:
	}
	return p, hit
}

// beside puts the events at the right of the lists, below the summary.
func (p Page) beside(s screen.Scene, lines []string, l layout) []string {
	head := len(p.summary(s)) + 1
	right := p.events(s, l.rightW, l.events)
	for len(lines) < head+l.events {
		lines = append(lines, "")
	}
	for y, r := range right {
		lines[head+y] = text.Left(lines[head+y], l.leftW, s.Theme.Glyphs.Tail) + "   " + r
	}
	return lines
}

// events is the log under its title, in h lines.
func (p Page) events(s screen.Scene, w, h int) []string {
	title := "events"
	if p.back > 0 {
		title += ", " + text.Count(p.back, "newer line") + " below"
	}
	if p.pane == paneEvents {
		title = "> " + title
	}
	out := []string{component.Rule(s.Theme, title, w)}
	if p.pane == paneEvents {
		out[0] = s.Theme.Paint(theme.Focus, text.Cut(s.Theme.Glyphs.Rule+s.Theme.Glyphs.Rule+" "+title+" ", w, "")) +
			s.Theme.Paint(theme.Muted, strings.Repeat(s.Theme.Glyphs.Rule, max(0, w-text.Width(title)-4)))
	}
	return append(out, eventLines(p.state(s), p.back, w, h-1, s)...)
}
