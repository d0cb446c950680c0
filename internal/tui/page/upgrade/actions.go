package upgrade

import (
	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/screen"
	"dbops/internal/upgrade"
)

const (
	actPrev     = "stage.previous"
	actNext     = "stage.next"
	actHere     = "stage.here"
	actOpen     = "upgrade.open"
	actMajor    = "upgrade.major"
	actOptions  = "upgrade.options"
	actWeigh    = "upgrade.weigh"
	actRehearse = "upgrade.rehearse"
	actRun      = "upgrade.run"
	actCutover  = "upgrade.cutover"
	actRollback = "upgrade.rollback"
	actCleanup  = "upgrade.cleanup"
	actSave     = "upgrade.save-report"
	actBack     = "upgrade.look-back"
)

// Actions implements [screen.Page]. Those of the stage that is shown come first, and are named in the row of keys.
func (p Page) Actions(s screen.Scene) []screen.Action {
	u, known := p.Value()
	st, w, shown := standing(u), p.chosen(), p.shown()
	unknown := ""
	if !known {
		unknown = "how the upgrade stands has not been read"
	}
	all := map[string]screen.Action{
		actOpen:     {Title: "open the run of this stage", Short: "open its run", Key: screen.Keys("enter"), Off: p.noRun(st), CLI: p.cliOpen(st)},
		actMajor:    {Title: "choose the major", Short: "major", Key: screen.Keys("m")},
		actOptions:  {Title: "options: name, what is compared, jobs, the way back, times, the gate", Short: "options", Key: screen.Keys("o")},
		actWeigh:    {Title: "look at each way: plan it, and show what it says here", Short: "look at each", Key: screen.Keys("v"), Off: p.noLook(w), CLI: append(p.cliRun(w), "--plan")},
		actRehearse: {Title: "rehearse: plan it", Short: "rehearse", Key: screen.Keys("e"), Off: first(unknown, p.noRehearsal(st, w)), CLI: p.cliRehearse(w)},
		actRun:      {Title: "upgrade: plan it", Short: "upgrade", Key: screen.Keys("u"), Off: first(unknown, p.noUpgrade(st, w)), CLI: p.cliRun(w)},
		actCutover:  {Title: "cut over: decide on the run's page", Short: "cut over", Key: screen.Keys("t"), Off: first(unknown, noCutover(st)), CLI: p.Sheet.CLI([]string{"upgrade", "cutover"})},
		actRollback: {Title: "roll back: plan it, or decide on the run's page", Short: "roll back", Key: screen.Keys("b"), Off: first(unknown, p.noRollback(st)), CLI: p.Sheet.CLI([]string{"upgrade", "rollback"})},
		actCleanup:  {Title: "clean up: give the way back up, or remove what a rollback left", Short: "clean up", Key: screen.Keys("c"), Off: first(unknown, noCleanup(st)), CLI: p.Sheet.CLI([]string{"upgrade", "cleanup"})},
		actSave:     {Title: "save the report as Markdown, HTML or JSON", Short: "save report", Key: screen.Keys("s"), Off: first(s.NoFiles(), p.noReport()), CLI: p.cliReport()},
		actBack:     {Title: "look whether the way back is open", Short: "look at the way back", Key: screen.Keys("v"), Off: first(unknown, p.noBack(st)), CLI: p.Sheet.CLI([]string{"upgrade", "rollback"}, "--plan")},
	}
	if shown == choose {
		all[actOpen] = screen.Action{Title: "go on with the way that is selected", Short: "go on", Key: screen.Keys("enter"), Off: p.unfit(w.way)}
	}
	var left []string // which is cleaned up where the next way is chosen
	if st.last == nil && st.left != nil {
		left = []string{actCleanup}
	}
	var out []screen.Action
	add := func(named bool, ids ...string) {
		for _, id := range ids {
			if a, ok := all[id]; ok {
				a.ID = id
				if !named {
					a.Short = ""
				}
				out = append(out, a)
				delete(all, id)
			}
		}
	}
	add(true, map[stage][]string{
		choose: append([]string{actOpen, actMajor, actWeigh, actOptions}, left...), rehearse: {actRehearse, actOpen, actOptions}, report: {actSave, actOpen, actRehearse},
		run: {actRun, actOpen, actOptions}, cutover: {actCutover, actOpen, actRollback}, observe: {actBack, actRollback, actOpen, actSave},
		end: {actRollback, actCleanup, actOpen, actSave},
	}[shown]...)
	if shown == choose { // v is one of two
		delete(all, actBack)
	} else if shown != observe && shown != end {
		delete(all, actWeigh)
	}
	back := ""
	if shown == st.here {
		back = "it is shown"
	}
	out = append(out,
		screen.Action{ID: actNext, Title: "next stage", Short: "stage", Key: screen.ShownAs(screen.Keys("right", "l"), "left/right right l"), Group: screen.GroupMove, Off: at(shown == stages-1, "this is the last")},
		screen.Action{ID: actPrev, Title: "previous stage", Key: screen.ShownAs(screen.Keys("left", "h"), "left h"), Group: screen.GroupMove, Off: at(shown == 0, "this is the first")},
		screen.Action{ID: actHere, Title: "the stage where it stands", Short: "where it stands", Key: screen.Keys("w"), Off: back},
	)
	add(false, actRehearse, actRun, actCutover, actRollback, actCleanup, actSave, actBack, actMajor, actWeigh, actOptions, actOpen)
	return append(out, p.Common(s, p.CLI(s))...)
}

