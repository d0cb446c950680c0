package upgrade

import (
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/upgrade"
)

// running is the stage in which the new instance is made and filled, as far as the gate.
func (p Page) running(d, side *component.Doc, st stands, s screen.Scene) {
	w := p.chosen()
	if st.last == nil {
		p.chosenLine(d, w)
		switch {
		case w.way.own():
			d.Fact(theme.Text, "does", "it looks, makes a backup or the copy, and waits at its gate")
		case w.way == catchUp:
			d.Fact(theme.Text, "does", "the new instance is made and filled, and follows; then it waits at its gate")
		default:
			d.Fact(theme.Text, "does", "the new instance is made, with its roles and empty databases; then it waits at its gate, and rows are copied behind that")
		}
		if w.unattended {
			d.Mark(theme.Warn, "without the gate it goes on at once, and clients are shut out")
		} else {
			d.Fact(theme.Text, "clients", "notice nothing before the gate is passed")
		}
		switch f := rehearsed(st); {
		case f == nil:
			d.Mark(theme.Warn, "it was not rehearsed: how long clients will be shut out is not known")
		case len(f.Failures) > 0:
			d.Mark(theme.Danger, "the rehearsal failed: "+f.Failures[0].String())
		case f.Forecast != nil:
			d.Fact(theme.Strong, "shut out", f.Forecast.Low.String()+" to "+f.Forecast.High.String()+", by the rehearsal")
		}
		stop(d, "Nothing was changed.", "")
		later(side, p.cliRun(w), p.Sheet.CLI([]string{"upgrade", "cutover"}))
		return
	}
	runLine(d, st.last.Run, s)
	if st.last.Run.State == state.Failed {
		stop(d, "It was given up: what it had made by then stays.", p.rollbackCLI()+", as far as there is something to go back from.")
		return
	}
	stop(d, "It goes on without this terminal, as far as its gate, and clients notice nothing.", "on its page (enter) undo, or "+p.rollbackCLI()+": what it made is removed.")
}

// rehearsed is the report of the rehearsal; nil without one.
func rehearsed(st stands) *upgrade.Report {
	if st.rehearsal == nil {
		return nil
	}
	return st.rehearsal.Report
}

func (p Page) rollbackCLI() string { return text.Shell(p.Sheet.CLI([]string{"upgrade", "rollback"})) }

// cutting is the stage in which clients are shut out and switched.
func (p Page) cutting(d *component.Doc, st stands, s screen.Scene) {
	if st.last == nil {
		d.Fact(theme.Text, "does", "writers are kept out, the rest is brought and compared, clients are switched; docs/upgrade.md says what clients see")
		stop(d, "Nothing was changed.", "")
		return
	}
	r := st.last.Report
	runLine(d, st.last.Run, s)
	switch {
	case !r.ShutOut.IsZero():
		d.Mark(theme.Warn, "clients are shut out for "+s.Now.Sub(r.ShutOut).Truncate(time.Second).String())
		d.Add(theme.Strong, 2, "its page (enter) counts the seconds and shows each table")
	case st.last.Plan != nil:
		d.Fact(theme.Strong, "shut out", strings.TrimSuffix(st.last.Plan.Downtime.Expected+": "+st.last.Plan.Downtime.Text, ": "))
	}
	if r.Clients != "" {
		d.Fact(theme.Text, "clients", "are "+r.Clients)
	}
	if r.Next != "" && st.last.Run.Hint == "" && !st.last.Run.Alive {
		d.Fact(theme.Text, "next", r.Next)
	}
	switch {
	case st.here > cutover:
		stop(d, "The cut-over is over.", p.rollbackCLI())
	case st.last.Run.State == state.Gate:
		leave := "Clients notice nothing while it waits at the gate."
		if w := begun(st.last); w.way == catchUp {
			leave += " A slot on the old instance keeps its log meanwhile: do not let it wait for days."
		}
		stop(d, leave, "undo on its page (enter), or "+p.rollbackCLI()+": what it made is removed.")
	default:
		stop(d, "It goes on without this terminal. Do not leave it alone: clients are shut out until it is through, or is taken back.", "cancel its step on its page (enter), then "+p.rollbackCLI()+": the old instance lets them in again.")
	}
}

