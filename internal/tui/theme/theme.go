// Package theme holds every colour and every glyph the terminal UI draws with, by role.
//
// Nothing outside this package names a colour: a component asks for the style of a role, and the role decides for a dark or a
// light background, for 16, 256 or 16 million colours, and for none. Colour never stands alone: a word or a mark always says
// the same, so that the screen reads the same without it.
package theme

import (
	"image/color"
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// Role is what a piece of text is, which decides how it looks.
type Role uint8

// The roles.
const (
	Text    Role = iota
	Muted        // labels, old values, hints
	Focus        // keys, the active tab
	OK           // beside the word that says so
	Warn         // beside "!"
	Danger       // beside "x"
	Pending      // beside "~"
	Heading      // titles of columns and blocks
	Strong       // names
	roles
)

// Band is the background of a whole row, or of a word that must not be overlooked.
type Band uint8

// The bands.
const (
	BandNone      Band = iota // no environment: the fleet
	BandOpen                  // an environment that is not protected
	BandProtected             // an environment that is protected
	BandMode                  // an access that can change data
	bands
)

// Options say for which terminal and which eyes a theme is made.
type Options struct {
	Light   bool                 // the background is light
	Palette Palette              // the zero value is the standard one
	Profile colorprofile.Profile // what the terminal can show; the zero value counts as true colour
	ASCII   bool                 // no glyph outside ASCII
	Aloud   bool                 // it is read out: words in place of colours, signs and layout
}

// Theme is the look of everything. Its zero value draws plain text; use [New].
type Theme struct {
	Glyphs   Glyphs
	Selected lipgloss.Style // a selected row: reverse, which survives the loss of colour

	opts   Options
	styles [roles]lipgloss.Style
	around [roles]*[2]string // what a style puts before and after a plain word; nil where that is not all it does
	bands  [bands]lipgloss.Style
	border lipgloss.Style
	alarm  lipgloss.Style
}

// New makes the theme for a terminal.
func New(o Options) Theme {
	if o.Profile == colorprofile.Unknown {
		o.Profile = colorprofile.TrueColor
	}
	if o.Aloud {
		return Theme{opts: o, Glyphs: spoken()}
	}
	t := Theme{opts: o, Glyphs: glyphs(o.ASCII)}
	plain := lipgloss.NewStyle()
	fg := func(s shade) lipgloss.Style {
		if c := o.pick(s); c != nil {
			return plain.Foreground(c)
		}
		return plain
	}
	c := o.Palette.shades()
	for r, sh := range c.roles {
		t.styles[r] = fg(sh)
	}
	t.styles[Heading], t.styles[Strong] = t.styles[Heading].Bold(true), t.styles[Strong].Bold(true)
	for r, style := range t.styles {
		const probe = "a b"
		if before, after, found := strings.Cut(style.Render(probe), probe); found {
			t.around[r] = &[2]string{before, after}
		}
	}
	t.Selected = plain.Reverse(true)
	t.border = t.styles[Muted]
	t.alarm = t.styles[Danger]
	if t.Colorless() {
		t.bands = [bands]lipgloss.Style{
			BandNone:      plain.Bold(true),
			BandOpen:      plain.Bold(true),
			BandProtected: plain.Bold(true).Reverse(true),
			BandMode:      plain.Bold(true),
		}
		return t
	}
	for b, pair := range c.bands {
		t.bands[b] = plain.Foreground(o.pick(pair.text)).Background(o.pick(pair.ground))
	}
	t.bands[BandProtected], t.bands[BandMode] = t.bands[BandProtected].Bold(true), t.bands[BandMode].Bold(true)
	return t
}

// pick is the colour of s, nil for the terminal's own.
func (o Options) pick(s shade) color.Color {
	full, basic := s.dark, s.dark16
	if o.Light {
		full, basic = s.light, s.light16
	}
	switch o.Profile {
	case colorprofile.ANSI:
		if basic == "" {
			return nil
		}
		return lipgloss.Color(basic)
	case colorprofile.NoTTY, colorprofile.ASCII:
		return nil
	default:
		return lipgloss.Color(full)
	}
}

// Options are what the theme was made for.
func (t Theme) Options() Options { return t.opts }

// Aloud tells that what is drawn will be read out.
func (t Theme) Aloud() bool { return t.opts.Aloud }

// Colorless tells whether the terminal shows no colour, only bold and reverse.
func (t Theme) Colorless() bool {
	return t.opts.Profile == colorprofile.ASCII || t.opts.Profile == colorprofile.NoTTY
}

// Style is the style of a role.
func (t Theme) Style(r Role) lipgloss.Style { return t.styles[r%roles] }

// Paint draws s in a role.
func (t Theme) Paint(r Role, s string) string {
	if s == "" {
		return ""
	}
	if around := t.around[r%roles]; around != nil && !strings.ContainsAny(s, "\n\t\r\x1b") { // to render takes long, and a screen has many words
		return around[0] + s + around[1]
	}
	return t.styles[r%roles].Render(s)
}

// Band is the style of a band.
func (t Theme) Band(b Band) lipgloss.Style { return t.bands[b%bands] }

// Border is the style of a dialog's border; alarm is for what can do harm.
func (t Theme) Border(alarm bool) lipgloss.Style {
	if alarm {
		return t.alarm
	}
	return t.border
}

// Mark is the sign that goes with a role: "x" for Danger, "!" for Warn, "~" for Pending; empty for others.
func Mark(r Role) string {
	switch r {
	case Danger:
		return "x"
	case Warn:
		return "!"
	case Pending:
		return "~"
	default:
		return ""
	}
}
