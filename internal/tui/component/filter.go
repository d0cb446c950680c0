package component

import (
	"charm.land/bubbles/v2/key"
	"charm.land/bubbles/v2/textinput"
	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"dbops/internal/tui/text"
)

// NewInput is a line to type in, with the terminal's own cursor. Its colours are the terminal's. It does not read the
// clipboard by itself: a terminal's paste arrives as a message.
func NewInput(prompt string, limit int) textinput.Model {
	in := textinput.New()
	in.Prompt = prompt
	in.CharLimit = limit
	in.SetVirtualCursor(false)
	plain := textinput.StyleState{
		Text: lipgloss.NewStyle(), Placeholder: lipgloss.NewStyle(), Suggestion: lipgloss.NewStyle(), Prompt: lipgloss.NewStyle(),
	}
	in.SetStyles(textinput.Styles{Focused: plain, Blurred: plain, Cursor: textinput.CursorStyle{Shape: tea.CursorBar}})
	in.KeyMap.Paste = key.NewBinding(key.WithDisabled())
	return in
}

// Filter is the text that narrows a list: '/' begins it, enter keeps it, esc ends it.
type Filter struct {
	input   textinput.Model
	editing bool
}

// NewFilter returns an empty filter.
func NewFilter() Filter { return Filter{input: NewInput("/", 64)} }

// Editing tells that keys go to the filter.
func (f Filter) Editing() bool { return f.editing }

// Value is what was typed.
func (f Filter) Value() string { return f.input.Value() }

// Edit begins typing.
func (f Filter) Edit() (Filter, tea.Cmd) {
	f.editing = true
	cmd := f.input.Focus()
	f.input.CursorEnd()
	return f, cmd
}

// Clear empties the filter and ends typing.
func (f Filter) Clear() Filter {
	f.editing = false
	f.input.Blur()
	f.input.SetValue("")
	return f
}

// Update takes a key or a paste while typing.
func (f Filter) Update(msg tea.Msg) (Filter, tea.Cmd) {
	if k, ok := msg.(tea.KeyPressMsg); ok {
		switch k.String() {
		case "esc":
			return f.Clear(), nil
		case "enter", "down", "up", "tab":
			f.editing = false
			f.input.Blur()
			return f, nil
		}
	}
	var cmd tea.Cmd
	f.input, cmd = f.input.Update(msg)
	return f, cmd
}

// Note is the filter for the second row: its text, and the cell where typing goes, -1 when it does not.
func (f Filter) Note() (note string, cursor int) {
	if !f.editing {
		if f.Value() == "" {
			return "", -1
		}
		return "/" + text.Clean(f.Value()), -1
	}
	typed := []rune(f.input.Value())
	return "/" + text.Clean(f.Value()), 1 + text.Width(text.Clean(string(typed[:f.input.Position()])))
}
