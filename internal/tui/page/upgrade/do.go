package upgrade

import (
	"fmt"
	"slices"
	"strconv"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/upgrade"
)

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	u, _ := p.Value()
	st, w := standing(u), p.chosen()
	switch id {
	case actPrev, actNext:
		return p.turn(id == actNext), screen.Out{}
	case actHere:
		p.turned, p.doc.Top = false, 0
		return p, screen.Out{}
	case actOpen:
		if p.shown() == choose {
			p.want, p.picked = w, true
			return p.turn(true), screen.Out{}
		}
		return p, screen.Say(screen.OpenRun{ID: about(st, p.shown())})
	case actMajor:
		return p, screen.Say(screen.Show{Dialog: p.askMajor(w)})
	case actOptions:
		return p, screen.Say(screen.Show{Dialog: p.askOptions(w)})
	case actWeigh:
		return p.ask(p.weighed(w))
	case actBack:
		return p.ask([]asked{p.goingBack(st)})
	case actRehearse:
		q := w.copies()
		q.Unattended = false
		return p, screen.Say(p.Plan(upgrade.RehearseKind, fmt.Sprintf("rehearse the upgrade of %s to PostgreSQL %d", p.At.Name, w.to), q, p.cliRehearse(w)))
	case actRun:
		return p, screen.Say(p.Plan(w.kind(), fmt.Sprintf("upgrade %s to PostgreSQL %d", p.At.Name, w.to), w.request(), p.cliRun(w)))
	case actCutover:
		return p, screen.Say(screen.OpenRun{ID: st.last.Run.ID})
	case actRollback:
		return p, p.rollback(st)
	case actCleanup:
		if st.last == nil { // nothing is to be asked: clients went back to the old instance
			return p, screen.Say(p.Plan(upgrade.CleanupKind, "remove "+st.left.Report.Remnant+", which a rollback left", upgrade.CleanupRequest{Run: st.left.Run.ID}, p.Sheet.CLI([]string{"upgrade", "cleanup"})))
		}
		return p, screen.Say(screen.Show{Dialog: p.askCleanup(st.last.Run.ID)})
	case actSave:
		return p, screen.Say(screen.Show{Dialog: p.askFile(p.reported())})
	}
	if step, ok := screen.Step(id, s.Area.H); ok {
		if single := id == screen.MoveUp || id == screen.MoveDown || id == screen.MoveTop || id == screen.MoveBottom; p.shown() == choose && single {
			return p.selected(w, step), screen.Out{}
		}
		p.doc = p.doc.By(step, len(p.body(s)), p.room(s))
		return p, screen.Out{}
	}
	if id == "tab.refresh" {
		next, out := p.read(s)
		return next, out
	}
	var out screen.Out
	p.Sheet, out, _ = p.DoCommon(id, s, p.body(s))
	return p, out
}

// shown is the stage on the screen: where it stands, unless somebody turned to another one.
func (p Page) shown() stage {
	if p.turned {
		return p.stage
	}
	u, _ := p.Value()
	return standing(u).here
}

func (p Page) turn(on bool) Page {
	to := int(p.shown()) - 1
	if on {
		to += 2
	}
	p.stage, p.turned, p.doc.Top = stage(min(max(to, 0), int(stages)-1)), true, 0
	return p
}

// selected chooses the way so many further down.
func (p Page) selected(w want, step int) Page {
	i := slices.IndexFunc(ways, func(one words) bool { return one.way == w.way })
	w.way = ways[min(max(i+step, 0), len(ways)-1)].way
	p.want, p.picked = w, true
	return p
}

// weighed are the ways that can be gone, the selected one first.
func (p Page) weighed(w want) (all []asked) {
	for _, one := range ways {
		if p.unfit(one.way) != "" {
			continue
		}
		other := w
		other.way = one.way
		a := asked{text.Shell(p.cliRun(other)), p.change(other)}
		if one.way == w.way {
			all = slices.Insert(all, 0, a)
		} else {
			all = append(all, a)
		}
	}
	return all
}

