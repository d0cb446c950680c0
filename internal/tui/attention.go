package tui

import (
	"context"
	"fmt"
	"maps"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"dbops/internal/app"
	"dbops/internal/state"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/plan"
	"dbops/internal/tui/page/runs"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// attention is what the program knows of runs and approvals wherever the person is. It is a value.
type attention struct {
	began   time.Time
	looking bool
	known   bool // there was an answer
	failed  bool // the last look did
	seen    app.Attention
	told    map[string]bool // the events that wait, each told once
	asked   map[string]bool // the approvals that this person has asked for, and that have no answer yet
}

// with is a after the person has asked for an approval.
func (a attention) with(approval string) attention {
	a.asked = maps.Clone(a.asked)
	if a.asked == nil {
		a.asked = map[string]bool{}
	}
	a.asked[approval] = true
	return a
}

// answered are the answers to what the person has asked for; what has one is not waited for any more.
func (a attention) answered(found []state.Approval) (next attention, texts []string) {
	for _, w := range found {
		if !a.asked[w.ID] || w.State == state.Requested {
			continue
		}
		a.asked = maps.Clone(a.asked)
		delete(a.asked, w.ID)
		what := w.Kind + " of " + overview.Key(w.Environment, w.Instance)
		switch w.State {
		case state.Approved:
			texts = append(texts, fmt.Sprintf("approval %s is given by %s: %s can be run", w.ID, plan.By(w), what))
		case state.Refused:
			texts = append(texts, fmt.Sprintf("approval %s of %s is refused by %s", w.ID, what, plan.By(w)))
		case state.Requested, state.Used: // it ran: that is told of the run
		}
	}
	return a, texts
}

// lookedMsg is what was found.
type lookedMsg struct {
	found app.Attention
	err   error
}

// watch asks what waits, if it is time.
func (m model) watch() (model, tea.Cmd) {
	if m.attention.looking || !m.attention.began.IsZero() && m.now.Sub(m.attention.began) < m.opts.RefreshEvery {
		return m, nil
	}
	m.attention.looking, m.attention.began = true, m.now
	c := m.core
	return m, m.pool.Do(func(ctx context.Context) tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, reading.Limit)
		defer cancel()
		found, err := c.Attention(ctx)
		return lookedMsg{found, err}
	})
}

// looked tells what waits since the last look. What waited before the first is not told: the tabs count it.
func (m model) looked(msg lookedMsg) (model, tea.Cmd) {
	a := m.attention
	a.looking, a.failed = false, msg.err != nil
	if msg.err != nil {
		m.attention = a
		return m, nil
	}
	events, texts := waits(msg.found)
	fresh := map[string]bool{}
	var said []string
	own := a.asked
	a, said = a.answered(msg.found.Approvals)
	for i, e := range events {
		if a.known && !a.told[e] && !own[e] {
			said = append(said, texts[i])
		}
		fresh[e] = true
	}
	a.known, a.seen, a.told = true, msg.found, fresh
	m.attention = a
	for _, t := range said {
		m.notes = m.notes.add(m.now, t, nil)
	}
	if len(said) == 0 {
		return m, nil
	}
	call := said[0]
	if n := len(said); n > 1 {
		call += fmt.Sprintf(", and %d more", n-1)
	}
	return m.notify(screen.Notify{Text: call})
}

// waits are the events for which a person is wanted, with a name each that the same event keeps.
func waits(a app.Attention) (events, texts []string) {
	add := func(event, text string) { events, texts = append(events, event), append(texts, text) }
	for _, r := range a.Runs {
		if r.State == state.Parked || r.State == state.Gate {
			add(r.ID+" "+string(r.State)+" "+r.Step, fmt.Sprintf("run %s waits for a person (%s): %s", r.ID, r.State, cutTitle(r.Title)))
		}
	}
	for _, w := range a.Approvals {
		if w.State == state.Requested && !w.Expired {
			add(w.ID, fmt.Sprintf("approval %s is asked for by %s: %s of %s", w.ID, w.Requester, w.Kind, overview.Key(w.Environment, w.Instance)))
		}
	}
	return events, texts
}

func cutTitle(s string) string { return text.Cut(text.Clean(s), 60, "...") }

// active counts the runs that have not ended, and the approvals that wait.
func (a attention) active() (running, waiting int) {
	for _, r := range a.seen.Runs {
		if !r.State.Ended() {
			running++
		}
	}
	for _, w := range a.seen.Approvals {
		if w.State == state.Requested && !w.Expired {
			waiting++
		}
	}
	return running, waiting
}

// badge is a count for a tab; with a question mark when the last look failed.
func (a attention) badge(n int) string {
	switch {
	case a.failed && a.known:
		return fmt.Sprintf("%d?", n)
	case a.failed:
		return "?"
	case n == 0:
		return ""
	}
	return fmt.Sprint(n)
}

// urgent tells that a run waits for a person.
func (a attention) urgent() bool {
	for _, r := range a.seen.Runs {
		if runs.Waits(r) {
			return true
		}
	}
	return false
}

// notify rings the bell, and has terminals that can show a notification (OSC 9).
func (m model) notify(n screen.Notify) (model, tea.Cmd) {
	if m.opts.NoBell || m.opts.Lines != nil {
		return m, nil
	}
	return m, tea.Raw("\a" + ansi.Notify("dbops: "+text.Clean(n.Text)))
}
