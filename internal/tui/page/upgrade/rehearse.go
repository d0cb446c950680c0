package upgrade

import (
	"fmt"
	"strings"

	"github.com/dustin/go-humanize"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
	"dbops/internal/upgrade"
)

// chosenLine says in a line what was chosen.
func (p Page) chosenLine(d *component.Doc, w want) {
	to := "no major is chosen: m chooses it"
	if w.to > 0 {
		to = fmt.Sprintf("%s to PostgreSQL %d, by %s", p.At.Name, w.to, w.way)
	}
	if w.way == catchUp && w.noWayBack {
		to += ", nothing carried back"
	}
	if w.unattended {
		to += ", without the gate"
	}
	d.Add(theme.Strong, 0, to)
}

// runLine says how a run stands, and that its page shows more.
func runLine(d *component.Doc, r state.Run, s screen.Scene) {
	role, word := theme.Pending, string(r.State)
	switch markOf(r) {
	case done:
		role = theme.OK
	case waits:
		role = theme.Warn
		word = "waits for a person"
		if r.State != state.Gate && r.State != state.Parked {
			word = "interrupted: nobody works on it"
		}
	case failed:
		role = theme.Danger
	case going, ahead:
	}
	line := "run " + r.ID + "  " + word
	switch {
	case !r.Ended.IsZero():
		line += "  ended " + text.Age(s.Now.Sub(r.Ended)) + " ago"
	case r.Step != "" && r.State != state.Gate:
		line += "  at " + r.Step
	}
	if !r.Started.IsZero() && r.Ended.IsZero() {
		line += "  for " + text.Age(s.Now.Sub(r.Started))
	}
	line += "  by " + r.Requester
	if role == theme.OK {
		d.Add(role, 0, d.Theme.Glyphs.Done+" "+line)
	} else {
		d.Mark(role, line)
	}
	if r.Problem != "" && r.State != state.Done {
		d.Add(theme.Text, 2, r.Problem)
	}
	if r.Hint != "" && r.State != state.Done {
		d.Add(theme.Text, 2, "next: "+r.Hint)
	}
}

// rehearsing is the stage in which all is done to a copy.
func (p Page) rehearsing(d, side *component.Doc, st stands, s screen.Scene) {
	w := p.chosen()
	if st.rehearsal != nil {
		runLine(d, st.rehearsal.Run, s)
		if !st.rehearsal.Run.State.Ended() {
			stop(d, "It goes on without this terminal. "+p.At.Name+" is only read, and clients notice nothing.", "on its page (enter): cancel its step, then undo; what it made is removed.")
			return
		}
		d.Add(theme.Text, 2, st.rehearsal.Report.Verdict())
		d.Blank()
	}
	p.chosenLine(d, w)
	if why := p.noRehearsal(st, w); w.way.own() {
		d.Mark(theme.Warn, why)
		stop(d, "Nothing was changed.", "")
		return
	}
	d.Fact(theme.Text, "does", "a copy of "+p.At.Name+" is made by point-in-time recovery, upgraded, compared, and removed with its upgrade. Where the option into names a server, one snapshot is read, and no copy is made")
	d.Fact(theme.Text, "clients", "notice nothing: "+p.At.Name+" is only read")
	d.Fact(theme.Text, "tells", "what would fail, and for how long clients will be shut out; the plan of the run takes that over")
	d.Fact(theme.Text, "cost", "two more instances while it runs")
	stop(d, "Nothing was changed. An upgrade can be run without a rehearsal; how long it takes is not known then.", "")
	later(side, p.cliRehearse(w), nil)
}

// later says how it is done at another time: dbops has no clock of its own.
func later(d *component.Doc, cli, cut []string) {
	d.Heading("at another time")
	d.Add(theme.Text, 0, "dbops has no clock of its own. Save the plan on its page (s), and let cron, at or CI run: dbops apply FILE --yes")
	d.Add(theme.Muted, 0, "A protected environment wants --confirm NAME too, and the approval before. The plan's page says how long it can be run.")
	if cut != nil {
		d.Add(theme.Text, 0, "Or run it to its gate now, and at the time: "+text.Shell(cut)+" --yes")
	}
	d.Add(theme.Muted, 0, "At once, by the workers of a team: "+text.Shell(cli)+" --detach")
}

