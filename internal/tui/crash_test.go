package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/screen"
)

// bomb is a page with a bug.
type bomb struct {
	screen.Page
	view bool
}

func (b bomb) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	if _, ok := msg.(screen.Tick); ok && !b.view {
		panic("a bug in Update")
	}
	return b, screen.Out{}
}

func (b bomb) View(s screen.Scene) string {
	if b.view {
		panic("a bug in View")
	}
	return b.Page.View(s)
}

func TestAPanicOfAPageEndsTheProgramInOrderAndIsReported(t *testing.T) {
	for _, view := range []bool{false, true} {
		play(t, 80, 24, Options{StateDir: t.TempDir()}, nil, func(s *stage) {
			s.Send(screen.Notice{Text: "something happened before"})
			m := s.model()
			m = m.setPage(0, bomb{m.top(), view})
			var next tea.Model = m
			m.View()
			next, cmd := next.Update(screen.Tick{At: m.now})
			if cmd == nil {
				t.Fatal("the program goes on")
			}
			if _, ok := cmd().(tea.QuitMsg); !ok {
				t.Fatalf("view %v: the program does not quit", view)
			}
			err := crashed(m.pool.Crashed(), next.(model), m.opts)
			if fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), "panic: a bug in") || !strings.Contains(fault.HintOf(err), "crash-") {
				t.Errorf("%v (%s)", err, fault.HintOf(err))
			}
		})
	}
}
