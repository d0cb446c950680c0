package dialog

import (
	"strings"

	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Item is one choice.
type Item struct {
	Title string
	Note  string // beside it, muted
	Key   string // the key that runs it elsewhere, and here when the menu has no input
	Off   string // why it cannot run; empty when it can
	CLI   []string
	Then  tea.Msg // sent when it is chosen
}

// Menu is a list to choose from. With an input it is the palette: typing narrows the list; without one an item's own key
// chooses it.
type Menu struct {
	title       string
	environment string
	protected   bool
	items       []Item
	at          int // among the items that match
	typed       bool
	input       textinput.Model
	complaint   string
}

// inputLimit is how much can be typed to narrow a menu.
const inputLimit = 64

// NewMenu is a menu of items whose keys choose them.
func NewMenu(title, env string, protected bool, items []Item) Menu {
	return Menu{title: title, environment: env, protected: protected, items: items}
}

// NewPalette is a menu that is narrowed by typing.
func NewPalette(title string, items []Item) Menu {
	m := Menu{title: title, items: items, typed: true, input: component.NewInput(": ", inputLimit)}
	m.input.Focus()
	return m
}

// At puts the selection on the i-th item.
func (m Menu) At(i int) Menu {
	m.at = i
	return m
}

// matching are the items that fit what was typed.
func (m Menu) matching() []Item {
	if !m.typed {
		return m.items
	}
	return m.search(m.input.Value())
}

// search are the items that hold every word of a query, those whose title starts with it first.
func (m Menu) search(query string) []Item {
	query = strings.ToLower(strings.TrimSpace(query))
	if query == "" {
		return m.items
	}
	var head, rest []Item
	for _, it := range m.items {
		title := strings.ToLower(it.Title)
		hay := title + " " + strings.ToLower(it.Note)
		ok := true
		for _, w := range strings.Fields(query) {
			ok = ok && strings.Contains(hay, w)
		}
		switch {
		case ok && strings.HasPrefix(title, query):
			head = append(head, it)
		case ok:
			rest = append(rest, it)
		}
	}
	return append(head, rest...)
}

// Update implements [screen.Dialog].
func (m Menu) Update(msg tea.Msg, _ screen.Scene) (screen.Dialog, screen.Out) {
	if next, out, ok := answered(m, msg); ok {
		return next, out
	}
	k, isKey := msg.(tea.KeyPressMsg)
	items := m.matching()
	if isKey {
		switch k.String() {
		case "esc":
			return nil, screen.Out{}
		case "up", "ctrl+p":
			m.at = max(0, m.at-1)
			return m, screen.Out{}
		case "down", "ctrl+n":
			m.at = min(m.at+1, max(0, len(items)-1))
			return m, screen.Out{}
		case "enter":
			if m.at < len(items) {
				return m.choose(items[m.at])
			}
			return m, screen.Out{}
		case "ctrl+y":
			return m, m.copyCLI(items)
		}
		if !m.typed {
			return m.letter(k.String(), items)
		}
	}
	if !m.typed {
		return m, screen.Out{}
	}
	before := m.input.Value()
	var cmd tea.Cmd
	m.input, cmd = m.input.Update(msg)
	if m.input.Value() != before {
		m.at = 0
	}
	return m, screen.Run(cmd)
}

// letter handles the keys of a menu without an input.
func (m Menu) letter(k string, items []Item) (screen.Dialog, screen.Out) {
	switch k {
	case "q":
		return nil, screen.Out{}
	case "k":
		m.at = max(0, m.at-1)
		return m, screen.Out{}
	case "j":
		m.at = min(m.at+1, max(0, len(items)-1))
		return m, screen.Out{}
	case "Y":
		return m, m.copyCLI(items)
	}
	for i, it := range items {
		if it.Key == k {
			m.at = i
			return m.choose(it)
		}
	}
	return m, screen.Out{}
}

func (m Menu) choose(it Item) (screen.Dialog, screen.Out) {
	if it.Off != "" { // its reason is on the screen
		return m, screen.Out{}
	}
	return nil, screen.Say(it.Then)
}

func (m Menu) copyCLI(items []Item) screen.Out {
	if m.at >= len(items) || items[m.at].CLI == nil {
		return screen.Out{}
	}
	return screen.Say(screen.Copy{What: "command line", Text: text.Shell(items[m.at].CLI)})
}

// View implements [screen.Dialog].
func (m Menu) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	w := min(72, a.W)
	iw := inner(w)
	items := m.matching()
	at := min(m.at, max(0, len(items)-1))
	var lines []string
	var cur *tea.Cursor
	if m.typed {
		in := m.input
		in.SetWidth(iw - 3)
		lines = append(lines, in.View(), "")
		if c := in.Cursor(); c != nil {
			cur = c
			cur.X += 1 + padX
			cur.Y++
		}
	} else {
		lines = append(lines, "")
	}
	rows := max(1, min(len(items), a.H-len(lines)-6, 14))
	from := min(max(0, at-rows/2), max(0, len(items)-rows))
	tw, kw := 0, 0
	for _, it := range m.items {
		tw, kw = max(tw, text.Width(it.Title)), max(kw, text.Width(it.Key))
	}
	tw = min(tw, iw-kw-6)
	for i := from; i < min(from+rows, len(items)); i++ {
		lines = append(lines, m.row(th, items[i], i == at, tw, kw, iw))
	}
	if len(items) == 0 {
		lines = append(lines, th.Paint(theme.Muted, "nothing matches"))
	}
	lines = append(lines, "")
	about := ""
	if at < len(items) {
		switch it := items[at]; {
		case it.Off != "":
			about = th.Paint(theme.Warn, text.Cut("! "+text.Clean(it.Off), iw, tail))
		case it.CLI != nil:
			about = th.Paint(theme.Muted, text.Cut("CLI  "+text.Shell(it.CLI), iw, tail))
		}
	}
	lines = append(lines, about, hints(th, m.Keys()))
	word, band := badge(m.environment, m.protected)
	return box(th, m.title, word, band, false, lines, w, a.H), cur
}

func (m Menu) row(th theme.Theme, it Item, selected bool, tw, kw, w int) string {
	tail := th.Glyphs.Tail
	title, keys, note := text.Left(text.Clean(it.Title), tw, tail), text.Left(it.Key, kw, tail), text.Clean(it.Note)
	note = text.Cut(note, w-2-tw-2-kw-2, tail)
	if selected {
		return th.Selected.Render(text.Left("> "+title+"  "+keys+"  "+note, w, tail))
	}
	role := theme.Text
	if it.Off != "" {
		role = theme.Muted
	}
	return "  " + th.Paint(role, title) + "  " + th.Paint(theme.Focus, keys) + "  " + th.Paint(theme.Muted, note)
}

// Keys implements [screen.Dialog].
func (m Menu) Keys() []screen.Action {
	cli := screen.Keys("Y")
	if m.typed {
		cli = screen.Keys("ctrl+y")
	}
	return []screen.Action{
		{ID: "menu.close", Short: "close", Key: screen.Keys("esc")},
		{ID: "menu.run", Short: "run", Key: screen.Keys("enter")},
		{ID: "menu.move", Short: "choose", Key: screen.ShownAs(screen.Keys("down"), "up/down")},
		{ID: "menu.cli", Short: "copy CLI", Key: cli},
	}
}
