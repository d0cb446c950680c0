package sessions

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/live"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
)

// The ids of the page's actions.
const (
	actShow      = "session.show"
	actCancel    = "session.cancel"
	actTerminate = "session.terminate"
	actView      = "sessions.view"
	actSort      = "list.sort"
	actFilter    = "list.filter"
	actKeep      = "list.filter-keep"
	actClear     = "list.filter-clear"
	actBack      = "session.back"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.filter.Editing() {
		return []screen.Action{
			{ID: actKeep, Title: "keep the filter", Short: "keep", Key: screen.Keys("enter")},
			{ID: actClear, Title: "clear the filter", Short: "clear", Key: screen.Keys("esc")},
		}
	}
	one, ok := p.selected()
	none := ""
	if !ok {
		none = "no session is selected"
		if p.view == viewOne {
			none = "it has ended"
		}
	}
	cancel, terminate := unable(one, none)
	out := []screen.Action{
		{ID: actShow, Title: "show all of the selected session", Short: "show", Key: screen.Keys("enter"), CLI: p.Sheet.CLI([]string{"sessions", "list"}, pid(one)), Off: none},
		{ID: actCancel, Title: "cancel the statement that it runs: plan it", Short: "cancel", Key: screen.Keys("x"), CLI: p.cli(actCancel, one), Off: cancel},
		{ID: actTerminate, Title: "terminate the session, its transaction is rolled back: plan it", Short: "terminate", Key: screen.Keys("t"), CLI: p.cli(actTerminate, one), Off: terminate},
	}
	if p.view == viewOne {
		out[0] = screen.Action{ID: actBack, Title: "back to the list", Short: "list", Key: screen.Keys("esc")}
		return append(out, p.Common(s, p.CLI(s))...)
	}
	viewed := screen.Action{ID: actView, Title: "locks: who blocks whom", Short: "locks", Key: screen.Keys("l"), CLI: p.Sheet.CLI([]string{"sessions", "locks"})}
	if p.view == viewLocks {
		viewed.Title, viewed.Short, viewed.CLI = "all sessions", "sessions", p.Sheet.CLI([]string{"sessions", "list"})
	}
	sort, unfiltered := "", ""
	if p.view == viewLocks {
		sort = "who blocks most comes first"
	}
	if p.filter.Value() == "" {
		unfiltered = "there is no filter"
	}
	return append(append(
		out, viewed,
		screen.Action{ID: actFilter, Title: "filter: words that must be there, !word that must not", Short: "filter", Key: screen.Keys("/")},
		screen.Action{ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: unfiltered},
		screen.Action{ID: actSort, Title: "sort by " + p.order.next().String(), Short: "sort", Key: screen.Keys("s"), Off: sort},
	), p.Common(s, p.CLI(s))...)
}

// unable is why a session cannot be cancelled, and why not terminated. What else forbids it, the plan says.
func unable(s live.Session, none string) (cancel, terminate string) {
	switch {
	case none != "":
		return none, none
	case s.PID == live.Prepared:
		const why = "a prepared transaction has no process: ROLLBACK PREPARED ends it"
		return why, why
	case s.Hidden():
		const why = "the login may not see it: GRANT pg_monitor"
		return why, why
	case !s.Active():
		return "it runs no statement: t terminates it", ""
	}
	return "", ""
}

func (p Page) cli(kind string, s live.Session) []string {
	verb := "cancel"
	if kind == actTerminate {
		verb = "terminate"
	}
	return p.Sheet.CLI([]string{"sessions", verb}, pid(s))
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	one, _ := p.selected()
	switch id {
	case actShow:
		return p.open(one, s)
	case actBack:
		p.view = p.behind
		return p.read(s)
	case actCancel:
		ref := live.Ref{PID: one.PID, Started: one.Started, Asked: one.Asked}
		return p, p.signal(live.CancelKind, "cancel what session "+pid(one)+" runs", ref, p.cli(id, one))
	case actTerminate:
		return p, p.signal(live.TerminateKind, "terminate session "+pid(one), live.Ref{PID: one.PID, Started: one.Started}, p.cli(id, one))
	case actView:
		p.view = map[view]view{viewSessions: viewLocks, viewLocks: viewSessions}[p.view]
		return p, screen.Out{}
	case actSort:
		p.order = p.order.next()
		return p.fill(s), screen.Out{}
	case actFilter:
		next, cmd := p.filter.Edit()
		p.filter = next
		return p, screen.Run(cmd)
	case actClear:
		p.filter = p.filter.Clear()
		return p.refilter(), screen.Out{}
	case sheet.Refresh:
		return p.read(s)
	}
	return p.move(id, s)
}

func (p Page) move(id string, s screen.Scene) (screen.Page, screen.Out) {
	if p.view == viewOne {
		lines := p.oneLines(s)
		if step, ok := screen.Step(id, s.Area.H); ok {
			p.scroll = p.scroll.By(step, len(lines), s.Area.H)
			return p, screen.Out{}
		}
		next, out, _ := p.DoCommon(id, s, lines)
		p.Sheet = next
		return p, out
	}
	if t, ok := sheet.MoveIn(p.list(), id, s, len(p.above(s))+len(p.below(s))); ok {
		return p.with(t), screen.Out{}
	}
	if id == sheet.Copy {
		one, _ := p.selected()
		return p, screen.Say(screen.Copy{What: "statement of session " + pid(one), Text: one.Query})
	}
	return p, screen.Out{}
}

func (p Page) signal(kind, title string, ref live.Ref, cli []string) screen.Out {
	return screen.Say(p.Plan(kind, title, live.Request{Sessions: []live.Ref{ref}}, cli))
}

// open shows one session.
func (p Page) open(one live.Session, s screen.Scene) (screen.Page, screen.Out) {
	p.behind, p.view, p.one, p.scroll.Top = p.view, viewOne, one, 0
	env, name, number := p.At.Environment, p.At.Name, one.PID
	c := p.core
	p.detail = p.detail.Instead(func(ctx context.Context) (*live.Detail, error) { return c.LiveSession(ctx, env, name, number) })
	var cmd tea.Cmd
	p.detail, cmd = p.detail.Start(s.Now)
	p.began = s.Now
	return p, screen.Run(cmd)
}
