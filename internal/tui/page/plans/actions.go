package plans

import (
	"slices"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

const (
	actOpen  = "plans.open"
	actNext  = "plans.next"
	actRun   = "plans.run"
	actAgain = "plans.again"
	actCopy  = "plans.copy"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	open, next, run, again := "no plan is selected", "no plan is ready", "no plan is selected", "no plan is selected"
	var cli []string
	if i, ok := p.at(); ok {
		it := p.each[i]
		cli, open, run, again = it.want.CLI, "", "it was not begun", ""
		made := it.made()
		switch {
		case it.plan.Loading():
			open, again = "it is being worked out", "it is being worked out"
		case made == nil || it.plan.Err() != nil:
			open = "there is no plan"
		}
		if made != nil {
			if _, begun := p.run(made); begun {
				run, again = "", "it was begun: o shows its run"
			}
		}
	}
	if _, ok := p.next(s); ok {
		next = ""
	}
	return append([]screen.Action{
		{ID: actOpen, Title: "open the plan: all of it, and run it there", Short: "open", Key: screen.Keys("enter"), Off: open, CLI: cli},
		{ID: actNext, Title: "open the next plan that can be run", Short: "next", Key: screen.Keys("n"), Off: next},
		{ID: actRun, Title: "show the run of the plan", Short: "its run", Key: screen.Keys("o"), Off: run},
		{ID: actAgain, Title: "make the selected plan again", Short: "plan again", Key: screen.Keys("r"), Off: again},
		{ID: actCopy, Title: "copy the command line", Short: "copy CLI", Key: screen.Keys("y"), Off: missing(cli)},
	}, screen.Moves()...)
}

func missing(cli []string) string {
	if cli == nil {
		return "no plan is selected"
	}
	return ""
}

// next is the next plan after the selected one that can be run.
func (p Page) next(s screen.Scene) (int, bool) {
	at, ok := p.at()
	if !ok {
		at = 0
	}
	for n := range p.each {
		if i := (at + n) % len(p.each); p.ready(p.each[i], s.Now) {
			return i, true
		}
	}
	return 0, false
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, p.listHeight(s)); ok {
		p.table = p.table.Move(step)
		return p, screen.Out{}
	}
	i, ok := p.at()
	if id == actNext {
		if i, ok = p.next(s); ok {
			p.table = p.table.Select(p.each[i].key())
		}
	}
	if !ok {
		return p, screen.Out{}
	}
	it := p.each[i]
	switch id {
	case actOpen, actNext:
		want := it.want.OpenPlan
		want.Made = it.made()
		return p, screen.Say(want)
	case actRun:
		r, _ := p.run(it.made())
		return p, screen.Say(screen.OpenRun{ID: r.ID})
	case actAgain:
		var cmd tea.Cmd
		p.each = slices.Clone(p.each)
		p.each[i].left = false
		p.each[i].plan, cmd = it.plan.Start(s.Now)
		return p.sync(s), screen.Run(cmd)
	case actCopy:
		return p, screen.Say(screen.Copy{What: "command line", Text: text.Shell(it.want.CLI)})
	}
	return p, screen.Out{}
}
