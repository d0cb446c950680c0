package upgrade

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// choosing is the stage in which the major and the way are chosen.
func (p Page) choosing(d, side *component.Doc, s screen.Scene, st stands) {
	w := p.chosen()
	if st.over != "" {
		d.Add(theme.Muted, 0, st.over)
	}
	if st.left != nil {
		text, next := st.left.Report.Costs(p.At.Environment, p.At.Name)
		d.Mark(theme.Warn, text)
		if st.last == nil {
			next = "c plans its removal"
		}
		d.Add(theme.Text, 2, "next: "+next)
		d.Blank()
	}
	p.major(d, w, s)
	d.Blank()
	table := component.Table{Columns: []component.Column{
		{Title: "WAY", Min: 14}, {Title: "CLIENTS ARE SHUT OUT", Min: 21}, {Title: "WAY BACK", Min: 18, Leave: 2}, {Title: "LOOKED AT", Min: 12, Leave: 1},
	}}
	var rows []component.Row
	index := slices.IndexFunc(ways, func(one words) bool { return one.way == w.way })
	for _, one := range ways {
		other := w
		other.way = one.way
		one = other.said(one)
		role, result := theme.Text, p.looks[text.Shell(p.cliRun(other))].result()
		if p.unfit(one.way) != "" {
			role, result = theme.Muted, component.Cell{Text: "not here", Role: theme.Muted}
		}
		rows = append(rows, component.Row{Key: string(one.way), Cells: []component.Cell{{Text: string(one.way), Role: role}, {Text: one.shut, Role: role}, {Text: one.back, Role: role}, result}})
	}
	table = table.WithRows(rows).Move(-len(rows)).Move(index)
	for _, l := range strings.Split(table.View(s.Theme, d.W-1, table.Lines(), true), "\n") {
		d.Raw(l)
	}
	p.detail(side, w, w.said(ways[index]), s)
	if st.rehearsal == nil && st.last == nil {
		stop(d, "Nothing was changed, and nothing is kept: the choice is made again.", "")
	}
}

// major says what the instance is and what it becomes.
func (p Page) major(d *component.Doc, w want, s screen.Scene) {
	f, known := p.facts.Value()
	is := p.At.Name
	if f.major > 0 {
		is += fmt.Sprintf(" is PostgreSQL %d", f.major)
	}
	to := "choose the major it becomes (m)"
	if w.to > 0 {
		to = fmt.Sprintf("becomes %d", w.to)
	}
	line := is + ", " + to
	if f.major == 0 {
		line = is + " " + to
	}
	d.Add(theme.Strong, 0, line)
	switch err := p.facts.Err(); {
	case err != nil:
		d.Mark(theme.Danger, "what the provider offers could not be read: "+fault.Reason(err))
		if hint := overview.Hint(err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
	case !known && p.facts.Loading():
		d.Mark(theme.Pending, "asking the provider what it offers")
	case known && p.At.Provider != cloud.Postgres:
		d.Add(theme.Muted, 0, "offered as a new instance: "+majors(f.offers, false)+"; in place: "+majors(f.offers, true)+"; "+text.Age(s.Now.Sub(p.facts.At()))+" ago")
	case known:
		d.Add(theme.Muted, 0, "nobody makes a new plain server: name an empty one of the new major in the options (o), into")
	}
}

func majors(offers []cloud.Offer, inPlace bool) string {
	var out []string
	for _, o := range offers {
		if !inPlace || o.InPlace != "" {
			out = append(out, fmt.Sprint(o.Major))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, " ")
}

// detail is the way that is selected, in full; what its plan says comes before what is said of all.
func (p Page) detail(d *component.Doc, w want, one words, s screen.Scene) {
	d.Heading(string(one.way))
	if why := p.unfit(one.way); why != "" {
		d.Mark(theme.Danger, "not here: "+why)
	}
	d.Fact(theme.Text, "does", one.does)
	l := p.looks[text.Shell(p.cliRun(w))]
	if l.plan == nil || l.err != nil {
		d.Fact(theme.Text, "shut out", one.clients)
		d.Fact(theme.Text, "way back", one.after)
		d.Fact(theme.Text, "cost", one.pay)
	}
	d.Fact(theme.Text, "needs", one.need)
	switch {
	case l.err != nil:
		d.Mark(theme.Danger, "it could not be looked at: "+l.err.Error())
		if hint := overview.Hint(l.err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
	case l.plan != nil:
		d.Add(theme.Muted, 0, "its plan says, "+text.Age(s.Now.Sub(l.at))+" ago:")
		saying(d, l.plan)
	case l.loading:
		d.Mark(theme.Pending, "looking what stands in its way; nothing is changed")
	default:
		d.Add(theme.Muted, 0, "v looks at what stands in the way of each: it reads catalogs and changes nothing")
	}
}
