package tui

import (
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/tuitest"
)

// fuzzKeys are what a byte below their number presses.
var fuzzKeys = strings.Fields(`enter esc tab shift+tab space backspace up down left right home end pgup pgdown ctrl+c ctrl+d ctrl+u ctrl+l ctrl+p ctrl+z ctrl+n ctrl+y
	a b c d e f g h i j k l m n o p q r s t u v w x y z A G J K L M R U Y X 0 1 2 3 4 5 6 7 8 9 - / : ? ! [ ] * + é 日 '`)

// pastes are what is pasted.
var pastes = []string{"orders", "a\nb\r\nc\td", "\x1b[31mred\x1b[0m", "\x00\x07\x9b", strings.Repeat("long ", 4000), "日本語 \u202e RTL", "\xff\xfe"}

// FuzzKeys presses, clicks, pastes and resizes at random: no page panics, and every frame fits its screen.
func FuzzKeys(f *testing.F) {
	key := func(names ...string) (out []byte) {
		for _, n := range names {
			for i, k := range fuzzKeys {
				if k == n {
					out = append(out, byte(i))
				}
			}
		}
		return out
	}
	f.Add(key("j", "enter", "3", "j", "/", "a", "enter", "4", "5", "J", "6", "7", "8", "s", "9", "l", "0", "v", "-"))
	f.Add(key("2", "enter", "o", "j", "k", "f", "esc", "3", "enter", "v", "esc", "4", "v", "G"))
	f.Add(append(key("p", "t"), 200, 10, 9, 200, 10, 9, 210, 3, 20, 220, 3, 230, 60, 15, 240, 5, 250))
	f.Add(append(key(":", "r", "o", "enter", "?", "esc", "M"), 230, 0, 0, 230, 1, 1, 230, 255, 255))
	f.Fuzz(act)
}

// act plays a script: a byte is a key, or what the next ones are.
func act(t *testing.T, script []byte) {
	const longest = 300
	script = script[:min(len(script), longest)]
	play(t, 80, 24, Options{}, busyNight, func(s *stage) {
		next := func() int {
			if len(script) == 0 {
				return 0
			}
			b := script[0]
			script = script[1:]
			return int(b)
		}
		w, h := 80, 24
		for len(script) > 0 && !s.Quit {
			switch b := next(); {
			case b < len(fuzzKeys):
				s.Press(fuzzKeys[b])
			case b >= 200 && b < 210:
				s.Send(tea.MouseClickMsg{X: next(), Y: next(), Button: tea.MouseLeft})
			case b >= 210 && b < 220:
				s.Send(tea.MouseWheelMsg{X: next(), Y: next(), Button: []tea.MouseButton{tea.MouseWheelUp, tea.MouseWheelDown, tea.MouseWheelLeft}[b%3]})
			case b >= 220 && b < 230:
				s.Send(tea.PasteMsg{Content: pastes[next()%len(pastes)]})
			case b >= 230 && b < 240:
				w, h = next(), next()
				s.Send(tea.WindowSizeMsg{Width: w, Height: h})
			case b >= 240 && b < 250:
				s.Pass(time.Duration(b-239) * 400 * time.Millisecond)
			default:
				s.Send([]tea.Msg{tea.FocusMsg{}, tea.BlurMsg{}, tea.MouseReleaseMsg{X: 3, Y: 4}, tea.ResumeMsg{}, screen.Tick{At: s.model().now}}[b%5])
			}
			frame := s.model().draw().Content
			if c := s.model().pool.Crashed(); c != nil {
				t.Fatalf("panic: %v\n%s", c.Value, c.Stack)
			}
			fits(t, frame, w, h)
		}
		if s.Quit {
			s.keeper.Hurry()
		}
	})
}

// fits is [tuitest.AssertFits], on a screen that may be too small for more than a word.
func fits(t *testing.T, frame string, w, h int) {
	t.Helper()
	if w >= screen.MinWidth && h >= screen.MinHeight {
		tuitest.AssertFits(t, frame, w, h)
		return
	}
	if lines := strings.Split(frame, "\n"); len(lines) > max(1, h) {
		t.Errorf("%d lines on a screen of %d", len(lines), h)
	} else {
		for _, l := range lines {
			if ansi.StringWidth(l) > w {
				t.Errorf("%q on a screen of %d cells", l, w)
			}
		}
	}
}
