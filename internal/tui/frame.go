package tui

import (
	"cmp"
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"dbops/internal/config"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// View implements [tea.Model].
func (m model) View() tea.View { return m.out.view(m.draw) }

// draw is the frame.
func (m model) draw() (v tea.View) {
	defer func() {
		if e := recover(); e != nil { // the next message ends the program
			m.pool.Caught(e)
		}
	}()
	v = tea.View{AltScreen: true, WindowTitle: "dbops " + m.where()}
	if !m.opts.NoMouse {
		v.MouseMode = tea.MouseModeCellMotion
	}
	if m.width <= 0 || m.height <= 0 { // the first frame comes before the first size
		return v
	}
	if m.tooSmall() {
		need := fmt.Sprintf("dbops needs %dx%d cells, this terminal has %dx%d: keys do nothing, ctrl+c twice quits", screen.MinWidth, screen.MinHeight, m.width, m.height)
		lines := text.Wrap(need, m.width)
		v.SetContent(strings.Join(lines[:min(len(lines), m.height)], "\n"))
		return v
	}
	s := m.scene()
	h := m.header()
	keys, _ := m.keyRow()
	frame := strings.Join([]string{m.band(h), m.second(h), m.top().View(s), m.messageRow(), keys}, "\n")
	if h.Cursor >= 0 && len(m.dialogs) == 0 {
		v.Cursor = tea.NewCursor(1+h.Cursor, 1)
	}
	if len(m.dialogs) == 0 { // nothing on top: no need to compose
		v.SetContent(frame)
		return v
	}
	layers := []*lipgloss.Layer{lipgloss.NewLayer(frame)}
	room := screen.Area{W: m.width - 4, H: m.height - 3} // the band and the rows at the bottom stay in sight
	for i, d := range m.dialogs {
		box, cur := d.View(s, room)
		w, bh := lipgloss.Size(box)
		x, y := max(0, (m.width-w)/2), max(1, 1+(room.H-bh)/2)
		layers = append(layers, lipgloss.NewLayer(box).X(x).Y(y).Z(i+1))
		if cur != nil && i == len(m.dialogs)-1 {
			cur.X, cur.Y = cur.X+x, cur.Y+y
			v.Cursor = cur
		}
	}
	v.SetContent(lipgloss.NewCompositor(layers...).Render())
	return v
}

// tooSmall tells that nothing of the page can be seen: then keys and the mouse must not act on it.
func (m model) tooSmall() bool {
	return m.opts.Lines == nil && m.width > 0 && (m.width < screen.MinWidth || m.height < screen.MinHeight)
}

// where is the page in words: "prod orders-main".
func (m model) where() string {
	h := m.top().Header(m.scene())
	return text.Clean(strings.TrimSpace(h.Environment + " " + strings.Join(h.Title, " ")))
}

// band is the first row: whose environment this is, by colour, word and name, and what can be done to it.
func (m model) band(h screen.Header) string {
	th, tail := m.theme, m.theme.Glyphs.Tail
	style, left := th.Band(theme.BandNone), " dbops"
	if h.Environment != "" {
		style, left = th.Band(theme.BandOpen), " environment  "+h.Environment
		if m.scene().Protected(h.Environment) {
			style, left = th.Band(theme.BandProtected), " "+screen.Protected+"  "+h.Environment
		}
	}
	left = text.Clean(left + "  " + strings.Join(h.Title, " "+th.Glyphs.Crumb+" "))
	modes := m.modes(h)
	chips, chipW := "", 0
	for _, md := range modes {
		word := " " + text.Clean(md.Word) + " "
		chip := style
		if md.Risky {
			chip = th.Band(theme.BandMode)
		}
		chips += chip.Render(word) + style.Render(" ")
		chipW += text.Width(word) + 1
	}
	clock := m.now.UTC().Format("15:04") + " UTC "
	facts := text.Clean(h.Facts)
	room := m.width - chipW - text.Width(clock)
	if facts != "" && text.Width(left)+text.Width(facts)+6 <= room {
		left = text.Spread(left, facts+"  ", room, tail)
	}
	return style.Render(text.Left(left, room, tail)) + chips + style.Render(clock)
}

// modes are the page's own, a warning about environments that this program holds open for changes, and whether it changes nothing itself.
func (m model) modes(h screen.Header) []screen.Mode {
	var out, others []screen.Mode
	for _, i := range environments(m.instances) {
		if st := m.proxies.States()[i]; st.Open() && st.Access != config.Read && i != h.Environment {
			mode := screen.ModeOf(st.Access)
			mode.Word += " proxy " + text.Cut(text.Clean(i), 16, m.theme.Glyphs.Tail)
			others = append(others, mode)
		}
	}
	switch len(others) {
	case 0:
	case 1:
		out = others
	default:
		out = []screen.Mode{{Word: fmt.Sprintf("%d WRITE proxies", len(others)), Risky: true}}
	}
	if reads := screen.ModeOf(config.Read); m.core.ReadOnly() != "" && h.Mode != reads {
		out = append(out, reads)
	}
	own := m.proxies.States()[h.Environment]
	if mode := screen.ModeOf(own.Access); own.Open() && mode.Risky && h.Mode != mode { // the proxy's page says it itself
		mode.Word += " PROXY OPEN"
		out = append(out, mode)
	}
	if h.Mode.Word != "" {
		out = append(out, h.Mode)
	}
	return out
}

// second is the row of tabs, or of filter and order, with the age of the data at its end.
func (m model) second(h screen.Header) string {
	tail := m.theme.Glyphs.Tail
	long := m.fresh(h.Fresh, "as of %s ago")
	left := " " + text.Clean(h.Note)
	if len(h.Tabs) > 0 && h.Cursor < 0 { // where something is typed, the tabs make room
		left, _ = m.tabs(h, m.tabRoom(h))
		left += m.theme.Paint(theme.Focus, noteOf(h))
	}
	right := long
	if text.Width(left)+text.Width(right)+2 > m.width {
		right = m.fresh(h.Fresh, "%s")
	}
	return text.Left(text.Spread(left, right, m.width-1, tail), m.width, tail)
}

// tabs draws the names of the tabs in a width of w: in full, else in short, else only the keys of those that are not in front.
func (m model) tabs(h screen.Header, w int) (row string, spots []spot) {
	for form := range 3 {
		parts := make([]string, len(h.Tabs))
		spots = nil
		gap := " "
		if form > 0 {
			gap = ""
		}
		x := 0
		for i, t := range h.Tabs {
			name := t.Name
			if form > 0 {
				name = cmp.Or(t.Short, t.Name)
			}
			label := t.Key + " " + text.Clean(name)
			if form == 2 && i != h.Active {
				label = t.Key
			}
			if t.Badge != "" {
				label += " (" + text.Clean(t.Badge) + ")"
			}
			spots = append(spots, spot{x, x + text.Width(label) + 2, t.Key})
			x += text.Width(label) + 2 + len(gap)
			if i == h.Active {
				parts[i] = m.theme.Paint(theme.Focus, "["+label+"]")
			} else {
				parts[i] = m.theme.Paint(theme.Muted, " "+label+" ")
			}
		}
		if row = strings.Join(parts, gap); text.Width(row) <= w {
			break
		}
	}
	return row, spots
}

// tabRoom is the room for the tabs beside the page's note and the age of the data.
func (m model) tabRoom(h screen.Header) int {
	return m.width - 2 - text.Width(m.fresh(h.Fresh, "%s")) - text.Width(noteOf(h))
}

// noteOf is a page's note as it stands behind its tabs.
func noteOf(h screen.Header) string {
	if h.Note == "" {
		return ""
	}
	return "  " + text.Clean(h.Note)
}

// fresh says how old the data is, in the words of age, and whether it is being kept up.
func (m model) fresh(f screen.Fresh, age string) string {
	th := m.theme
	var parts []string
	add := func(r theme.Role, s string) { parts = append(parts, th.Paint(r, text.Clean(s))) }
	if !f.At.IsZero() {
		add(theme.Muted, fmt.Sprintf(age, text.Age(m.now.Sub(f.At))))
	}
	stale := !f.Still && m.scene().Stale(f.At)
	switch {
	case f.Err != "":
		add(theme.Danger, "x "+f.Err)
	case stale:
		add(theme.Warn, "! stale")
	}
	switch {
	case f.Loading:
		add(theme.Pending, "~ reading")
	case f.Err == "" && !stale && !f.Still && !f.At.IsZero():
		add(theme.OK, "live")
	}
	return strings.Join(parts, "  ")
}

// messageRow is the last message with its time, and how many there are besides.
func (m model) messageRow() string {
	th, tail := m.theme, m.theme.Glyphs.Tail
	more := ""
	if n := len(m.notes.all); n > 1 {
		more = th.Paint(theme.Muted, fmt.Sprintf("%d messages ", n)) + th.Paint(theme.Focus, "M")
	}
	left := ""
	if msg, ok := m.notes.shown(m.now); ok {
		role, mark := theme.Text, ""
		if msg.Failure {
			role, mark = theme.Danger, theme.Mark(theme.Danger)+" "
		}
		left = " " + th.Paint(theme.Muted, text.Clock(msg.At)) + " " + th.Paint(role, mark+msg.Line())
	}
	return text.Left(text.Spread(left, more, m.width-1, tail), m.width, tail)
}

// keyRow names the keys, most used first; those that do not fit are left out, help and leaving never are.
func (m model) keyRow() (row string, spots []spot) {
	th := m.theme
	var actions []screen.Action
	switch n := len(m.dialogs); {
	case m.leaving:
		actions = []screen.Action{{ID: actInterrupt, Short: "quit at once", Key: screen.Keys("ctrl+c")}}
	case n > 0:
		actions = m.dialogs[n-1].Keys()
	case m.top().Captures():
		actions = m.top().Actions(m.scene())
	default:
		actions = keyOrder(m.top().Actions(m.scene()), m.globals())
	}
	draw := func(a screen.Action) string {
		shown, _, _ := strings.Cut(a.Key.Help().Key, " ")
		return th.Paint(theme.Focus, shown) + " " + th.Paint(theme.Muted, a.Short)
	}
	var tailKeys, head []screen.Action
	room := m.width - 1
	for _, a := range actions {
		if (a.ID == actHelp || a.ID == actLeave) && a.Short != "" {
			tailKeys = append(tailKeys, a)
			room -= text.Width(draw(a)) + 2
		}
	}
	for _, a := range actions {
		if a.Short == "" || a.Off != "" || a.ID == actHelp || a.ID == actLeave || len(a.Key.Keys()) == 0 {
			continue
		}
		w := text.Width(draw(a)) + 2
		if w > room {
			continue
		}
		room -= w
		head = append(head, a)
	}
	x := 1
	parts := make([]string, 0, len(head)+len(tailKeys))
	for _, a := range append(head, tailKeys...) {
		d := draw(a)
		spots = append(spots, spot{x, x + text.Width(d), a.Key.Keys()[0]})
		x += text.Width(d) + 2
		parts = append(parts, d)
	}
	return text.Left(" "+strings.Join(parts, "  "), m.width, ""), spots
}

// keyOrder puts the actions that work everywhere after the first three of the page, so that a narrow screen still names them.
func keyOrder(page, everywhere []screen.Action) []screen.Action {
	var out []screen.Action
	named := 0
	for _, a := range page {
		if named == 3 {
			out = append(out, everywhere...)
			everywhere = nil
		}
		if a.Short != "" && a.Off == "" {
			named++
		}
		out = append(out, a)
	}
	return append(out, everywhere...)
}
