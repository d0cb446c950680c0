package dialog

import (
	"cmp"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Help lists the keys of a page and of the program, from the bindings themselves. '/' searches it.
type Help struct {
	title   string
	about   string
	actions []screen.Action
	filter  component.Filter
	scroll  component.Scroll
}

// NewHelp is the help of actions; about stands at the right of the title.
func NewHelp(title, about string, actions []screen.Action) Help {
	return Help{title: title, about: about, actions: actions, filter: component.NewFilter()}
}

// Update implements [screen.Dialog].
func (d Help) Update(msg tea.Msg, s screen.Scene) (screen.Dialog, screen.Out) {
	if d.filter.Editing() {
		var cmd tea.Cmd
		d.filter, cmd = d.filter.Update(msg)
		d.scroll = component.Scroll{}
		return d, screen.Run(cmd)
	}
	k, ok := msg.(tea.KeyPressMsg)
	if !ok {
		return d, screen.Out{}
	}
	switch k.String() {
	case "esc", "q", "?":
		if k.String() == "esc" && d.filter.Value() != "" {
			d.filter = d.filter.Clear()
			return d, screen.Out{}
		}
		return nil, screen.Out{}
	case "/":
		var cmd tea.Cmd
		d.filter, cmd = d.filter.Edit()
		return d, screen.Run(cmd)
	}
	if a, ok := screen.Match(screen.Moves(), k); ok {
		step, _ := screen.Step(a.ID, s.Area.H)
		d.scroll = d.scroll.By(step, len(d.lines(s.Theme, helpWidth)), s.Area.H/2)
	}
	return d, screen.Out{}
}

const helpWidth = 76

// View implements [screen.Dialog].
func (d Help) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	w := min(helpWidth, a.W)
	all := d.lines(s.Theme, inner(w))
	h := max(1, min(len(all), a.H-5))
	body := strings.Split(d.scroll.View(s.Theme, all, inner(w), h), "\n")
	note, at := d.filter.Note()
	if note == "" {
		note = hints(s.Theme, d.Keys())
	}
	lines := append(append([]string{}, body...), "", note)
	var cur *tea.Cursor
	if at >= 0 {
		cur = tea.NewCursor(1+padX+at, len(lines))
	}
	return box(s.Theme, d.title, d.about, theme.BandNone, false, lines, w, a.H), cur
}

// lines are the actions that match, by group.
func (d Help) lines(th theme.Theme, w int) []string {
	const keys = 14
	query := strings.ToLower(d.filter.Value())
	var out []string
	group := "\x00"
	for _, a := range d.actions {
		line := strings.ToLower(a.Key.Help().Key + " " + a.Title + " " + a.ID)
		if !strings.Contains(line, query) {
			continue
		}
		if a.Group != group {
			if len(out) > 0 {
				out = append(out, "")
			}
			group = a.Group
			out = append(out, th.Paint(theme.Heading, strings.ToUpper(cmp.Or(group, "This page"))))
		}
		l := th.Paint(theme.Focus, text.Left(a.Key.Help().Key, keys, "")) + " " + th.Paint(theme.Text, text.Cut(a.Title, w-keys-1, th.Glyphs.Tail))
		out = append(out, l)
		if a.Off != "" {
			out = append(out, text.Spaces(keys+1)+th.Paint(theme.Warn, text.Cut("! "+text.Clean(a.Off), w-keys-1, th.Glyphs.Tail)))
		}
	}
	if len(out) == 0 {
		out = append(out, th.Paint(theme.Muted, "no key does that"))
	}
	return out
}

// Keys implements [screen.Dialog].
func (d Help) Keys() []screen.Action {
	return []screen.Action{
		{ID: "help.close", Short: "close", Key: screen.Keys("esc")},
		{ID: "help.search", Short: "search", Key: screen.Keys("/")},
		{ID: "help.move", Short: "scroll", Key: screen.ShownAs(screen.Keys("j"), "j/k")},
	}
}
