package tui

import (
	"bytes"
	"context"
	"io"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// Terminal is one at the other end of a connection, such as an SSH session's.
type Terminal struct {
	In    io.Reader // whoever gives it ends what reads from it
	Out   io.Writer
	Size  Size
	Sizes <-chan Size // as they change; may be nil
}

// Size is how many cells a terminal has.
type Size struct{ W, H int }

func (t *Terminal) options(o Options, out *output) []tea.ProgramOption {
	return []tea.ProgramOption{
		tea.WithInput(t.In), tea.WithOutput(out), tea.WithWindowSize(t.Size.W, t.Size.H), tea.WithColorProfile(colorprofile.Env(o.Env)),
	}
}

// follow tells p of new sizes until ctx ends.
func (t *Terminal) follow(ctx context.Context, p *tea.Program) {
	for {
		select {
		case s, ok := <-t.Sizes:
			if !ok {
				return
			}
			p.Send(tea.WindowSizeMsg{Width: s.W, Height: s.H})
		case <-ctx.Done():
			return
		}
	}
}

// rawLines ends lines as a terminal in raw mode needs it: to Bubble Tea, what is no file of a terminal maps newlines itself.
type rawLines struct{ to io.Writer }

func (l rawLines) Write(p []byte) (int, error) {
	if _, err := l.to.Write(bytes.ReplaceAll(p, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}
