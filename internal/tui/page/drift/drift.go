// Package drift is the tab that holds what dbops.yaml declares of an instance against what is live, and from which it is set back.
package drift

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	room "dbops/internal/drift"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/dialog"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page is the drift of one instance. It is a value.
type Page struct {
	sheet.Sheet[*room.Report]
	list listing.List
	all  bool // also what is in sync, and what nobody declares
}

// New returns the tab of an instance. It is read when it is opened, come back to, or asked to.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	p := Page{list: listing.New("setting", []component.Column{
		{Title: "SETTING", Min: 16},
		{Title: "STATUS", Min: 10},
		{Title: "DECLARED", Min: 10, Max: 32},
		{Title: "LIVE", Min: 10, Max: 32},
		{Title: "LAST APPLIED", Leave: 1, Min: 12, Max: 32},
		{Title: "WHY", Leave: 2, Min: 60},
	}, "status", "name")}
	p.Sheet = sheet.New(pool, at, "the drift", sheet.OnDemand, func(ctx context.Context) (*room.Report, error) {
		return looked(c.Drift(ctx, at.Environment, at.Name, true))
	})
	return p
}

// looked makes an error of a report that tells nothing but why it tells nothing.
func looked(r *room.Report, err error) (*room.Report, error) {
	if err != nil {
		return nil, err
	}
	if len(r.Rows) == 0 {
		for _, i := range r.Instances {
			if i.Err != nil {
				return nil, i.Err
			}
		}
	}
	return r, nil
}

// Captures implements [screen.Page].
func (p Page) Captures() bool { return p.list.Captures() }

// Init implements [screen.Page].
func (p Page) Init(s screen.Scene) (screen.Page, screen.Out) {
	var out screen.Out
	p.Sheet, out = p.Read(s)
	return p, out
}

// Update implements [screen.Page].
func (p Page) Update(msg tea.Msg, s screen.Scene) (screen.Page, screen.Out) {
	var out screen.Out
	switch msg.(type) {
	case tea.KeyPressMsg, tea.PasteMsg:
		p.list, out = p.list.Type(msg)
		return p, out
	}
	var read bool
	if p.Sheet, out, read = p.Sheet.Update(msg, s); read {
		p = p.sync()
	}
	return p, out
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header { return p.HeaderList(p.list) }

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string {
	if p.all {
		return p.Sheet.CLI([]string{"drift"}, "--all")
	}
	return p.Sheet.CLI([]string{"drift"})
}

// selected is the setting under the cursor.
func (p Page) selected() (room.Row, bool) {
	if v, ok := p.Value(); ok {
		for _, r := range v.Rows {
			if r.Setting == p.list.Selected() {
				return r, true
			}
		}
	}
	return room.Row{}, false
}

const (
	actFix = "drift.fix"
	actOne = "drift.fix-selected"
	actAll = "drift.all"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	fix, one := "nothing has drifted", "no setting is selected"
	if v, ok := p.Value(); !ok {
		fix = "it has not been compared"
	} else if v.Count(room.Drifted) > 0 {
		fix = stay(v)
	}
	r, ok := p.selected()
	switch {
	case ok && r.Stays != "":
		one = r.Setting + " is not set back: " + r.Stays
	case ok && (r.Status == room.Drifted || r.Status == room.Pending):
		one = ""
	case ok:
		one = r.Setting + " has not drifted"
	}
	title, short := "show also what is in sync, and what nobody declares", "show all"
	if p.all {
		title, short = "show only what differs", "differences"
	}
	return append([]screen.Action{
		{ID: actFix, Title: "set back what drifted: plan it", Short: "set back", Key: screen.Keys("f"), CLI: p.cliFix(), Off: fix},
		{ID: actOne, Title: "set the selected setting back: plan it", Short: "set back this", Key: screen.Keys("enter"), CLI: p.cliFix("--setting", r.Setting), Off: one},
		{ID: actAll, Title: title, Short: short, Key: screen.Keys("v")},
	}, p.CommonList(s, p.CLI(s), p.list, len(p.above(s)), len(p.below(s)))...)
}

// stay says why none of what drifted is set back; empty if something is.
func stay(v *room.Report) (why string) {
	for _, r := range v.Rows {
		if r.Status != room.Drifted {
			continue
		}
		if r.Stays == "" {
			return ""
		}
		why = r.Setting + " is not set back: " + r.Stays
	}
	return why
}

func (p Page) cliFix(rest ...string) []string {
	return p.Sheet.CLI([]string{"drift"}, append([]string{"--fix"}, rest...)...)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	switch id {
	case actFix:
		return p, screen.Say(p.Plan(room.FixKind, "set "+p.At.Name+" back to what is declared", room.FixRequest{}, p.cliFix()))
	case actOne:
		r, _ := p.selected()
		return p, p.one(r)
	case actAll:
		p.all = !p.all
		return p.sync(), screen.Out{}
	}
	if next, list, out, ok := p.DoList(id, p.list, s, len(p.above(s)), len(p.below(s))); ok {
		p.Sheet, p.list = next, list
		return p.sync(), out
	}
	var out screen.Out
	p.Sheet, out, _ = p.DoCommon(id, s, p.plain(s))
	return p, out
}

// one asks whether a setting is to be set although somebody else did.
func (p Page) one(r room.Row) screen.Out {
	elsewhere := r.Cause == room.Console || r.Cause == room.Both || r.Status == room.Pending || r.Cause == room.PendingChange
	help := "Nobody is known to have changed it elsewhere. Yes sets it all the same, also where that removes backups."
	if elsewhere {
		help = "It was changed or accepted elsewhere: without yes the plan leaves it, or is blocked. Ask who did it, and why, first."
	}
	return screen.Say(screen.Show{Dialog: dialog.NewForm("Set "+r.Setting+" back to "+r.Declared, p.At.Environment, p.At.Protected, []dialog.Field{
		{Name: "overwrite", Label: "overwrite", Value: "no", Options: []string{"no", "yes"}, Help: help},
	}, func(a dialog.Answers) (tea.Msg, string) {
		q, cli := room.FixRequest{Settings: []string{r.Setting}}, p.cliFix("--setting", r.Setting)
		if a.Yes("overwrite") {
			q, cli = room.FixRequest{Overwrite: []string{r.Setting}}, p.cliFix("--overwrite", r.Setting)
		}
		return p.Plan(room.FixKind, "set "+r.Setting+" of "+p.At.Name+" back", q, cli), ""
	})})
}
