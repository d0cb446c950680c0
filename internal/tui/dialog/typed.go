package dialog

import (
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Typed asks for a name to be typed before something in a protected environment. Enter does nothing until it fits.
type Typed struct {
	title, environment, want string
	body                     []string
	cli                      []string
	input                    textinput.Model
	then                     tea.Msg
	complaint                string
}

// NewTyped returns a dialog that sends then when want was typed.
func NewTyped(title, env, want string, body, cli []string, then tea.Msg) Typed {
	const limit = 200
	d := Typed{title: title, environment: env, want: want, body: body, cli: cli, then: then, input: component.NewInput("> ", limit)}
	d.input.Focus()
	return d
}

func (d Typed) fits() bool { return d.input.Value() == d.want }

// Update implements [screen.Dialog].
func (d Typed) Update(msg tea.Msg, _ screen.Scene) (screen.Dialog, screen.Out) {
	if next, out, ok := answered(d, msg); ok {
		return next, out
	}
	switch m := msg.(type) {
	case tea.PasteMsg: // what is pasted was not read
		return d, screen.Say(screen.Notice{Text: "type the name: a paste confirms nothing"})
	case tea.KeyPressMsg:
		switch m.String() {
		case "esc":
			return nil, screen.Out{}
		case "enter":
			if d.fits() {
				return nil, screen.Say(d.then)
			}
			return d, screen.Out{}
		case "ctrl+y":
			if d.cli != nil {
				return d, screen.Say(screen.Copy{What: "command line", Text: text.Shell(d.cli)})
			}
		}
	}
	var cmd tea.Cmd
	d.input, cmd = d.input.Update(msg)
	return d, screen.Run(cmd)
}

// View implements [screen.Dialog].
func (d Typed) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	w := min(72, a.W)
	lines := []string{""}
	for _, p := range d.body {
		for _, l := range text.Wrap(text.Clean(p), inner(w)) {
			lines = append(lines, s.Theme.Paint(theme.Text, l))
		}
	}
	lines = append(lines, "")
	if d.cli != nil {
		lines = append(lines, cliLines(s.Theme, d.cli, inner(w))...)
		lines = append(lines, "")
	}
	lines = append(lines, s.Theme.Paint(theme.Strong, "Type "+text.Clean(d.want)+" to go on:"))
	in := d.input
	in.SetWidth(inner(w) - 3)
	cursor := in.Cursor()
	if cursor != nil {
		cursor.X += 1 + padX
		cursor.Y += len(lines) + 1
	}
	lines = append(lines, in.View(), "", hints(s.Theme, d.Keys()))
	word, band := badge(d.environment, true)
	return box(s.Theme, d.title, word, band, true, lines, w, a.H), cursor
}

// Keys implements [screen.Dialog].
func (d Typed) Keys() []screen.Action {
	out := []screen.Action{{ID: "typed.no", Short: "cancel", Key: screen.Keys("esc")}}
	yes := screen.Action{ID: "typed.yes", Short: "run it", Key: screen.Keys("enter")}
	if !d.fits() {
		yes.Short = "is off until it fits"
	}
	out = append(out, yes)
	if d.cli != nil {
		out = append(out, screen.Action{ID: "typed.cli", Short: "copy CLI", Key: screen.Keys("ctrl+y")})
	}
	return out
}
