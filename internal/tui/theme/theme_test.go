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

func TestTextCanBeReadOnItsBackground(t *testing.T) {
	for _, light := range []bool{false, true} {
		th := New(Options{Light: light})
		background := lipgloss.Color("#121212")
		if light {
			background = lipgloss.Color("#fafafa")
		}
		for r := range roles {
			if got := contrast(th.Style(r).GetForeground(), background); got < 4.5 {
				t.Errorf("light %v, role %d: contrast %.1f", light, r, got)
			}
		}
		for b := range bands {
			s := th.Band(b)
			if got := contrast(s.GetForeground(), s.GetBackground()); got < 4.5 {
				t.Errorf("light %v, band %d: contrast %.1f", light, b, got)
			}
		}
	}
}

func TestSignalsDifferInEveryWorld(t *testing.T) {
	for _, light := range []bool{false, true} {
		for _, p := range []colorprofile.Profile{colorprofile.TrueColor, colorprofile.ANSI256, colorprofile.ANSI} {
			th := New(Options{Light: light, Profile: p})
			seen := map[string]Role{}
			for _, r := range signals {
				c := fmt.Sprint(p.Convert(th.Style(r).GetForeground()))
				if other, ok := seen[c]; ok {
					t.Errorf("light %v, %s: roles %d and %d are both %s", light, p, other, r, c)
				}
				seen[c] = r
			}
			bg := func(b Band) string { return fmt.Sprint(p.Convert(th.Band(b).GetBackground())) }
			if bg(BandProtected) == bg(BandOpen) || bg(BandProtected) == bg(BandNone) || bg(BandMode) == bg(BandProtected) {
				t.Errorf("light %v, %s: bands look alike", light, p)
			}
		}
	}
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
	f := func(v uint32) float64 {
		x := float64(v) / 0xffff
		if x <= 0.03928 {
			return x / 12.92
		}
		return math.Pow((x+0.055)/1.055, 2.4)
	}
	return 0.2126*f(r) + 0.7152*f(g) + 0.0722*f(b)
}