func at(here bool, why string) string {
	if here {
		return why
	}
	return ""
}

func first(whys ...string) string {
	for _, w := range whys {
		if w != "" {
			return w
		}
	}
	return ""
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	if p.shown() == report {
		if cli := p.cliReport(); cli != nil {
			return cli[:4]
		}
	}
	return p.Sheet.CLI([]string{"upgrade", "status"})
}

// about is the run that a stage is about; empty if there is none.
func about(st stands, shown stage) string {
	switch shown {
	case rehearse, report:
		if st.rehearsal != nil {
			return st.rehearsal.Run.ID
		}
	case run, cutover, observe:
		if st.last != nil {
			return st.last.Run.ID
		}
	case end:
		if st.back != nil {
			return st.back.Run.ID
		}
		if st.last != nil {
			return st.last.Run.ID
		}
	case choose, stages:
	}
	return ""
}

func (p Page) noRun(st stands) string {
	return at(about(st, p.shown()) == "", "no run has begun that is about this stage")
}

func (p Page) cliOpen(st stands) []string {
	if id := about(st, p.shown()); id != "" {
		return []string{"dbops", "runs", "watch", id}
	}
	return nil
}

// reported is the run whose report is meant: of the rehearsal, and from the run on of that.
func (p Page) reported() string {
	u, _ := p.Value()
	st := standing(u)
	if p.shown() > report && st.last != nil {
		return st.last.Run.ID
	}
	if st.rehearsal != nil && st.rehearsal.Report != nil {
		return st.rehearsal.Run.ID
	}
	return ""
}

func (p Page) noReport() string {
	return at(p.reported() == "", "nothing was run that there is a report of")
}

func (p Page) cliReport() []string {
	if id := p.reported(); id != "" {
		return []string{"dbops", "upgrade", "report", id, "--out", "report-" + id + ".html"}
	}
	return nil
}

func (p Page) noLook(w want) string {
	switch {
	case w.to == 0:
		return "choose the major first (m)"
	case len(p.queue) > 0:
		return "it is being looked at"
	}
	return ""
}

// noWant is why nothing can be planned from what was chosen.
func (p Page) noWant(w want) string {
	if w.to == 0 {
		return "choose the major first (m)"
	}
	return p.unfit(w.way)
}

func (p Page) noRehearsal(st stands, w want) string {
	switch {
	case w.way.own():
		return "what the cloud does by itself is not rehearsed: restore a backup and upgrade that copy"
	case st.rehearsal != nil && !st.rehearsal.Run.State.Ended():
		return "a rehearsal is under way: open its run"
	}
	return first(p.noWant(w), at(st.last != nil && !st.last.Run.State.Ended(), "the upgrade is under way"))
}

func (p Page) noUpgrade(st stands, w want) string {
	switch {
	case st.last != nil && !st.last.Run.State.Ended():
		return "it is under way: open its run"
	case st.last != nil && st.last.Run.State == state.Done && st.last.Run.Kind == upgrade.RunKind:
		return "one was made, whose way back is open: clean up or roll back first"
	}
	return p.noWant(w)
}

func noCutover(st stands) string {
	if st.last == nil {
		return "no upgrade was begun"
	}
	return at(st.last.Run.State != state.Gate, "it does not wait at its gate")
}

func (p Page) noRollback(st stands) string {
	switch {
	case st.last == nil:
		return "there is no upgrade to go back from"
	case st.last.Run.Kind == upgrade.InPlaceKind && st.last.Run.State == state.Done:
		return "there is none from an upgrade in place but its backup: restore it on the Backups tab"
	}
	return ""
}

// noBack is why it cannot be looked at what a rollback would say.
func (p Page) noBack(st stands) string {
	return first(p.noRollback(st), at(st.last != nil && !st.last.Run.State.Ended(), "the run has not ended: going back is decided on its page"), at(len(p.queue) > 0, "it is being looked at"))
}

func noCleanup(st stands) string {
	switch {
	case st.last == nil && st.left != nil:
		return ""
	case st.last == nil:
		return "there is no upgrade to clean up after"
	case !st.last.Run.State.Ended():
		return "the upgrade has not ended"
	case st.last.Run.Kind == upgrade.InPlaceKind:
		return "an upgrade in place leaves nothing to clean up"
	}
	return ""
}

// complaint is what is against a request, in words.
func complaint(err error) string {
	if err == nil {
		return ""
	}
	return fault.Reason(err) + ": " + fault.HintOf(err)
}
