// Package backups is the tab that says from what an instance can be restored and whether that was ever tried, and from which it is backed up, restored,
// drilled, protected and renamed.
package backups

import (
	"context"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/tui/component"
	"dbops/internal/tui/core"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// Page is the backups of one instance. It is a value.
type Page struct {
	sheet.Sheet[*app.Recovery]
	list listing.List
}

// New returns the tab of an instance.
func New(c core.Core, pool *work.Pool, at app.Instance) screen.Page {
	p := Page{list: listing.New("backup", []component.Column{
		{Title: "BACKUP", Min: 20},
		{Title: "AGE", Right: true, Min: 5},
		{Title: "STATE", Min: 10},
		{Title: "KIND", Leave: 1, Min: 9},
		{Title: "SIZE", Right: true, Leave: 2, Min: 8},
		{Title: "STARTED", Leave: 3, Min: 20},
		{Title: "TOOK", Right: true, Leave: 5, Min: 5},
		{Title: "TEXT", Leave: 4, Min: 8},
	}, "age", "state", "size", "name")}
	p.Sheet = sheet.New(pool, at, "the backups", pace, func(ctx context.Context) (*app.Recovery, error) {
		return c.Recovery(ctx, at.Environment, at.Name)
	})
	return p
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
		p = p.sync(s.Now)
	}
	return p, out
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header { return p.HeaderList(p.list) }

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return p.Sheet.CLI([]string{"backup", "list"}) }

// selected is the backup under the cursor.
func (p Page) selected() (cloud.Backup, bool) {
	if v, ok := p.Value(); ok {
		for _, b := range v.Backups {
			if b.ID == p.list.Selected() {
				return b, true
			}
		}
	}
	return cloud.Backup{}, false
}
