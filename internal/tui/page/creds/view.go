package creds

import (
	"cmp"
	"fmt"
	"strings"

	"dbops/internal/creds"
	"dbops/internal/op"
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
	if _, ok := p.list.Value(); !ok {
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	w, h := p.listed(s, len(lines))
	room := a.H - len(lines)
	if a.Wide() {
		table := strings.Split(p.table.View(th, w, h, true), "\n")
		side := strings.Split(component.Scroll{}.View(th, p.about(s, a.W-w-1), a.W-w-1, room), "\n")
		for i, l := range table {
			lines = append(lines, l+" "+side[i])
		}
		return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
	}
	lines = append(lines, p.table.View(th, w, h, true), "")
	below := p.about(s, a.W)
	lines = append(strings.Split(strings.Join(lines, "\n"), "\n"), strings.Split(component.Scroll{}.View(th, below, a.W, max(1, room-h-1)), "\n")...)
	return text.Box(lines, a.W, a.H, th.Glyphs.Tail)
}

// listed is the size of the list below so many lines.
func (p Page) listed(s screen.Scene, above int) (w, h int) {
	room := s.Area.H - above
	if s.Area.Wide() {
		return s.Area.W * 3 / 5, room
	}
	return s.Area.W, min(p.table.Lines(), max(4, room/2))
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
	known, ok := p.list.Value()
	failed(d, p.list.Err())
	if ok && p.list.Err() != nil {
		d.Add(theme.Muted, 2, "below is what was so "+text.Age(s.Now.Sub(p.list.At()))+" ago")
	}
	if !ok && p.list.Loading() {
		d.Mark(theme.Pending, "reading the containers, their logins and their places")
	}
	for _, c := range known.changes {
		line, role := line(c, s)
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
		d.Add(theme.Focus, 0, fmt.Sprintf("%s  %d of %s", note, shown, text.Count(all, "container")))
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

// lines are those of the container or the audit in front.
func (p Page) lines(s screen.Scene) []string {
	if p.view == viewAudit {
		d := component.NewDoc(s.Theme, s.Area.W)
		p.drawAudit(d)
		return d.Lines()
	}
	head := component.NewDoc(s.Theme, s.Area.W)
	p.above(head, s)
	return append(head.Lines(), p.about(s, s.Area.W)...)
}

// about is all that is known of the selected container, in a width of w.
func (p Page) about(s screen.Scene, w int) []string {
	l, ok := p.selected()
	if !ok {
		return nil
	}
	d := component.NewDoc(s.Theme, w)
	d.Heading(l.Name)
	findings := p.findings(l)
	for _, f := range findings {
		finding(d, f)
	}
	if len(findings) > 0 {
		d.Blank()
	}
	p.facts(d, l, s)
	for _, at := range l.Places {
		place(d, at)
	}
	return d.Lines()
}

// facts are who logs in, how well, and who is there.
func (p Page) facts(d *component.Doc, l creds.Listed, s screen.Scene) {
	role, said := theme.Muted, "not tried: c tries it"
	t, ok := p.tried(l)
	when := ", tried " + text.Age(s.Now.Sub(p.tries.At())) + " ago"
	switch {
	case p.tries.Loading():
		role, said = theme.Pending, "~ being tried"
	case p.tries.Err() != nil:
		role, said = theme.Danger, "x not tried: "+p.tries.Err().Error()
	case ok && t.Works != nil && *t.Works:
		role, said = theme.OK, "logs in"+when
	case ok && t.Works != nil:
		role, said = theme.Danger, "x does not log in"+when
	case ok && t.Why != "":
		role, said = theme.Warn, "! could not be seen: "+t.Why
	case l.User == "" || l.Revoked():
		said = "there is none to try"
	}
	d.Fact(theme.Strong, "login", cmp.Or(l.User, "none"))
	d.Fact(role, "", said)
	made := "not known"
	if !l.Created.IsZero() {
		made = text.Stamp(l.Created) + ", " + text.Age(l.Age(s.Now)) + " ago"
	}
	d.Fact(theme.Text, "made", made)
	for _, slot := range l.Slots {
		role, said := slotText(l, slot)
		d.Fact(role, "slot "+slot.Slot, said)
	}
	group := l.Group
	if !l.GroupThere {
		group = "! " + group + " is not there"
	}
	d.Fact(theme.Text, "group", group)
	d.Fact(theme.Text, "databases", strings.Join(l.Databases, ", ")+", "+string(l.Access))
	d.Fact(theme.Text, "rollout", cmp.Or(l.Rollout, "nothing: somebody has to restart it after a rotation"))
}

// slotText is a slot: what it may, and who is logged in with it.
func slotText(l creds.Listed, slot creds.SlotFacts) (theme.Role, string) {
	if !slot.There {
		return theme.Muted, slot.Role + ", not made yet"
	}
	word, role := "idle", theme.Text
	switch {
	case slot.Slot == l.Active && slot.Login:
		word = "active"
	case slot.Slot == l.Active:
		word, role = "! active, and may not log in", theme.Warn
	case slot.Login:
		word, role = "! idle, and may log in", theme.Warn
	}
	out := fmt.Sprintf("%s, %s, %s", slot.Role, word, text.Count(l.Sessions[slot.Slot], "session"))
	if who := l.Clients[slot.Slot]; who != "" {
		out += ": " + who
	}
	return role, out
}

// place is what a place of delivery holds, by version.
func place(d *component.Doc, at creds.PlaceFacts) {
	d.Fact(theme.Text, "delivered", at.Place)
	versions := "nothing is there yet"
	if at.Current != "" {
		versions = "version " + at.Current
	}
	if at.Pending != "" {
		versions += ", pending " + at.Pending
	}
	if at.Previous != "" {
		versions += ", previous " + at.Previous
		if at.PreviousUser != "" {
			versions += " of " + at.PreviousUser
		}
	}
	d.Fact(theme.Muted, "", versions)
}

// finding is one, with what was seen and what to do.
func finding(d *component.Doc, f op.Finding) {
	role := map[op.Severity]theme.Role{op.Block: theme.Danger, op.Warn: theme.Warn}[f.Severity]
	if f.Check == "current-fails" {
		role = theme.Danger
	}
	d.Mark(role, f.Text)
	if f.Evidence != "" {
		d.Add(theme.Muted, 2, "seen: "+f.Evidence)
	}
	if f.Remedy != "" {
		d.Add(theme.Text, 2, "next: "+f.Remedy)
	}
}
