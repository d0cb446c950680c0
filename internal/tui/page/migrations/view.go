package migrations

import (
	"fmt"
	"strings"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	p = p.sync(s)
	if p.view != viewList {
		return p.scroll.View(s.Theme, p.lines(s), s.Area.W, s.Area.H)
	}
	th, a := s.Theme, s.Area
	head := component.NewDoc(th, a.W)
	p.above(head, s)
	lines := head.Lines()
	if _, ok := p.look.Value(); !ok {
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	w, h := p.listed(s, len(lines))
	room := a.H - len(lines)
	side := func(w, h int) []string {
		return strings.Split(component.Scroll{}.View(th, p.about(s, w), w, max(1, h)), "\n")
	}
	if a.Wide() {
		right := side(a.W-w-1, room)
		for i, l := range strings.Split(p.table.View(th, w, h, true), "\n") {
			lines = append(lines, l+" "+right[i])
		}
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	lines = append(lines, strings.Split(p.table.View(th, w, h, true), "\n")...)
	lines = append(append(lines, ""), side(a.W, room-h-1)...)
	return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
}

// listed is the size of the list below so many lines.
func (p Page) listed(s screen.Scene, above int) (w, h int) {
	room := s.Area.H - above
	if s.Area.Wide() {
		return s.Area.W * 11 / 20, room
	}
	return s.Area.W, min(p.table.Lines(), max(5, room*11/20))
}

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (next screen.Page, hit bool) {
	if p = p.sync(s); p.view != viewList {
		return p, false
	}
	head := component.NewDoc(s.Theme, s.Area.W)
	p.above(head, s)
	if w, h := p.listed(s, len(head.Lines())); x < w {
		p.table, hit = p.table.Pick(y-len(head.Lines()), h)
	}
	return p, hit
}

// above is what must be seen first: that nothing could be read, and what is under way.
func (p Page) above(d *component.Doc, s screen.Scene) {
	if s.Area.Tall() {
		d.Raw("")
	}
	known, ok := p.look.Value()
	failed(d, p.look.Err())
	if ok && p.look.Err() != nil {
		d.Add(theme.Muted, 2, "below is what was so "+text.Age(s.Now.Sub(p.look.At()))+" ago")
	}
	if !ok && p.look.Loading() {
		d.Mark(theme.Pending, "reading the folders, and the versions of their databases")
	}
	for _, c := range known.changes {
		line, role := c.Line("", s)
		d.Add(role, 0, line)
	}
	if known.blind != nil {
		d.Add(theme.Warn, 0, "! what is under way is not known: "+known.blind.Error())
		d.Add(theme.Text, 2, overview.Hint(known.blind))
	}
	if note, _ := p.filter.Note(); note != "" {
		if p.filter.Editing() {
			note += "_"
		}
		shown, all := p.table.Len()
		d.Add(theme.Focus, 0, fmt.Sprintf("%s  %d of %s", note, shown, text.Count(all, "row")))
	}
	d.Blank()
}

// failed is why there is no answer, and what to do.
func failed(d *component.Doc, err error) {
	if err == nil {
		return
	}
	d.Mark(theme.Danger, err.Error())
	d.Add(theme.Text, 2, overview.Hint(err))
}

// lines are those of what is in front.
func (p Page) lines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	set, file := p.selected()
	switch {
	case set == nil:
	case p.view == viewFile:
		p.drawFile(d, set, file)
	case p.view == viewHistory:
		drawHistory(d, set)
	case p.view == viewLeft:
		p.drawLeft(d, set)
	case p.view == viewRehearsal:
		p.trial.draw(d, s)
	}
	return d.Lines()
}

// about is what is known of the selected row, in a width of w.
func (p Page) about(s screen.Scene, w int) []string {
	set, file := p.selected()
	d := component.NewDoc(s.Theme, w)
	switch {
	case set == nil:
	case file == nil:
		aboutSet(d, set)
	default:
		p.aboutFile(d, set, file, s)
	}
	return d.Lines()
}

func aboutSet(d *component.Doc, set *app.MigrationSet) {
	d.Heading(set.Name)
	if set.Error != "" {
		d.Mark(theme.Danger, set.Error)
		d.Add(theme.Text, 2, set.Hint)
	}
	if c := set.Cut; c != nil && set.Dirty {
		d.Mark(theme.Danger, fmt.Sprintf("%s ended after %d of %d statements (%s), begun %s by %s", c.Name, c.Done, c.Statements, c.Outcome, c.Started, c.Who))
		if c.Error != "" {
			d.Add(theme.Muted, 2, c.Error)
		}
		if c.Next != "" {
			d.Add(theme.Text, 2, "not done: "+c.Next)
		}
		d.Add(theme.Text, 2, "next: e shows what was left, and the ways out")
	}
	for _, f := range set.Problems {
		role := theme.Warn
		if f.Fatal {
			role = theme.Danger
		}
		d.Mark(role, f.String())
		if f.Remedy != "" {
			d.Add(theme.Text, 2, "next: "+f.Remedy)
		}
	}
	if len(set.Unknown) > 0 {
		d.Mark(theme.Warn, "the database is ahead of the folder: check out the branch that has its version")
	}
	d.Fact(theme.Text, "folder", set.Folder)
	d.Fact(theme.Text, "table", set.Table)
}
