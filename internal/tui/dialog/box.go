// Package dialog holds the boxes that stand above a page: confirmations, menus, the palette, help, and the messages.
//
// A dialog gets every key while it is on top. Esc closes it and changes nothing; enter never confirms; what a dialog decides
// goes out as a message, so none of them knows a page.
package dialog

import (
	"strings"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// padX is the cells between border and text on each side.
const padX = 2

// inner is the room for text in a box of width w.
func inner(w int) int { return max(1, w-2-2*padX) }

// box draws a border with a title around lines. badge stands at the right of the title in a band. It is w wide and at most h
// high: lines that do not fit are left out from the end, the last one (the keys of the dialog) stays.
func box(th theme.Theme, title, badge string, band theme.Band, alarm bool, lines []string, w, h int) string {
	g, b := th.Glyphs, th.Border(alarm)
	role := theme.Strong
	if alarm {
		role = theme.Danger
	}
	if over := len(lines) - max(1, h-2); over > 0 {
		last := lines[len(lines)-1]
		lines = append(append([]string{}, lines[:max(0, len(lines)-over-1)]...), last)
	}
	if badge != "" {
		badge = th.Band(band).Render(" "+text.Cut(text.Clean(badge), w/2, g.Tail)+" ") + b.Render(g.Rule)
	}
	title = text.Cut(text.Clean(title), max(0, w-6-text.Width(badge)), g.Tail)
	fill := max(0, w-5-text.Width(title)-text.Width(badge))
	out := []string{b.Render(g.TopLeft+g.Rule+" ") + th.Paint(role, title) + b.Render(" "+strings.Repeat(g.Rule, fill)) + badge + b.Render(g.TopRight)}
	side := b.Render(g.Side)
	for _, l := range lines {
		out = append(out, side+text.Spaces(padX)+text.Left(l, inner(w), g.Tail)+text.Spaces(padX)+side)
	}
	out = append(out, b.Render(g.BottomLeft+strings.Repeat(g.Rule, max(0, w-2))+g.BottomRight))
	return strings.Join(out, "\n")
}

// badge is the word and the colour of an environment.
func badge(env string, protected bool) (string, theme.Band) {
	switch {
	case env == "":
		return "", theme.BandNone
	case protected:
		return screen.Protected + " " + env, theme.BandProtected
	default:
		return env, theme.BandOpen
	}
}

// hints draws keys with what they do: "y stop it   esc no".
func hints(th theme.Theme, actions []screen.Action) string {
	parts := make([]string, 0, len(actions))
	for _, a := range actions {
		if a.Off == "" {
			parts = append(parts, th.Paint(theme.Focus, a.Key.Help().Key)+" "+th.Paint(theme.Muted, a.Short))
		}
	}
	return strings.Join(parts, "   ")
}

// cliLines is a command line, wrapped in a width of w.
func cliLines(th theme.Theme, cli []string, w int) (out []string) {
	label := "CLI  "
	for _, l := range text.Wrap(text.Shell(cli), w-len(label)) {
		out = append(out, th.Paint(theme.Muted, label+l))
		label = "     "
	}
	return out
}
