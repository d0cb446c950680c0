// Package lines is the terminal UI for the ear: for screen readers, and for terminals that cannot be drawn on.
//
// It shows nothing that moves. The pages are read out once, as sentences; lists are numbered; what a person types is a line: a number, a name, an
// action. It drives the same root model as the screen does, so that pages, actions, dialogs and their safety are the same: a page draws itself with
// a theme that is read out, and a dialog asks its questions one by one (see [dialog.Asker]).
package lines

import (
	"context"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/secret"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Width and Height are the size of a page that is read out: nothing is cut.
const (
	Width  = 4000
	Height = 2000
)

// DefaultPatience is how long a page may read before what is known so far is said.
const DefaultPatience = 10 * time.Second

// Program is what the root model would show.
type Program interface {
	Page() screen.Page
	Header() screen.Header
	Scene() screen.Scene
	Dialog() screen.Dialog      // on top; nil without one
	Messages() []dialog.Message // oldest first
	Sections() []screen.Action  // lead to the pages that belong to no environment
}

// Options say where lines come from and go to.
type Options struct {
	In        io.Reader
	Out       io.Writer
	Interrupt <-chan os.Signal        // ctrl+c; nil for none
	Look      func(tea.Model) Program // at the model
	Patience  time.Duration           // Defaults to [DefaultPatience].
	Echo      bool                    // write each line that was read: no terminal does
	Cells     func() int              // how wide the terminal is: what is longer goes on between two words; nil or 0: lines are left whole
}

// Write asks for a value to be written: what on a screen goes to the clipboard.
type Write struct {
	What   string
	Text   string
	Secret secret.Value
}

// Quit asks the model to end. It closes what is open before.
type Quit struct{}

// Leave is Quit without a question.
type Leave struct{}

// Run reads pages out and takes lines until the model quits or ctx ends. It returns the last state of the model. Commands that still run end
// with the model's pool, which the caller closes.
func Run(ctx context.Context, m tea.Model, o Options) tea.Model {
	if o.Patience <= 0 {
		o.Patience = DefaultPatience
	}
	h := &host{m: m, o: o, msgs: make(chan tea.Msg), done: make(chan struct{}), due: true}
	defer close(h.done)
	h.start(m.Init())
	h.update(tea.WindowSizeMsg{Width: Width, Height: Height + screen.Chrome})
	h.say("dbops, line by line. Say a number or a name to go on, a for what can be done, ? for help, q to quit.")
	h.loop(ctx)
	h.speakMessages()
	return h.m
}

// host is the loop between the model and the person.
type host struct {
	m    tea.Model
	o    Options
	msgs chan tea.Msg
	done chan struct{}
	quit bool

	at     place             // of what was read out last
	heard  string            // its words, without the numbers in them
	rows   []row             // what can be chosen in it
	read   []string          // its lines
	rest   []string          // those that have not been read yet
	note   string            // what the page notes of itself
	chosen string            // the key of the row that the person chose
	meant  map[string]string // what the actions would do then

	due     bool   // the page is to be read out
	whole   bool   // even if it is what was read before
	renew   bool   // what is on it was asked for anew
	partial bool   // parts were missing when it was read out
	hasty   *place // is not waited for any more
	late    *time.Timer

	told   screen.Told
	by     string        // the command line that was said for the last line
	menu   screen.Dialog // of actions of the page, which is the host's own; nil without one
	asked  bool          // the question of the dialog on top is
	last   dialog.Question
	said   dialog.Message // the last one
	prompt bool           // stands at the end of the line
}

// place tells pages apart.
type place struct {
	id  work.ID
	tab int
}

func (h *host) program() Program { return h.o.Look(h.m) }

// start runs a command beside the loop, as a program does.
func (h *host) start(cmd tea.Cmd) {
	if cmd == nil {
		return
	}
	go func() {
		msg := cmd()
		select {
		case h.msgs <- msg:
		case <-h.done:
		}
	}()
}

func (h *host) update(msg tea.Msg) {
	var cmd tea.Cmd
	h.m, cmd = h.m.Update(msg)
	h.start(cmd)
}

// take handles what a command came to.
func (h *host) take(msg tea.Msg) {
	switch msg := msg.(type) {
	case nil:
	case tea.BatchMsg:
		for _, cmd := range msg {
			h.start(cmd)
		}
	case tea.QuitMsg:
		h.quit = true
	case tea.RawMsg: // for terminals
	case Write:
		h.write(msg)
	default:
		h.update(msg)
	}
}

// typed is a line, or the end of all lines.
type typed struct {
	line string
	end  bool
}

func (h *host) loop(ctx context.Context) {
	input := make(chan typed)
	go read(h.o.In, input, h.done)
	for {
		h.speak()
		if h.quit {
			return
		}
		lines := input
		var late <-chan time.Time
		if h.waiting() { // what was typed ahead is meant for what comes
			lines = nil
			if h.late == nil {
				h.late = time.NewTimer(h.o.Patience)
			}
			late = h.late.C
		} else if h.late != nil {
			h.late.Stop()
			h.late = nil
		}
		select {
		case msg := <-h.msgs:
			h.take(msg)
		case t := <-lines:
			if t.end {
				h.update(Leave{})
				input = nil
				continue
			}
			h.line(t.line)
		case <-late:
			h.late = nil
			h.hurry()
			h.say("It is still being read after " + h.o.Patience.String() + ". This is what is known so far.")
		case <-h.o.Interrupt:
			h.interrupted()
		case <-ctx.Done():
			return
		}
	}
}

// loading tells that what the page is about is not there yet.
func (h *host) loading(p Program) bool {
	if s := p.Scene(); s.Instances == nil && s.LoadErr == nil {
		return true
	}
	f := p.Header().Fresh
	return f.Loading && (f.At.IsZero() || h.renew)
}

// waiting tells that the page is to be read out, and reads itself.
func (h *host) waiting() bool {
	p := h.program()
	return h.dialog(p) == nil && h.due && !h.hastens(p) && h.loading(p)
}

// hurry has the page read out as it is.
func (h *host) hurry() {
	now := placeOf(h.program())
	h.hasty = &now
}

func (h *host) hastens(p Program) bool { return h.hasty != nil && *h.hasty == placeOf(p) }

// interrupted is ctrl+c: it cancels what is asked or being read; where nothing is, it quits.
func (h *host) interrupted() {
	switch {
	case h.dialog(h.program()) != nil:
		h.cancel("cancelled")
	case h.waiting():
		h.update(screen.Cancel{})
		h.hurry()
	default:
		h.update(Leave{})
	}
}

// dialog is what is asked; nil for nothing.
func (h *host) dialog(p Program) screen.Dialog {
	if d := p.Dialog(); d != nil {
		return d
	}
	return h.menu
}

// cancel closes the dialog on top.
func (h *host) cancel(word string) {
	h.say(word)
	if h.program().Dialog() != nil {
		h.update(screen.KeyNamed("esc"))
	} else {
		h.menu = nil
	}
	h.asked, h.last = false, dialog.Question{}
}
