// Package availability is the tab that says how an instance stands against the loss of a zone, and from which its availability is switched and its
// failover drilled.
package availability

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	room "dbops/internal/availability"
	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/tui/core"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page is the availability of one instance. It is a value.
type Page struct{ sheet.Sheet[*app.Availability] }

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	return Page{sheet.New(pool, at, "the availability", 0, func(ctx context.Context) (*app.Availability, error) {
		return c.Availability(ctx, at.Environment, at.Name)
	})}
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return false }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	var out screen.Out
	p.Sheet, out = p.Read(s)
	return p, out
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	var out screen.Out
	p.Sheet, out, _ = p.Sheet.Update(msg, s)
	return p, out
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string { return p.Sheet.View(s, p.lines(s)) }

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header { return p.Sheet.Header() }

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return p.Sheet.CLI([]string{"availability", "show"}) }

const (
	actSet      = "availability.set"
	actFailover = "availability.failover"
	actLast     = "run.last"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	v, known := p.Value()
	other, set, failover, last := cloud.Regional, "", "", "dbops has not switched it, nor failed it over"
	if known {
		set, failover = unable(v.OtherPlan), unable(v.FailoverPlan)
		if v.Other != "" {
			other = v.Other
		}
		if len(v.Changes) > 0 {
			last = ""
		}
	}
	return append([]screen.Action{
		{
			ID: actSet, Title: "switch it to " + string(other) + ": plan it", Short: "make it " + string(other), Key: screen.Keys("z"),
			CLI: p.cliSet(other, false), Off: set,
		},
		{ID: actFailover, Title: "fail over to the standby, a drill: plan it", Short: "fail over", Key: screen.Keys("f"), CLI: p.cliFailover(), Off: failover},
		{ID: actLast, Title: "open the last run that switched it", Short: "last run", Key: screen.Keys("enter"), Off: last},
	}, p.Common(s, p.CLI(s))...)
}

// unable is why a change cannot be made, if nothing that is waited for will help; a plan says the rest.
func unable(d op.Draft) string {
	for _, f := range d.Findings {
		if f.Severity == op.Block && (f.Check == "provider" || f.Check == "cluster" || f.Check == "standby") {
			return f.Text
		}
	}
	return ""
}

func (p Page) cliSet(want cloud.Availability, inWindow bool) []string {
	if inWindow {
		return p.Sheet.CLI([]string{"availability", "set", string(want)}, "--in-window")
	}
	return p.Sheet.CLI([]string{"availability", "set", string(want)})
}

func (p Page) cliFailover() []string { return p.Sheet.CLI([]string{"failover"}) }

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	switch id {
	case actSet:
		return p, p.set()
	case actFailover:
		return p, screen.Say(p.Plan(room.FailoverKind, "fail over "+p.At.Name+" to its standby", room.FailoverRequest{}, p.cliFailover()))
	case actLast:
		v, _ := p.Value()
		return p, screen.Say(screen.OpenRun{ID: v.Changes[0].Run.ID})
	}
	var out screen.Out
	p.Sheet, out, _ = p.DoCommon(id, s, p.lines(s))
	return p, out
}

const now, inWindow = "now", "in its maintenance window"

// set asks to what, and on RDS when.
func (p Page) set() screen.Out {
	v, known := p.Value()
	want := cloud.Regional
	if known && v.Other != "" {
		want = v.Other
	}
	return screen.Say(screen.Show{Dialog: dialog.NewForm("Switch the availability of "+p.At.Name, p.At.Environment, p.At.Protected, []dialog.Field{
		{
			Name: "want", Label: "make it", Value: string(want), Options: []string{string(cloud.Regional), string(cloud.Zonal)},
			Help: "regional: with a standby in a second zone; zonal: without. The plan comes first, and changes nothing.",
		},
		{
			Name: "when", Label: "when", Value: now, Options: []string{now, inWindow},
			Help: "Now takes along every modification that is pending, as RDS does; the window leaves all of it to RDS, and nobody measures it then.",
			Off:  func(dialog.Answers) bool { return p.At.Provider != cloud.RDS },
		},
	}, func(a dialog.Answers) (tea.Msg, string) {
		r := room.SetRequest{Want: cloud.Availability(a["want"]), InWindow: a["when"] == inWindow}
		return p.Plan(room.SetKind, "make "+p.At.Name+" "+a["want"], r, p.cliSet(r.Want, r.InWindow)), ""
	})})
}