// goingBack is the rollback as it would be planned now.
func (p Page) goingBack(st stands) asked {
	return asked{text.Shell(p.Sheet.CLI([]string{"upgrade", "rollback"})), app.Change{
		Environment: p.At.Environment, Instance: p.At.Name, Kind: upgrade.RollbackKind, Request: upgrade.RollbackRequest{Run: st.last.Run.ID},
	}}
}

// rollback goes to the run that would be undone, or asks what a rollback of its own may cost.
func (p Page) rollback(st stands) screen.Out {
	if st.back != nil && st.back.Run.Kind == upgrade.RollbackKind && !st.back.Run.State.Ended() {
		return screen.Say(screen.OpenRun{ID: st.back.Run.ID}).And(screen.Notice{Text: "a rollback was begun: decide here how it goes on"})
	}
	if !st.last.Run.State.Ended() {
		word := "undo takes it back"
		if st.last.Report != nil && st.last.Report.Switched(true) {
			word = "clients were switched: abandon it here, then roll back on the Upgrade tab"
		}
		return screen.Say(screen.OpenRun{ID: st.last.Run.ID}).And(screen.Notice{Text: word})
	}
	id := st.last.Run.ID
	return screen.Say(screen.Show{Dialog: dialog.NewForm("Roll back "+p.At.Name, p.At.Environment, p.At.Protected, []dialog.Field{
		{Name: "lose", Label: "may writes be lost", Value: "no", Options: []string{"no", "yes"}, Help: "No: the plan is blocked where what was written since the switch cannot be carried back. The plan comes first, and changes nothing."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		cli := p.Sheet.CLI([]string{"upgrade", "rollback"})
		if a.Yes("lose") {
			cli = append(cli, "--lose-writes")
		}
		return p.Plan(upgrade.RollbackKind, "roll back "+p.At.Name, upgrade.RollbackRequest{Run: id, LoseWrites: a.Yes("lose")}, cli), ""
	})})
}

func (p Page) askCleanup(id string) screen.Dialog {
	return dialog.NewForm("Clean up after the upgrade of "+p.At.Name, p.At.Environment, p.At.Protected, []dialog.Field{
		{Name: "remove", Label: "remove the old instance", Value: "no", Options: []string{"no", "yes"}, Help: "No: it stays, closed, protected, and paid for. Yes: it is removed; on Cloud SQL with all its backups. The plan comes first, and changes nothing."},
	}, func(a dialog.Answers) (tea.Msg, string) {
		cli := p.Sheet.CLI([]string{"upgrade", "cleanup"})
		if a.Yes("remove") {
			cli = append(cli, "--remove-source")
		}
		return p.Plan(upgrade.CleanupKind, "clean up after the upgrade of "+p.At.Name, upgrade.CleanupRequest{Run: id, Remove: a.Yes("remove")}, cli), ""
	})
}

func (p Page) askFile(id string) screen.Dialog {
	to := p.ID()
	return dialog.NewForm("Save the report of "+id, p.At.Environment, p.At.Protected, []dialog.Field{
		{Name: "file", Label: "file", Value: "report-" + id + ".html", Need: true, Help: "Its name says the format: .html, .md or .json. A file of that name is replaced."},
	}, func(a dialog.Answers) (tea.Msg, string) { return saveMsg{to, id, a["file"]}, "" })
}

func (p Page) askMajor(w want) screen.Dialog {
	to, value, help := p.ID(), "", "As in 18. A newer one than the instance has."
	if w.to > 0 {
		value = strconv.Itoa(w.to)
	}
	field := dialog.Field{Name: "to", Label: "major", Value: value, Need: true, Help: help}
	if f, ok := p.facts.Value(); ok && len(f.offers) > 0 {
		for _, o := range f.offers {
			field.Options = append(field.Options, strconv.Itoa(o.Major))
		}
		field.Help = "What the cloud offers this instance."
	}
	return dialog.NewForm("Upgrade "+p.At.Name+" to", p.At.Environment, p.At.Protected, []dialog.Field{field}, func(a dialog.Answers) (tea.Msg, string) {
		n, err := strconv.Atoi(a["to"])
		if err != nil {
			return nil, "a major is a number, as in 18"
		}
		w.to = n
		return chosenMsg{to, w}, complaint(upgrade.Request{To: n}.Check())
	})
}