// reporting is the stage in which the report of the last rehearsal is read.
func (p Page) reporting(d, side *component.Doc, st stands) {
	if st.rehearsal == nil || st.rehearsal.Report == nil {
		d.Add(theme.Text, 0, "There is no report: nothing was rehearsed since the last upgrade.")
		stop(d, "Nothing was changed.", "")
		return
	}
	r := st.rehearsal.Report
	drawReport(d, side, r)
	leave := "Nothing of the rehearsal is left but this report: " + p.At.Name + " is as it was, and clients noticed nothing."
	if !r.State.Ended() {
		leave = "The rehearsal goes on without this terminal; the report grows with it."
	}
	stop(d, leave, "")
}

// drawReport draws the report of an upgrade or a rehearsal; what it took and looked at stands at the side.
func drawReport(d, side *component.Doc, r *upgrade.Report) {
	d.Add(theme.Strong, 0, r.Title)
	role := theme.OK
	switch {
	case len(r.Failures) > 0:
		role = theme.Danger
	case !r.State.Ended():
		role = theme.Pending
	case r.State != state.Done:
		role = theme.Warn
	}
	if role == theme.OK {
		d.Add(role, 0, d.Theme.Glyphs.Done+" "+r.Verdict())
	} else {
		d.Mark(role, r.Verdict())
	}
	d.Add(theme.Muted, 2, fmt.Sprintf("run %s  %s  from PostgreSQL %d to %d  took %s", r.Run, text.Stamp(r.Started), r.Source.Major, r.Target.Major, r.Took))
	if r.Forecast != nil {
		d.Heading("clients will be shut out")
		d.Add(theme.Strong, 0, fmt.Sprintf("%s to %s", r.Forecast.Low, r.Forecast.High))
		d.Add(theme.Muted, 0, r.Forecast.Rule)
	}
	if len(r.Failures) > 0 {
		d.Heading("what failed")
		for _, f := range r.Failures {
			d.Mark(theme.Danger, f.String())
			if f.Hint != "" {
				d.Add(theme.Text, 4, "remedy: "+f.Hint)
			}
		}
	}
	databases(d, r)
	side.Heading("phases")
	for _, ph := range r.Phases {
		note := ph.Took.String()
		if ph.Downtime {
			note = "shut out  " + note
		}
		side.Raw(text.Spread(side.Theme.Paint(theme.Text, text.Clean(ph.Title)), side.Theme.Paint(theme.Muted, note), side.W-2, side.Theme.Glyphs.Tail))
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"what was compared", r.Compared}, {"what was not", r.Not}, {"settings that were not carried over", r.Lost}, {"left out", r.LeftOut}, {"sessions that were ended", r.Sessions}, {"findings of the plan", findings(r.Findings)},
	} {
		if len(part.lines) > 0 {
			side.Heading(part.title)
		}
		for _, l := range part.lines {
			side.Add(theme.Text, 0, "- "+l)
		}
	}
}

func findings(all []op.Finding) (out []string) {
	for _, f := range all {
		out = append(out, fmt.Sprintf("%s, %s: %s", f.Severity, f.Check, f.Text))
	}
	return out
}

func databases(d *component.Doc, r *upgrade.Report) {
	if len(r.Databases) == 0 {
		return
	}
	d.Heading("databases")
	table := component.Table{Columns: []component.Column{
		{Title: "DATABASE", Min: 10}, {Title: "TABLES", Right: true}, {Title: "ROWS", Right: true, Min: 12}, {Title: "COPIED", Right: true, Min: 9, Leave: 2}, {Title: "TOOK", Right: true, Min: 7}, {Title: "COMPARED", Min: 20, Leave: 1},
	}}
	var rows []component.Row
	for i, one := range r.Databases {
		role := theme.OK
		if !one.Equal {
			role = theme.Warn
		}
		rows = append(rows, component.Row{Key: fmt.Sprint(i), Cells: []component.Cell{
			{Text: one.Name}, {Text: fmt.Sprint(one.Tables)}, {Text: humanize.Comma(one.Rows)}, {Text: text.Bytes(one.Bytes)}, {Text: one.Took.String()}, {Text: one.Verdict(), Role: role},
		}})
	}
	table = table.WithRows(rows)
	for i, l := range strings.Split(table.View(d.Theme, d.W-1, table.Lines(), false), "\n") {
		if i > 0 { // nothing is selected in a report
			l = strings.Replace(l, "> ", "  ", 1)
		}
		d.Raw(l)
	}
}
