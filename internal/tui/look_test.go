package tui

import (
	"slices"
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/theme"
)

// find is where a text stands on the screen.
func (s *stage) find(words string) (x, y int) {
	lines := strings.Split(s.Screen(), "\n")
	for y, l := range slices.Backward(lines) { // the keys at the bottom before those in a dialog
		if at := strings.Index(l, words); at >= 0 {
			return len([]rune(l[:at])), y
		}
	}
	return -1, -1
}

func (s *stage) click(words string) {
	x, y := s.find(words)
	s.Send(tea.MouseClickMsg{X: x, Y: y, Button: tea.MouseLeft})
}

func TestTheMouseSelectsOpensTurnsTabsAndPressesKeys(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		if s.View().MouseMode != tea.MouseModeCellMotion {
			t.Error("the mouse is off")
		}
		s.click("ledger         available")
		s.Want("> ledger")
		s.click("ledger         available")
		s.Want("PROTECTED  prod  ledger", "[1 Overview]")
		s.click(" 2 Proxy")
		s.Want("[2 Proxy]")
		s.click("q back")
		s.Want("dbops  Fleet", "> ledger")
		s.Send(tea.MouseWheelMsg{X: 3, Y: 5, Button: tea.MouseWheelDown})
		s.WantNot("> ledger")
		s.Send(tea.MouseWheelMsg{X: 3, Y: 5, Button: tea.MouseWheelUp})
		s.Want("> ledger")
		s.click("a actions")
		s.Want("Actions")
		s.click("archive") // under the dialog
		s.Want("Actions")
		s.click("esc close")
		s.WantNot("Actions")
	})
	play(t, 80, 24, Options{NoMouse: true}, nil, func(s *stage) {
		if s.View().MouseMode != tea.MouseModeNone {
			t.Error("the mouse is on")
		}
	})
}

func TestThemesAreChosenWhileItRuns(t *testing.T) {
	play(t, 80, 24, Options{Theme: ThemeLight}, nil, func(s *stage) {
		if o := s.model().theme.Options(); !o.Light || o.Palette != theme.Standard {
			t.Errorf("%+v", o)
		}
		s.Press(":")
		s.Type("theme high")
		s.Press("enter")
		s.Want("theme high-contrast; dbops --theme high-contrast begins with it")
		if o := s.model().theme.Options(); o.Light || o.Palette != theme.HighContrast {
			t.Errorf("%+v", o)
		}
	})
	if _, err := ParseTheme("pink"); fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "high-contrast") {
		t.Error(err)
	}
	for _, name := range append([]Theme{"", "color-blind"}, Themes...) {
		if _, err := ParseTheme(string(name)); err != nil {
			t.Error(err)
		}
	}
}
