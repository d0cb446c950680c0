package fleet

import (
	"fmt"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// column is a column of the fleet and what stands in it.
type column struct {
	component.Column
	cell func(overview.Known, screen.Scene) component.Cell
	own  bool // it is read by itself, and mutes itself where it is old
}

// columns are in the order of the screen. The name, the state and the age never leave; what is measured stays longest of the others.
var columns = []column{
	{component.Column{Title: "INSTANCE", Min: 13, Max: 28}, func(k overview.Known, _ screen.Scene) component.Cell {
		return component.Cell{Text: k.Name, Role: theme.Strong}
	}, true},
	{component.Column{Title: "STATE", Min: 13, Max: 16}, func(k overview.Known, _ screen.Scene) component.Cell { return k.StateCell() }, true},
	{component.Column{Title: "ENGINE", Min: 14, Max: 16, Leave: 4}, told(overview.Known.Engine), false},
	{component.Column{Title: "ZONES", Min: 12, Max: 14, Leave: 10}, live(overview.Availability), false},
	{component.Column{Title: "CONNS", Right: true, Min: 8, Max: 12, Leave: 2}, timed(overview.Known.ConnectionsCell), true},
	{component.Column{Title: "CPU", Right: true, Min: 5, Leave: 1}, timed(overview.Known.CPUCell), true},
	{component.Column{Title: "DISK", Right: true, Min: 5, Leave: 3}, timed(overview.Known.DiskCell), true},
	{component.Column{Title: "SIZE", Right: true, Min: 7, Leave: 14}, live(overview.Disk), false},
	{component.Column{Title: "LAG", Right: true, Min: 5, Leave: 6}, timed(overview.Known.LagCell), true},
	{component.Column{Title: "CERT", Right: true, Min: 5, Leave: 7}, timed(overview.Known.CertCell), false},
	{component.Column{Title: "CREDS", Right: true, Min: 5, Leave: 8}, timed(overview.Known.CredsCell), true},
	{component.Column{Title: "DRIFT", Right: true, Min: 7, Leave: 5}, timed(overview.Known.DriftCell), true},
	{component.Column{Title: "MAINT", Right: true, Min: 7, Leave: 9}, timed(overview.Known.MaintenanceCell), false},
	{component.Column{Title: "BACKUPS", Min: 8, Leave: 11}, func(k overview.Known, _ screen.Scene) component.Cell { return k.BackupCell() }, false},
	{component.Column{Title: "DELETION", Min: 9, Leave: 12}, func(k overview.Known, _ screen.Scene) component.Cell { return k.GuardCell() }, false},
	{component.Column{Title: "REGION", Min: 12, Max: 16, Leave: 15}, told(region), false},
	{component.Column{Title: "CLASS", Min: 11, Max: 22, Leave: 16}, told(class), false},
	{component.Column{Title: "PENDING", Right: true, Min: 7, Leave: 13}, func(k overview.Known, _ screen.Scene) component.Cell { return k.PendingCell() }, false},
	{component.Column{Title: "AGE", Right: true, Min: 5}, func(k overview.Known, s screen.Scene) component.Cell {
		return k.AgeCell(s.Now, s.Stale(k.At))
	}, true},
}

// titles are the columns as a table wants them.
func titles() []component.Column {
	out := make([]component.Column, len(columns))
	for i, c := range columns {
		out[i] = c.Column
	}
	return out
}

// told is a column of text, a dash where nobody told it.
func told(f func(overview.Known) string) func(overview.Known, screen.Scene) component.Cell {
	return func(k overview.Known, _ screen.Scene) component.Cell {
		if v := f(k); v != "" {
			return component.Cell{Text: v}
		}
		return component.Cell{Text: "-", Role: theme.Muted}
	}
}

// live is told of what the provider described.
func live(f func(*cloud.Instance) string) func(overview.Known, screen.Scene) component.Cell {
	return told(func(k overview.Known) string {
		if k.Live == nil {
			return ""
		}
		return f(k.Live)
	})
}

// timed is a column that depends on what time it is.
func timed(f func(overview.Known, time.Time) component.Cell) func(overview.Known, screen.Scene) component.Cell {
	return func(k overview.Known, s screen.Scene) component.Cell { return f(k, s.Now) }
}

func region(k overview.Known) string {
	if k.Live == nil {
		return ""
	}
	return k.Live.Region
}

func class(k overview.Known) string {
	if k.Live == nil {
		return ""
	}
	return k.Live.Class
}

// rows are the instances under the headings of their environments.
func (p Page) rows(all []overview.Known, s screen.Scene) []component.Row {
	var out []component.Row
	env := ""
	for i, k := range all {
		if i == 0 || k.Environment != env {
			env = k.Environment
			out = append(out, component.Row{Key: "\x00" + env, Heading: heading(k, s.Proxies[env])})
		}
		out = append(out, p.row(k, s))
	}
	return out
}

func heading(k overview.Known, px sessions.State) *component.Heading {
	h := listing.Environment(k.Environment, k.Protected)
	h.Note = proxyNote(px)
	return h
}

func proxyNote(px sessions.State) string {
	if !px.Open() {
		return ""
	}
	return fmt.Sprintf("proxy %s, access %s, %s", px.Addr, px.Access, text.Count(px.Live(), "client"))
}

func (p Page) row(k overview.Known, s screen.Scene) component.Row {
	past := k.Old() || k.Live != nil && s.Stale(k.At) // what it was, not what it is
	cells := make([]component.Cell, len(columns))
	for i, c := range columns {
		cells[i] = c.cell(k, s)
		if past && !c.own {
			cells[i].Role = theme.Muted
		}
	}
	return listing.Guarded(component.Row{Key: k.Key(), Cells: cells, Marked: p.marked[k.Key()]}, k.Protected)
}
