package tui

import (
	"context"
	"io"
	"os"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/dialog"
	"dbops/internal/tui/lines"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// Lines are where the terminal UI is read out to, for screen readers and for terminals that cannot be drawn on. See package lines.
type Lines struct {
	In        io.Reader
	Out       io.Writer
	Interrupt <-chan os.Signal // ctrl+c; nil for none
	Echo      bool             // write each line that was read: no terminal does
	Cells     func() int       // how wide the terminal is, so that no word is broken at its edge; nil or 0: not known, or none
	Patience  time.Duration    // how long a page may read before what is known so far is said. Defaults to [lines.DefaultPatience].
}

func runLines(ctx context.Context, c Core, o Options) error {
	pool, keeper := work.New(ctx), sessions.NewKeeper()
	last := lines.Run(ctx, newModel(c, pool, keeper, o), lines.Options{
		In: o.Lines.In, Out: o.Lines.Out, Interrupt: o.Lines.Interrupt, Echo: o.Lines.Echo, Patience: o.Lines.Patience, Cells: o.Lines.Cells,
		Look: func(m tea.Model) lines.Program { return voice{m.(model)} },
	})
	m, _ := last.(model)
	return m.ended(ctx, nil)
}

// voice is the model as it is read out.
type voice struct{ model }

// Page implements [lines.Program].
func (v voice) Page() screen.Page { return v.top() }

// Header implements [lines.Program].
func (v voice) Header() screen.Header { return v.header() }

// Scene implements [lines.Program].
func (v voice) Scene() screen.Scene { return v.scene() }

// Dialog implements [lines.Program].
func (v voice) Dialog() screen.Dialog {
	if n := len(v.dialogs); n > 0 {
		return v.dialogs[n-1]
	}
	return nil
}

// Messages implements [lines.Program].
func (v voice) Messages() []dialog.Message { return v.notes.all }

// Sections implements [lines.Program].
func (v voice) Sections() (out []screen.Action) {
	for _, s := range sections {
		out = append(out, screen.Action{ID: actSection + s.name, Title: s.name, Group: screen.GroupMove, CLI: s.cli})
	}
	return out
}

// heard takes what only comes from who listens.
func (m model) heard(msg tea.Msg) (model, tea.Cmd) {
	switch msg := msg.(type) {
	case dialog.Answer:
		if len(m.dialogs) > 0 {
			return m.dialogUpdate(msg)
		}
	case screen.Cancel:
		return m.updatePage(len(m.stack)-1, msg)
	case screen.Same:
		m.notes = m.notes.add(m.now, lines.SameBy+text.Shell(msg.CLI), nil)
	case lines.Write:
		return m, func() tea.Msg { return msg }
	case lines.Quit:
		if m.leaving {
			return m.interrupt()
		}
		return m.askLeave()
	case lines.Leave:
		if m.leaving {
			return m.interrupt()
		}
		return m.leave()
	}
	return m, nil
}

// write has a value written in place of the clipboard, a secret only after a question.
func (m model) write(c screen.Copy) (model, tea.Cmd) {
	w := lines.Write{What: c.What, Text: c.Text, Secret: c.Secret}
	if c.Secret.IsZero() {
		return m.heard(w)
	}
	return m.show(dialog.Confirm{
		Title: "Write the " + c.What, Alarm: true,
		Body: []string{"A secret will stand in this terminal, and in whatever keeps what it shows."},
		Yes:  "write it here", No: "do not", Then: w,
	})
}
