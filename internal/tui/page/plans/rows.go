package plans

import (
	"fmt"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/runs"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/theme"
)

func columns() []component.Column {
	return []component.Column{
		{Title: "INSTANCE", Min: 14, Max: 28},
		{Title: "PLAN", Min: 18, Max: 22},
		{Title: "FINDINGS", Min: 16, Max: 30},
		{Title: "DOWNTIME", Min: 8, Max: 12, Leave: 2},
		{Title: "RUN", Min: 11, Leave: 3},
		{Title: "WHAT", Min: 20, Leave: 4},
	}
}

// sync puts what is known into the table.
func (p Page) sync(s screen.Scene) Page {
	var rows []component.Row
	env := ""
	for i, it := range p.each {
		if e := it.want.Change.Environment; i == 0 || e != env {
			env = e
			rows = append(rows, component.Row{Key: "\x00" + env, Heading: listing.Environment(env, s.Protected(env))})
		}
		rows = append(rows, p.row(it, s))
	}
	p.table = p.table.WithRows(rows)
	return p
}

func (p Page) row(it item, s screen.Scene) component.Row {
	dash := component.Cell{Text: "-", Role: theme.Muted}
	cells := []component.Cell{{Text: it.want.Change.Instance, Role: theme.Strong}, p.stands(it, s.Now), dash, dash, dash, {Text: it.want.Title}}
	if made := it.made(); made != nil {
		cells[2] = findings(made)
		cells[3] = component.Cell{Text: made.Downtime.Expected}
		cells[5] = component.Cell{Text: made.Title}
		if r, ok := p.run(made); ok {
			cells[4] = component.Cell{Text: r.ID}
		}
	}
	return listing.Guarded(component.Row{Key: it.key(), Cells: cells}, s.Protected(it.want.Change.Environment))
}

// run is what became of a plan.
func (p Page) run(made *op.Plan) (state.Run, bool) {
	f, _ := p.fate.Value()
	r, ok := f.runs[made.Hash()]
	return r, ok
}

// stands is how a plan stands, in a word or two.
func (p Page) stands(it item, now time.Time) component.Cell {
	made := it.made()
	switch {
	case it.plan.Loading():
		return component.Cell{Text: "~ planning", Role: theme.Pending}
	case it.plan.Err() != nil:
		return component.Cell{Text: "x no plan", Role: theme.Danger}
	case it.left:
		return component.Cell{Text: "waits its turn", Role: theme.Muted}
	case made == nil:
		return component.Cell{Text: "not planned", Role: theme.Muted}
	}
	if r, ok := p.run(made); ok {
		return runs.State(r)
	}
	f, _ := p.fate.Value()
	if a, ok := f.approvals[made.Hash()]; ok && a.State == state.Requested {
		return component.Cell{Text: "~ asks approval", Role: theme.Pending}
	}
	switch {
	case len(made.Blocked()) > 0:
		return component.Cell{Text: "x blocked", Role: theme.Danger}
	case made.Nothing():
		return component.Cell{Text: "nothing to do", Role: theme.Muted}
	case !now.Before(made.Expires):
		return component.Cell{Text: "! expired", Role: theme.Warn}
	case made.Approvals > 0:
		return component.Cell{Text: "needs approval", Role: theme.Text}
	}
	return component.Cell{Text: "ready", Role: theme.OK}
}

// ready tells whether a plan can be opened and run, and was not yet.
func (p Page) ready(it item, now time.Time) bool {
	made := it.made()
	if made == nil || it.plan.Loading() || it.plan.Err() != nil || len(made.Blocked()) > 0 || made.Nothing() || !now.Before(made.Expires) {
		return false
	}
	_, begun := p.run(made)
	return !begun
}

// findings counts those of a plan: "1 block, 2 warn".
func findings(made *op.Plan) component.Cell {
	var out []string
	worst := theme.Muted
	for _, severity := range []op.Severity{op.Block, op.Warn, op.Info} {
		n := 0
		for _, f := range made.Findings {
			if f.Severity == severity {
				n++
			}
		}
		if n == 0 {
			continue
		}
		out = append(out, fmt.Sprintf("%d %s", n, severity))
		if len(out) == 1 {
			worst = map[op.Severity]theme.Role{op.Block: theme.Danger, op.Warn: theme.Warn}[severity]
		}
	}
	if len(out) == 0 {
		return component.Cell{Text: "none", Role: theme.Muted}
	}
	return component.Cell{Text: strings.TrimSpace(theme.Mark(worst) + " " + strings.Join(out, ", ")), Role: worst}
}
