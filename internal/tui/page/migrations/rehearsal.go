package migrations

import (
	"context"
	"errors"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/migrate"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/tui/work"
)

// patience bounds a rehearsal, which may have to start a server and make a whole schema.
const patience = 10 * time.Minute

// rehearsal runs what is pending on a copy of the schema. It is a value.
type rehearsal struct {
	of           string // the set
	gen          int
	sub          work.Scope
	ch           <-chan app.RehearsalNews
	running      bool
	began, ended time.Time
	told         []string
	all          []app.Rehearsed
	err          error
}

// openedMsg is the stream of a rehearsal.
type openedMsg struct {
	to  work.ID
	gen int
	ch  <-chan app.RehearsalNews
}

// Addressee implements [work.Addressed].
func (m openedMsg) Addressee() work.ID { return m.to }

// start begins one, in place of one that runs.
func (r rehearsal) start(c core.Core, scope work.Scope, one migrate.Ask, now time.Time) (rehearsal, tea.Cmd) {
	r.sub.Close()
	next := rehearsal{of: one.Set.String(), gen: r.gen + 1, sub: scope.Sub(patience), running: true, began: now}
	to, gen := scope.ID, next.gen
	return next, next.sub.Do(func(ctx context.Context) tea.Msg {
		return openedMsg{to, gen, c.FollowRehearsal(ctx, []migrate.Ask{one}, false, nil, app.RehearseOptions{Verify: true})}
	})
}

// cancel gives up the one that runs.
func (r rehearsal) cancel() rehearsal {
	if !r.running {
		return r
	}
	r.sub.Close()
	r.gen++
	r.running, r.err = false, errors.New("it was cancelled")
	return r
}

func (r rehearsal) update(msg tea.Msg, now time.Time) (rehearsal, tea.Cmd) {
	switch m := msg.(type) {
	case openedMsg:
		if m.gen == r.gen && r.running {
			r.ch = m.ch
			return r, work.Next(r.sub, r.gen, r.ch)
		}
	case work.Batch[app.RehearsalNews]:
		if m.Gen != r.gen || !r.running {
			return r, nil
		}
		for _, n := range m.Items {
			if n.Ended {
				r.running, r.all, r.err, r.ended = false, n.All, n.Err, now
			} else {
				r.told = append(r.told, n.Text)
			}
		}
		switch {
		case !r.running:
			r.sub.Close()
		case m.Closed:
			r.running, r.err = false, errors.New("no answer within "+patience.String())
		default:
			return r, work.Next(r.sub, r.gen, r.ch)
		}
	}
	return r, nil
}

func (r rehearsal) draw(d *component.Doc, s screen.Scene) {
	d.Heading("REHEARSAL OF " + r.of)
	failed(d, r.err)
	if r.running {
		d.Mark(theme.Pending, "on a scratch copy of the schema, for "+text.Age(s.Now.Sub(r.began))+"; nothing is changed on the instance; ctrl+c gives it up")
	}
	if r.running || r.err != nil {
		for _, l := range r.told {
			d.Add(theme.Muted, 2, l)
		}
	}
	for _, one := range r.all {
		switch {
		case one.Err != nil:
			failed(d, one.Err)
		case one.Report == nil && one.Files == 0:
			d.Add(theme.OK, 0, "nothing is pending")
		case one.Report == nil:
			d.Mark(theme.Warn, "not rehearsed: it cannot be run as it is")
		default:
			report(d, one.Report)
		}
	}
}

// report draws a rehearsal's report as the command line writes it.
func report(d *component.Doc, r *rehearse.Report) {
	var b strings.Builder
	if err := rehearse.WriteText(&b, r); err != nil {
		failed(d, err)
		return
	}
	for l := range strings.SplitSeq(strings.TrimRight(b.String(), "\n"), "\n") {
		indent := len(l) - len(strings.TrimLeft(l, " "))
		role := theme.Text
		switch {
		case strings.HasPrefix(l[indent:], "! "):
			role = theme.Warn
		case strings.HasPrefix(l[indent:], "x "):
			role = theme.Danger
		case indent > 2:
			role = theme.Muted
		}
		if strings.TrimSpace(l) == "" {
			d.Blank()
			continue
		}
		d.Add(role, indent, l[indent:])
	}
}
