package dialog

import (
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/tuitest"
)

func scene() screen.Scene {
	return screen.Scene{Now: time.Unix(0, 0), Theme: theme.New(theme.Options{}), Area: screen.Area{W: 80, H: 20}}
}

// press sends keys to a dialog and collects what it says.
func press(d screen.Dialog, keys ...string) (screen.Dialog, []tea.Msg) {
	var said []tea.Msg
	for _, k := range keys {
		if d == nil {
			break
		}
		var out screen.Out
		d, out = d.Update(tuitest.Key(k), scene())
		said = append(said, out.Say...)
	}
	return d, said
}

type yes struct{}

func TestOnlyYConfirms(t *testing.T) {
	d := Confirm{Title: "Stop", Body: []string{"really"}, Yes: "stop it", No: "keep it", Then: yes{}, CLI: []string{"dbops", "x"}}
	for _, k := range []string{"enter", "space", "Y", "x", "t", "j", "ctrl+y", "tab"} {
		next, said := press(d, k)
		if next == nil {
			t.Errorf("%s closes it", k)
		}
		for _, msg := range said {
			if msg == (yes{}) {
				t.Errorf("%s confirms", k)
			}
		}
	}
	for _, k := range []string{"esc", "n", "q"} {
		if next, said := press(d, k); next != nil || len(said) != 0 {
			t.Errorf("%s does not just close it", k)
		}
	}
	if next, said := press(d, "y"); next != nil || len(said) != 1 || said[0] != (yes{}) {
		t.Errorf("y says %v", said)
	}
}

func items() []Item {
	return []Item{
		{Title: "open the gate", Key: "o", Then: "open", CLI: []string{"dbops", "open", "the gate"}},
		{Title: "close the gate", Key: "c", Then: "close", Off: "it is closed"},
		{Title: "go to prod", Key: "", Note: "PROTECTED", Then: "prod"},
	}
}

func TestAMenuIsChosenFromByKeyOrEnter(t *testing.T) {
	m := NewMenu("Actions", "prod", true, items())
	for _, c := range []struct {
		keys string
		want string
		open bool
	}{
		{"o", "open", false},
		{"enter", "open", false},
		{"c", "", true}, // it is off
		{"j enter", "", true},
		{"j j j j enter", "prod", false},
		{"j k enter", "open", false},
		{"esc", "", false},
		{"z", "", true},
	} {
		d, said := press(m, strings.Fields(c.keys)...)
		got := strings.Trim(fmt.Sprint(said), "[]")
		if got != c.want || (d != nil) != c.open {
			t.Errorf("%s: said %q, open %v", c.keys, got, d != nil)
		}
	}
	_, said := press(m, "Y")
	if c, ok := said[0].(screen.Copy); !ok || c.Text != "dbops open 'the gate'" {
		t.Errorf("Y says %+v", said)
	}
}

func TestThePaletteFindsWordsInAnyOrderAndTitlesFirst(t *testing.T) {
	for query, want := range map[string]string{
		"gate": "open the gate, close the gate", "gate open": "open the gate", "protected": "go to prod", "go": "go to prod",
		"CLOSE": "close the gate", "nothing": "", "": "open the gate, close the gate, go to prod",
	} {
		var d screen.Dialog = NewPalette("Command", items())
		for _, r := range query {
			key := string(r)
			if r == ' ' {
				d, _ = d.Update(tea.KeyPressMsg{Code: ' ', Text: " "}, scene())
				continue
			}
			d, _ = press(d, key)
		}
		var got []string
		for _, it := range d.(Menu).matching() {
			got = append(got, it.Title)
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%q finds %q, want %q", query, s, want)
		}
	}
	d, _ := press(NewPalette("Command", items()), "j", "q") // letters are typed
	if d == nil || d.(Menu).input.Value() != "jq" {
		t.Error("a letter does something else than being typed")
	}
}

func TestABoxFitsWhereverItIsPut(t *testing.T) {
	long := strings.Repeat("word ", 60)
	var many []screen.Action
	var history []Message
	for i := range 40 {
		many = append(many, screen.Action{ID: fmt.Sprint(i), Title: long, Key: screen.Keys(fmt.Sprint("key", i)), Off: long})
		history = append(history, Message{Text: long, Hint: long, Failure: i%2 == 0})
	}
	var choices []Item
	for i := range 40 {
		choices = append(choices, Item{Title: fmt.Sprint(i, long), Note: long, Off: long, Key: "ctrl+x"})
	}
	for name, d := range map[string]screen.Dialog{
		"confirm": Confirm{Title: long, Environment: "prod", Protected: true, Body: []string{long, long, long}, CLI: strings.Fields(long), Yes: "yes", No: "no"},
		"menu":    NewMenu(long, long, false, choices),
		"palette": NewPalette(long, choices),
		"help":    NewHelp(long, long, many),
		"history": NewHistory(history),
		"empty":   NewHistory(nil),
	} {
		for _, a := range []screen.Area{{W: 56, H: 12}, {W: 76, H: 21}, {W: 196, H: 57}} {
			s := scene()
			s.Area = a
			box, cur := d.View(s, a)
			if w, h := lipgloss.Size(box); w > a.W || h > a.H {
				t.Errorf("%s in %dx%d is %dx%d", name, a.W, a.H, w, h)
			}
			width := -1
			for l := range strings.SplitSeq(box, "\n") {
				if width < 0 {
					width = text.Width(l)
				}
				if text.Width(l) != width {
					t.Errorf("%s in %dx%d has a ragged side: %q", name, a.W, a.H, ansi.Strip(l))
				}
			}
			if cur != nil && (cur.X >= width || cur.Y >= lipgloss.Height(box)) {
				t.Errorf("%s: the cursor is outside, at %d %d", name, cur.X, cur.Y)
			}
			if !strings.Contains(ansi.Strip(box), "esc") {
				t.Errorf("%s in %dx%d does not say how to leave:\n%s", name, a.W, a.H, ansi.Strip(box))
			}
		}
	}
}
