package dialog

import (
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Confirm asks before something that can be regretted. Only y says yes: no key that opens a dialog is y, and enter does
// nothing.
type Confirm struct {
	Title       string
	Environment string // whose badge it wears; empty for none
	Protected   bool
	Alarm       bool     // data can be harmed: the border says so
	Body        []string // sentences; each is wrapped
	CLI         []string // the same as a command line; nil for none
	Yes         string   // what y does: "stop it"
	No          string   // what esc does: "keep it"
	Then        tea.Msg  // sent on y

	complaint string
}

// Update implements [screen.Dialog].
func (d Confirm) Update(msg tea.Msg, _ screen.Scene) (screen.Dialog, screen.Out) {
	if next, out, ok := answered(d, msg); ok {
		return next, out
	}
	k, ok := msg.(tea.KeyPressMsg)
	if !ok {
		return d, screen.Out{}
	}
	switch k.String() {
	case "y":
		return nil, screen.Say(d.Then)
	case "Y":
		if d.CLI != nil {
			return d, screen.Say(screen.Copy{What: "command line", Text: text.Shell(d.CLI)})
		}
	case "esc", "n", "q":
		return nil, screen.Out{}
	}
	return d, screen.Out{}
}

// View implements [screen.Dialog].
func (d Confirm) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	w := min(66, a.W)
	var lines []string
	add := func(l ...string) { lines = append(lines, l...) }
	add("")
	for _, p := range d.Body {
		for _, l := range text.Wrap(text.Clean(p), inner(w)) {
			add(s.Theme.Paint(theme.Text, l))
		}
		add("")
	}
	if d.CLI != nil {
		add(cliLines(s.Theme, d.CLI, inner(w))...)
		add("")
	}
	add(hints(s.Theme, d.Keys()))
	word, band := badge(d.Environment, d.Protected)
	return box(s.Theme, d.Title, word, band, d.Alarm, lines, w, a.H), nil
}

// Keys implements [screen.Dialog].
func (d Confirm) Keys() []screen.Action {
	out := []screen.Action{
		{ID: "confirm.no", Short: d.No, Key: screen.Keys("esc")},
		{ID: "confirm.yes", Short: d.Yes, Key: screen.Keys("y")},
	}
	if d.CLI != nil {
		out = append(out, screen.Action{ID: "confirm.cli", Short: "copy CLI", Key: screen.Keys("Y")})
	}
	return out
}
