package tui

import (
	"slices"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"

	"dbops/internal/fault"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/theme"
)

// Theme is a choice of colours by its name.
type Theme string

// The themes. Those that do not say for which background they are ask the terminal.
const (
	ThemeAuto         Theme = "auto"
	ThemeDark         Theme = "dark"
	ThemeLight        Theme = "light"
	ThemeHighContrast Theme = "high-contrast"
	ThemeColourBlind  Theme = "colour-blind"
)

// Themes are all of them.
var Themes = []Theme{ThemeAuto, ThemeDark, ThemeLight, ThemeHighContrast, ThemeColourBlind}

// ParseTheme reads the name of a theme; none is [ThemeAuto].
func ParseTheme(name string) (Theme, error) {
	switch name {
	case "":
		return ThemeAuto, nil
	case "color-blind":
		return ThemeColourBlind, nil
	}
	if t := Theme(name); slices.Contains(Themes, t) {
		return t, nil
	}
	return "", fault.Newf(fault.Usage, "choose the theme", "unknown theme %q", name).Hint("want auto, dark, light, high-contrast or colour-blind")
}

// setTheme asks for other colours.
type setTheme struct{ theme Theme }

// look is for which terminal and which eyes to draw.
func (m model) look(p colorprofile.Profile, light bool) theme.Options {
	if m.opts.NoColor {
		p = colorprofile.ASCII
	}
	o := theme.Options{Light: light, Profile: p, ASCII: m.opts.ASCII, Aloud: m.opts.Lines != nil}
	switch m.opts.Theme {
	case ThemeAuto:
	case ThemeDark:
		o.Light = false
	case ThemeLight:
		o.Light = true
	case ThemeHighContrast:
		o.Palette = theme.HighContrast
	case ThemeColourBlind:
		o.Palette = theme.ColourBlind
	}
	return o
}

// dressed is m in a theme.
func (m model) dressed(t Theme) model {
	m.opts.Theme = t
	m.theme = theme.New(m.look(m.theme.Options().Profile, m.light))
	m.notes = m.notes.add(m.now, "theme "+string(t)+"; dbops --theme "+string(t)+" begins with it", nil)
	return m
}

// themeItems are the themes as choices.
func themeItems() (out []dialog.Item) {
	for _, t := range Themes {
		out = append(out, dialog.Item{Title: "theme " + string(t), Note: "colours", CLI: []string{"dbops", "--theme", string(t)}, Then: tea.Msg(setTheme{t})})
	}
	return out
}
