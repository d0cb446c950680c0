package dialog

import (
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Message is one line that was shown to the person.
type Message struct {
	At      time.Time
	Text    string
	Hint    string
	Failure bool
}

// Line is the message in one line.
func (m Message) Line() string { return text.Clean(m.Text) }

// History lists the messages, newest first; the selected one is shown in full.
type History struct {
	messages []Message // oldest first
	at       int       // from the newest
}

// NewHistory shows messages, which are ordered oldest first.
func NewHistory(messages []Message) History { return History{messages: messages} }

func (d History) selected() (Message, bool) {
	i := len(d.messages) - 1 - d.at
	if i < 0 {
		return Message{}, false
	}
	return d.messages[i], true
}

// Update implements [screen.Dialog].
func (d History) Update(msg tea.Msg, s screen.Scene) (screen.Dialog, screen.Out) {
	k, ok := msg.(tea.KeyPressMsg)
	if !ok {
		return d, screen.Out{}
	}
	switch k.String() {
	case "esc", "q", "M":
		return nil, screen.Out{}
	case "y":
		if m, ok := d.selected(); ok {
			full := m.Text
			if m.Hint != "" {
				full += "\nhint: " + m.Hint
			}
			return d, screen.Say(screen.Copy{What: "message", Text: full})
		}
	}
	if a, ok := screen.Match(screen.Moves(), k); ok {
		step, _ := screen.Step(a.ID, s.Area.H)
		d.at = min(max(0, d.at+step), max(0, len(d.messages)-1))
	}
	return d, screen.Out{}
}

// View implements [screen.Dialog].
func (d History) View(s screen.Scene, a screen.Area) (string, *tea.Cursor) {
	th, tail := s.Theme, s.Theme.Glyphs.Tail
	w := min(100, a.W)
	iw := inner(w)
	var full []string
	if m, ok := d.selected(); ok {
		for _, l := range text.Wrap(text.Clean(m.Text), iw) {
			full = append(full, th.Paint(role(m), l))
		}
		if m.Hint != "" {
			for _, l := range text.Wrap("hint: "+text.Clean(m.Hint), iw) {
				full = append(full, th.Paint(theme.Text, l))
			}
		}
	}
	rows := max(1, min(len(d.messages), a.H-7-len(full)))
	from := min(max(0, d.at-rows/2), max(0, len(d.messages)-rows))
	lines := []string{""}
	for i := from; i < min(from+rows, len(d.messages)); i++ {
		m := d.messages[len(d.messages)-1-i]
		line := text.Left(text.Clock(m.At)+"  "+text.Left(mark(m), 2, "")+m.Line(), iw-2, tail)
		if i == d.at {
			lines = append(lines, th.Selected.Render("> "+line))
			continue
		}
		lines = append(lines, "  "+th.Paint(role(m), line))
	}
	if len(d.messages) == 0 {
		lines = append(lines, th.Paint(theme.Muted, "nothing was said yet"))
	}
	lines = append(lines, "")
	lines = append(lines, full...)
	lines = append(lines, "", hints(th, d.Keys()))
	return box(th, "Messages", "", theme.BandNone, false, lines, w, a.H), nil
}

func role(m Message) theme.Role {
	if m.Failure {
		return theme.Danger
	}
	return theme.Text
}

func mark(m Message) string { return theme.Mark(role(m)) }

// Keys implements [screen.Dialog].
func (d History) Keys() []screen.Action {
	return []screen.Action{
		{ID: "history.close", Short: "close", Key: screen.Keys("esc")},
		{ID: "history.move", Short: "choose", Key: screen.ShownAs(screen.Keys("j"), "j/k")},
		{ID: "history.copy", Short: "copy", Key: screen.Keys("y")},
	}
}
