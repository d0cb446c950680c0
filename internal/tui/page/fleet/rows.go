package fleet

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// columns are those of the fleet; the name, the state and the age never leave.
func columns() []component.Column {
	return []component.Column{
		{Title: "INSTANCE", Min: 14, Max: 28},
		{Title: "STATE", Min: 13, Max: 16},
		{Title: "ENGINE", Min: 12, Max: 16, Leave: 3},
		{Title: "REGION", Min: 12, Max: 16, Leave: 4},
		{Title: "ZONES", Min: 12, Max: 14, Leave: 6},
		{Title: "CLASS", Min: 12, Max: 22, Leave: 9},
		{Title: "STORAGE", Right: true, Min: 7, Leave: 7},
		{Title: "BACKUPS", Min: 8, Leave: 5},
		{Title: "DELETION", Min: 9, Leave: 8},
		{Title: "CERT", Right: true, Min: 5, Leave: 2},
		{Title: "PENDING", Right: true, Min: 7, Leave: 10},
		{Title: "AGE", Right: true, Min: 5},
	}
}

// order is how instances are ordered within their environment.
type order uint8

const (
	byName order = iota
	byState
	byCert
	byRegion
	orders
)

func (o order) String() string {
	return [...]string{"name", "state", "certificate", "region"}[o%orders]
}

func (o order) next() order { return (o + 1) % orders }

// compare puts protected environments first, keeps environments together, and then orders instances.
func (o order) compare(a, b overview.Known) int {
	env := cmp.Or(-cmp.Compare(boolean(a.Protected), boolean(b.Protected)), strings.Compare(a.Environment, b.Environment))
	if env != 0 {
		return env
	}
	var first int
	switch o {
	case byState:
		first = cmp.Compare(severity(a), severity(b))
	case byCert:
		first = expiry(a).Compare(expiry(b))
	case byRegion:
		first = strings.Compare(region(a), region(b))
	default:
	}
	return cmp.Or(first, strings.Compare(a.Name, b.Name))
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// severity is 0 for the worst.
func severity(k overview.Known) int {
	switch k.StateCell().Role {
	case theme.Danger:
		return 0
	case theme.Warn:
		return 1
	case theme.Pending:
		return 2
	case theme.Muted:
		return 3
	default:
		return 4
	}
}

// expiry is the end of the certificate, far away when there is none.
func expiry(k overview.Known) time.Time {
	if k.Live == nil || k.Live.TLS.Expires.IsZero() {
		return time.Unix(1<<40, 0)
	}
	return k.Live.TLS.Expires
}

func region(k overview.Known) string {
	if k.Live == nil {
		return "\uffff"
	}
	return k.Live.Region
}

// rows are the instances under the headings of their environments.
func rows(all []overview.Known, s screen.Scene) []component.Row {
	var out []component.Row
	env := ""
	for i, k := range all {
		if i == 0 || k.Environment != env {
			env = k.Environment
			out = append(out, component.Row{Key: "\x00" + env, Heading: heading(k, s.Proxies[env])})
		}
		out = append(out, row(k, s))
	}
	return out
}

// heading names an environment so that a protected one cannot be taken for another: by word, by name and by colour.
func heading(k overview.Known, px sessions.State) *component.Heading {
	h := &component.Heading{Word: "environment", Name: k.Environment, Band: theme.BandOpen}
	if k.Protected {
		h.Word, h.Band = screen.Protected, theme.BandProtected
	}
	if px.Open() {
		h.Note = fmt.Sprintf("proxy %s, access %s, %s", px.Addr, px.Access, text.Count(px.Live(), "client"))
	}
	return h
}

func row(k overview.Known, s screen.Scene) component.Row {
	dash := component.Cell{Text: "-", Role: theme.Muted}
	cells := []component.Cell{
		{Text: k.Name, Role: theme.Strong},
		k.StateCell(),
		{Text: k.Engine()},
		dash, dash, dash, dash, k.BackupCell(), k.GuardCell(), k.CertCell(s.Now), dash, k.AgeCell(s.Now, s.Stale(k.At)),
	}
	if i := k.Live; i != nil {
		for at, v := range map[int]string{3: i.Region, 4: overview.Availability(i), 5: i.Class, 6: overview.Disk(i)} {
			if v != "" {
				cells[at] = component.Cell{Text: v}
			}
		}
		if n := len(i.Pending); n > 0 {
			cells[10] = component.Cell{Text: fmt.Sprintf("%s %d", theme.Mark(theme.Pending), n), Role: theme.Pending}
		}
	}
	if k.Old() || k.Live != nil && s.Stale(k.At) { // what it was, not what it is
		for i := 2; i < len(cells)-1; i++ {
			cells[i].Role = theme.Muted
		}
	}
	return component.Row{Key: k.Key(), Cells: cells}
}
