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

// Ask asks for a line of text. Enter goes on to the dialog that then makes of it, if there is any text; so it decides nothing itself.
type Ask struct {
	title       string
	environment string
	protected   bool
	body        string
	input       textinput.Model
	then        func(answer string) screen.Dialog
	complaint   string
}

// NewAsk returns a dialog that asks body.
func NewAsk(title, env string, protected bool, body string, then func(answer string) screen.Dialog) Ask {
	const limit = 200
	a := Ask{title: title, environment: env, protected: protected, body: body, input: component.NewInput("> ", limit), then: then}
	a.input.Focus()
	return a
}

// Update implements [screen.Dialog].
func (d Ask) Update(msg tea.Msg, _ screen.Scene) (screen.Dialog, screen.Out) {
	if next, out, ok := answered(d, msg); ok {
		return next, out
	}
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "esc":
			return nil, screen.Out{}
		case "enter":
			if answer := strings.TrimSpace(d.input.Value()); answer != "" {
				return d.then(answer), screen.Out{}
			}
			return d, screen.Out{}
		}
	}
	var cmd tea.Cmd
	d.input, cmd = d.input.Update(msg)
	return d, screen.Run(cmd)
}

// View implements [screen.Dialog].
func (d Ask) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	w := min(72, a.W)
	lines := []string{""}
	for _, l := range text.Wrap(text.Clean(d.body), inner(w)) {
		lines = append(lines, s.Theme.Paint(theme.Text, l))
	}
	lines = append(lines, "")
	in := d.input
	in.SetWidth(inner(w) - 3)
	cursor := in.Cursor()
	if cursor != nil {
		cursor.X += 1 + padX
		cursor.Y += len(lines) + 1
	}
	lines = append(lines, in.View(), "", hints(s.Theme, d.Keys()))
	word, band := badge(d.environment, d.protected)
	return box(s.Theme, d.title, word, band, false, lines, w, a.H), cursor
}

// Keys implements [screen.Dialog].
func (d Ask) Keys() []screen.Action {
	return []screen.Action{
		{ID: "ask.no", Short: "cancel", Key: screen.Keys("esc")},
		{ID: "ask.on", Short: "go on", Key: screen.Keys("enter")},
	}
}