// observing is the stage after the switch: who is logged in where, and whether the way back is open.
func (p Page) observing(d, side *component.Doc, st stands, s screen.Scene) {
	if st.last == nil {
		d.Fact(theme.Text, "does", "it is watched who logs in where; the old instance stays as the way back")
		stop(d, "Nothing was changed.", "")
		return
	}
	r := st.last.Report
	runLine(d, st.last.Run, s)
	if r.Downtime != nil {
		d.Fact(theme.Text, "shut out", r.Downtime.Took.String()+", until "+text.Stamp(r.Downtime.To))
		d.Fact(theme.Strong, "clients", "are on "+r.Target.Name+" for "+text.Age(s.Now.Sub(r.Downtime.To)))
	}
	if r.Caution != "" {
		d.Mark(theme.Warn, r.Caution)
	}
	if w := st.last.Watched; w != nil {
		d.Heading("who was logged in where, " + text.Age(s.Now.Sub(w.At)) + " ago")
		list(d, "on "+r.Target.Name, w.Sessions, theme.Text)
		list(d, "on "+r.Source.Name, w.Left, theme.Warn)
		if len(w.Lag) > 0 {
			list(d, r.Source.Name+" is behind by", w.Lag, theme.Text)
		}
	}
	if st.last.Run.Kind == upgrade.InPlaceKind {
		stop(d, "The upgrade is over: there is nothing to clean up.", r.Back)
		return
	}
	p.wayBack(side, st, s)
	stop(d, "Clients are served by "+r.Target.Name+". "+r.Source.Name+" stays, closed to clients and paid for, until it is cleaned up.", p.rollbackCLI()+" (b), until then.")
}

func list(d *component.Doc, title string, all []string, role theme.Role) {
	if len(all) == 0 {
		d.Add(theme.Muted, 0, title+": nobody")
		return
	}
	mark := ""
	if role == theme.Warn {
		mark = theme.Mark(theme.Warn) + " "
	}
	d.Add(role, 0, mark+title)
	for _, one := range all {
		d.Add(theme.Text, 2, one)
	}
}

// wayBack is what a rollback would say, as it was looked at.
func (p Page) wayBack(d *component.Doc, st stands, s screen.Scene) {
	d.Heading("the way back")
	l := p.looks[p.goingBack(st).key]
	switch {
	case l.loading:
		d.Mark(theme.Pending, "looking whether it is open; nothing is changed")
	case l.err != nil:
		d.Mark(theme.Danger, "it could not be looked at: "+l.err.Error())
		if hint := overview.Hint(l.err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
	case l.plan == nil:
		if st.last.Report.Back != "" {
			d.Add(theme.Text, 0, st.last.Report.Back)
		}
		d.Add(theme.Muted, 0, "v looks whether it is open now, and what would be lost")
	default:
		d.Add(theme.Muted, 0, text.Age(s.Now.Sub(l.at))+" ago:")
		for _, f := range l.plan.Findings {
			role := map[op.Severity]theme.Role{op.Block: theme.Danger, op.Warn: theme.Warn}[f.Severity]
			d.Mark(role, string(f.Severity)+"  "+f.Text)
			if f.Evidence != "" {
				d.Add(theme.Muted, 4, f.Evidence)
			}
			if f.Remedy != "" {
				d.Add(theme.Text, 4, "remedy: "+f.Remedy)
			}
		}
		if len(l.plan.Blocked()) == 0 {
			d.Add(theme.OK, 0, "ok  it is open")
		}
		for _, n := range l.plan.Notes {
			d.Add(theme.Text, 0, "- "+n)
		}
	}
}

// ending is the stage in which the upgrade is taken back or its way back given up.
func (p Page) ending(d, side *component.Doc, st stands, s screen.Scene) {
	if st.back != nil {
		d.Add(theme.Strong, 0, st.back.Run.Title)
		runLine(d, st.back.Run, s)
		d.Blank()
	} else if st.last != nil && st.last.Run.State == state.Undoing {
		runLine(d, st.last.Run, s)
		d.Blank()
	}
	d.Fact(theme.Text, "roll back", "b  clients return to the old instance; with a catch-up nothing that was written is lost, else the plan says what would be")
	d.Fact(theme.Text, "clean up", "c  the way back is given up; the old instance stays, or is removed with it")
	if st.last == nil {
		stop(d, "Nothing was changed.", "")
		return
	}
	if st.last.Run.State.Ended() && (st.back == nil || st.back.Run.State.Ended()) && st.last.Run.Kind != upgrade.InPlaceKind {
		p.wayBack(side, st, s)
	}
	leave := "Both instances stay, and both are paid for. While the old one follows, the new one keeps its log for it: do not stop the old one before the clean-up."
	if st.back != nil && !st.back.Run.State.Ended() {
		leave = "It goes on without this terminal."
	}
	stop(d, leave, "after the clean-up there is no way back.")
}
