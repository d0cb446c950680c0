// Package begin is how pages have a plan run: what the person is told beforehand, the yes or the name that is typed, and what became of it.
package begin

import (
	"context"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/op"
	"dbops/internal/tui/core"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/work"
)

// Yes is the person's.
type Yes struct {
	To      work.ID
	Confirm string // the instance's name as it was typed
}

// Addressee implements [work.Addressed].
func (m Yes) Addressee() work.ID { return m.To }

// Answer is what became of it.
type Answer struct {
	To    work.ID
	Begun app.Begun
	Err   error
}

// Addressee implements [work.Addressed].
func (m Answer) Addressee() work.ID { return m.To }

// Downtime is what a plan says of it, in a line.
func Downtime(p *op.Plan) string {
	return strings.TrimSuffix(strings.TrimSuffix(p.Downtime.Expected+": "+p.Downtime.Text, ": "), ".")
}

// Ask tells what running a plan means, and asks for the yes, or in a protected environment for the name. others is what it means for those
// who have to approve it; empty for nothing.
func Ask(to work.ID, p *op.Plan, cli []string, others string) screen.Dialog {
	const title = "Run it"
	body := []string{p.Title + ".", "Downtime: " + Downtime(p) + "."}
	if n := len(p.Findings); n > 0 {
		body = append(body, text.Count(n, "finding")+" above: read them first.")
	}
	if p.Back != "" {
		body = append(body, "The way back: "+p.Back+".")
	}
	if others != "" {
		body = append(body, others)
	}
	if p.Protected {
		return dialog.NewTyped(title, p.Environment, p.Instance, body, cli, Yes{to, p.Instance})
	}
	return dialog.Confirm{
		Title: title, Environment: p.Environment, Alarm: p.Downtime.Expected != "none", Body: body, CLI: cli, Yes: "run it", No: "leave it", Then: Yes{to, ""},
	}
}

// Run submits the plan. It does not end with the page: what was said yes to is done.
func Run(pool *work.Pool, c core.Changes, p *op.Plan, m Yes) tea.Cmd {
	return pool.Do(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, 2*reading.Limit)
		defer cancel()
		b, err := c.Begin(ctx, p, m.Confirm)
		return Answer{m.To, b, err}
	})
}

// Said is out with what the person is told of it, asked where others are asked first, and where it leads.
func (m Answer) Said(out screen.Out, asked string) screen.Out {
	run := m.Begun.Run
	switch {
	case m.Err != nil && run.ID != "": // it is there, and nobody works on it yet
		return out.And(screen.Notice{Text: "the run was not begun", Err: m.Err}).And(screen.OpenRun{ID: run.ID})
	case m.Err != nil:
		return out.And(screen.Notice{Text: "nothing was run", Err: m.Err})
	case m.Begun.Approval != nil:
		return out.And(screen.Asked{Approval: m.Begun.Approval.ID}).And(screen.Notice{Text: asked})
	case m.Begun.Again && run.State.Ended():
		return out.And(screen.Notice{Text: "this plan was run already: nothing was done now"}).And(screen.OpenRun{ID: run.ID})
	}
	return out.And(screen.OpenRun{ID: run.ID})
}
