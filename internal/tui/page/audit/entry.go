package audit

import (
	"encoding/json"
	"fmt"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/state/audit"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Entry is the page of one entry. It is a value, and reads nothing: an entry does not change.
type Entry struct {
	scope  work.Scope
	e      audit.Entry
	scroll component.Scroll
}

// NewEntry returns the page of an entry.
func NewEntry(pool *work.Pool, e audit.Entry) Entry { return Entry{scope: pool.Scope(), e: e} }

// ID implements [screen.Page].
func (p Entry) ID() work.ID { return p.scope.ID }

// Close implements [screen.Page].
func (p Entry) Close() { p.scope.Close() }

// Captures implements [screen.Page].
func (p Entry) Captures() bool { return false }

// Init implements [screen.Page].
func (p Entry) Init(screen.Scene) (screen.Page, screen.Out) { return p, screen.Out{} }

// Update implements [screen.Page].
func (p Entry) Update(tea.Msg, screen.Scene) (screen.Page, screen.Out) { return p, screen.Out{} }

// Header implements [screen.Page].
func (p Entry) Header(s screen.Scene) screen.Header {
	h := screen.Header{Title: []string{"audit", fmt.Sprintf("entry %d", p.e.Seq)}, Cursor: -1, Note: action(p.e)}
	if at, ok := p.target(s); ok {
		h.Environment, h.Title = at.Environment, append([]string{at.Name}, h.Title...)
	}
	return h
}

// CLI implements [screen.Page].
func (p Entry) CLI(screen.Scene) []string {
	cli := []string{"dbops", "audit", "list"}
	if p.e.Run != "" {
		cli = append(cli, "--run", p.e.Run)
	}
	return append(cli, "-o", "json")
}

// View implements [screen.Page].
func (p Entry) View(s screen.Scene) string {
	return p.scroll.View(s.Theme, p.lines(s), s.Area.W, s.Area.H)
}

func (p Entry) lines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	about(d, p.e)
	return d.Lines()
}

func (p Entry) target(s screen.Scene) (app.Instance, bool) {
	for _, i := range s.Instances {
		if overview.Key(i.Environment, i.Name) == p.e.Target {
			return i, true
		}
	}
	return app.Instance{}, false
}

const (
	actRun    = "entry.run"
	actTarget = "entry.target"
	actCopy   = "entry.copy"
)

// Actions implements [screen.Page].
func (p Entry) Actions(s screen.Scene) []screen.Action {
	noRun, noTarget := "", ""
	if p.e.Run == "" {
		noRun = "it belongs to no run"
	}
	if _, ok := p.target(s); !ok {
		noTarget = "its target is not configured here"
	}
	return append([]screen.Action{
		{ID: actRun, Title: "open its run", Short: "its run", Key: screen.Keys("enter"), Off: noRun, CLI: []string{"dbops", "runs", "show", p.e.Run}},
		{ID: actTarget, Title: "go to its instance", Short: "instance", Key: screen.Keys("i"), Off: noTarget},
		{ID: actCopy, Title: "copy the entry as JSON", Short: "copy JSON", Key: screen.Keys("y")},
	}, screen.Moves()...)
}

// Do implements [screen.Page].
func (p Entry) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, s.Area.H); ok {
		p.scroll = p.scroll.By(step, len(p.lines(s)), s.Area.H)
		return p, screen.Out{}
	}
	switch id {
	case actRun:
		return p, screen.Say(screen.OpenRun{ID: p.e.Run})
	case actTarget:
		at, _ := p.target(s)
		return p, screen.Say(screen.OpenTab{Instance: at, Tab: "Overview"})
	case actCopy:
		b, err := json.Marshal(p.e)
		if err != nil {
			return p, screen.Say(screen.Notice{Text: "nothing was copied", Err: err})
		}
		return p, screen.Say(screen.Copy{What: "entry", Text: string(b)})
	}
	return p, screen.Out{}
}
