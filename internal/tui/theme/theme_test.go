package theme

import (
	"fmt"
	"image/color"
	"math"
	"strings"
	"testing"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// signals are the roles that must not be taken for each other.
var signals = []Role{Text, Muted, Focus, OK, Warn, Danger, Pending}

// every calls f with each palette on each background.
func every(f func(name string, o Options)) {
	for name, p := range map[string]Palette{"standard": Standard, "high contrast": HighContrast, "colour-blind": ColourBlind} {
		for _, light := range []bool{false, true} {
			f(fmt.Sprintf("%s, light %v", name, light), Options{Light: light, Palette: p})
		}
	}
}

func TestTextCanBeReadOnItsBackground(t *testing.T) {
	every(func(name string, o Options) {
		th, least := New(o), 4.5
		if o.Palette == HighContrast {
			least = 7
		}
		background := lipgloss.Color("#121212")
		if o.Light {
			background = lipgloss.Color("#fafafa")
		}
		for r := range roles {
			if got := contrast(th.Style(r).GetForeground(), background); got < least {
				t.Errorf("%s, role %d: contrast %.1f", name, r, got)
			}
		}
		for b := range bands {
			s := th.Band(b)
			if got := contrast(s.GetForeground(), s.GetBackground()); got < least {
				t.Errorf("%s, band %d: contrast %.1f", name, b, got)
			}
		}
	})
}

func TestSignalsDifferInEveryWorld(t *testing.T) {
	every(func(name string, o Options) {
		for _, p := range []colorprofile.Profile{colorprofile.TrueColor, colorprofile.ANSI256, colorprofile.ANSI} {
			o.Profile = p
			th := New(o)
			seen := map[string]Role{}
			for _, r := range signals {
				c := fmt.Sprint(p.Convert(th.Style(r).GetForeground()))
				if other, ok := seen[c]; ok {
					t.Errorf("%s, %s: roles %d and %d are both %s", name, p, other, r, c)
				}
				seen[c] = r
			}
			bg := func(b Band) string { return fmt.Sprint(p.Convert(th.Band(b).GetBackground())) }
			if bg(BandProtected) == bg(BandOpen) || bg(BandProtected) == bg(BandNone) || bg(BandMode) == bg(BandProtected) {
				t.Errorf("%s, %s: bands look alike", name, p)
			}
		}
	})
}

// How an eye without the red, and one without the green receptor sees linear light (Machado, Oliveira, Fernandes 2009, severity 1).
var (
	protanope   = [3][3]float64{{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}}
	deuteranope = [3][3]float64{{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}}
)

func TestEveryEyeTellsSignalsApartInThePaletteForIt(t *testing.T) {
	for _, light := range []bool{false, true} {
		th := New(Options{Light: light, Palette: ColourBlind})
		for eye, m := range map[string][3][3]float64{"protanope": protanope, "deuteranope": deuteranope} {
			for i, a := range []Role{OK, Warn, Danger, Pending} {
				for _, b := range []Role{OK, Warn, Danger, Pending}[i+1:] {
					if d := distance(seen(m, th.Style(a).GetForeground()), seen(m, th.Style(b).GetForeground())); d < 20 {
						t.Errorf("light %v, %s: roles %d and %d are %.0f apart", light, eye, a, b, d)
					}
				}
			}
			x, y := th.Band(BandProtected).GetBackground(), th.Band(BandOpen).GetBackground()
			if d := distance(seen(m, x), seen(m, y)); d < 20 {
				t.Errorf("light %v, %s: the bands are %.0f apart", light, eye, d)
			}
		}
	}
}

// seen is a colour as an eye sees it, in linear light.
func seen(m [3][3]float64, c color.Color) (out [3]float64) {
	r, g, b, _ := c.RGBA()
	in := [3]float64{linear(r), linear(g), linear(b)}
	for i := range out {
		for j := range in {
			out[i] += m[i][j] * in[j]
		}
		out[i] = min(max(out[i], 0), 1)
	}
	return out
}

// distance is how far apart two colours are, in CIE L*a*b*; 2 can just be told apart side by side.
func distance(x, y [3]float64) float64 {
	a, b := lab(x), lab(y)
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

func lab(c [3]float64) [3]float64 {
	f := func(t float64) float64 {
		if t > 0.008856 {
			return math.Cbrt(t)
		}
		return 7.787*t + 16.0/116
	}
	x := f((0.4124*c[0] + 0.3576*c[1] + 0.1805*c[2]) / 0.95047)
	y := f(0.2126*c[0] + 0.7152*c[1] + 0.0722*c[2])
	z := f((0.0193*c[0] + 0.1192*c[1] + 0.9505*c[2]) / 1.08883)
	return [3]float64{116*y - 16, 500 * (x - y), 200 * (y - z)}
}

func TestWithoutColourWordsAreBoldOrReverseAndNothingElse(t *testing.T) {
	th := New(Options{Profile: colorprofile.ASCII})
	if !th.Colorless() {
		t.Fatal("it has colours")
	}
	for r := range roles {
		if got := th.Paint(r, "x"); strings.Contains(got, "[3") || strings.Contains(got, ";3") {
			t.Errorf("role %d: %q", r, got)
		}
	}
	if got := th.Band(BandProtected).Render("x"); !strings.Contains(got, "7") {
		t.Errorf("a protected environment is not reverse: %q", got)
	}
	if th.Band(BandProtected).Render("x") == th.Band(BandOpen).Render("x") {
		t.Error("a protected environment looks like another")
	}
}

func TestAWarningHasASign(t *testing.T) {
	for r, want := range map[Role]string{Danger: "x", Warn: "!", Pending: "~", OK: "", Text: ""} {
		if got := Mark(r); got != want {
			t.Errorf("role %d: %q", r, got)
		}
	}
}

func contrast(a, b color.Color) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(c color.Color) float64 {
	r, g, b, _ := c.RGBA()
	return 0.2126*linear(r) + 0.7152*linear(g) + 0.0722*linear(b)
}

// linear is the light of one channel of sRGB.
func linear(v uint32) float64 {
	x := float64(v) / 0xffff
	if x <= 0.03928 {
		return x / 12.92
	}
	return math.Pow((x+0.055)/1.055, 2.4)
}
