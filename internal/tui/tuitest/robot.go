// Package tuitest drives a terminal UI's model in tests, without a terminal.
//
// A [Robot] presses keys, runs the commands that follow as a program would, and looks at the frame; inside a synctest bubble
// time passes only when the test says so. [AssertFits] guards what golden files cannot show: a line wider than the screen, a
// frame of another height. For the real binary in a real terminal see package console below this one.
package tuitest

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"dbops/internal/tui/screen"
)

// Robot is a person at a model. It must be used inside [synctest.Test].
type Robot struct {
	t    testing.TB
	m    tea.Model
	w, h int

	msgs chan tea.Msg

	// Clipboard is what was copied last.
	Clipboard string
	// Raw is everything that was written to the terminal past the frame.
	Raw string
	// Quit tells that the model asked to end.
	Quit bool
}

// NewRobot starts m on a screen of w x h cells and lets it settle.
func NewRobot(t testing.TB, m tea.Model, w, h int) *Robot {
	t.Helper()
	r := &Robot{t: t, m: m, msgs: make(chan tea.Msg, 4096)}
	r.View() // a program draws before it knows the size
	r.run(m.Init())
	r.Resize(w, h)
	return r
}

// Send gives the model a message and lets it settle.
func (r *Robot) Send(msg tea.Msg) {
	r.t.Helper()
	r.update(msg)
	r.Settle()
}

func (r *Robot) update(msg tea.Msg) {
	var cmd tea.Cmd
	r.m, cmd = r.m.Update(msg)
	r.run(cmd)
}

// run starts a command in a goroutine of its own, as a program does.
func (r *Robot) run(cmd tea.Cmd) {
	if cmd != nil {
		go func() { r.msgs <- cmd() }()
	}
}

// Settle takes answers until every command has answered or waits for time to pass.
func (r *Robot) Settle() {
	r.t.Helper()
	for n := 0; ; n++ {
		synctest.Wait()
		select {
		case msg := <-r.msgs:
			r.take(msg)
		default:
			return
		}
		if n > 100_000 {
			r.t.Fatal("the model does not settle")
		}
	}
}

func (r *Robot) take(msg tea.Msg) {
	switch msg := msg.(type) {
	case nil:
	case tea.BatchMsg:
		for _, c := range msg {
			r.run(c)
		}
	case tea.QuitMsg:
		r.Quit = true
	case tea.RawMsg:
		r.Raw += fmt.Sprint(msg.Msg)
	default:
		if fmt.Sprintf("%T", msg) == "tea.setClipboardMsg" { // bubbletea keeps the type to itself
			r.Clipboard = fmt.Sprint(msg)
		}
		r.update(msg)
	}
}

// Pass lets time pass.
func (r *Robot) Pass(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-time.NewTimer(min(100*time.Millisecond, time.Until(end))).C
		r.Settle()
	}
}

// Resize changes the size of the screen.
func (r *Robot) Resize(w, h int) {
	r.t.Helper()
	r.w, r.h = w, h
	r.Send(tea.WindowSizeMsg{Width: w, Height: h})
}

// Press presses keys by name: "j", "enter", "ctrl+c". All arrive before any command has answered, as from a fast typist.
func (r *Robot) Press(keys ...string) {
	r.t.Helper()
	for _, k := range keys {
		r.update(Key(k))
	}
	r.Settle()
}

// Type presses the keys of a text.
func (r *Robot) Type(text string) {
	r.t.Helper()
	for _, c := range text {
		r.Press(string(c))
	}
}

// Model is the model as it is.
func (r *Robot) Model() tea.Model { return r.m }

// View is the view.
func (r *Robot) View() tea.View { return r.m.View() }

// Frame is what is on the screen, with styles. It fails the test unless it fits.
func (r *Robot) Frame() string {
	r.t.Helper()
	frame := r.m.View().Content
	AssertFits(r.t, frame, r.w, r.h)
	return frame
}

// Screen is what is on the screen, without styles.
func (r *Robot) Screen() string {
	r.t.Helper()
	return ansi.Strip(r.Frame())
}

// Want fails the test unless every text is on the screen.
func (r *Robot) Want(texts ...string) {
	r.t.Helper()
	screen := r.Screen()
	for _, s := range texts {
		if !strings.Contains(screen, s) {
			r.t.Fatalf("no %q on the screen:\n%s", s, screen)
		}
	}
}

// WantNot fails the test if one of the texts is on the screen.
func (r *Robot) WantNot(texts ...string) {
	r.t.Helper()
	screen := r.Screen()
	for _, s := range texts {
		if strings.Contains(screen, s) {
			r.t.Fatalf("%q is on the screen:\n%s", s, screen)
		}
	}
}

// Line is the first line of the screen that holds text.
func (r *Robot) Line(text string) string {
	r.t.Helper()
	for l := range strings.SplitSeq(r.Screen(), "\n") {
		if strings.Contains(l, text) {
			return l
		}
	}
	r.t.Fatalf("no line with %q on the screen:\n%s", text, r.Screen())
	return ""
}

// Key is the message that a terminal sends for a key.
func Key(name string) tea.KeyPressMsg {
	return screen.KeyNamed(name)
}

// AssertFits fails the test unless frame has exactly h lines of at most w cells, and no control characters but those of styles.
func AssertFits(t testing.TB, frame string, w, h int) {
	t.Helper()
	if got := lipgloss.Height(frame); got != h {
		t.Errorf("the frame has %d lines, the screen has %d:\n%s", got, h, ansi.Strip(frame))
	}
	for i, l := range strings.Split(frame, "\n") {
		if got := ansi.StringWidth(l); got > w {
			t.Errorf("line %d has %d cells, the screen has %d: %q", i+1, got, w, ansi.Strip(l))
		}
		for _, c := range ansi.Strip(l) {
			if c < 0x20 || c >= 0x7f && c < 0xa0 {
				t.Errorf("line %d holds the control character %U: %q", i+1, c, ansi.Strip(l))
			}
		}
	}
}
