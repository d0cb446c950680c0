package sessions

import (
	"fmt"
	"slices"
	"strings"

	"dbops/internal/live"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/page/internal/sheet"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	if p.view == viewOne {
		return p.scroll.View(s.Theme, p.oneLines(s), s.Area.W, s.Area.H)
	}
	if _, known := p.Value(); !known {
		return p.Sheet.View(s, p.Top(s))
	}
	t := p.list()
	t.Columns = slices.Clone(t.Columns)
	last := &t.Columns[len(t.Columns)-1]
	last.Min = max(last.Min, s.Area.W/4) // a statement tells more than what else would fit
	switch {
	case p.filter.Value() != "":
		t.Empty = "no session fits the filter"
	case p.view == viewLocks:
		t.Empty = "nobody waits for a lock"
	default:
		t.Empty = "nobody is connected"
	}
	return p.List(s, p.above(s), t, p.below(s))
}

// Click implements [screen.Clicker].
func (p Page) Click(_, y int, s screen.Scene) (next screen.Page, hit bool) {
	if p.view == viewOne {
		return p, false
	}
	t, hit := sheet.Pick(p.list(), y, s, len(p.above(s)), len(p.below(s)))
	return p.with(t), hit
}

// below is the statement of the selected session, where there is room for it.
func (p Page) below(s screen.Scene) []string {
	one, ok := p.selected()
	const most = 6
	if !ok || !s.Area.Tall() {
		return nil
	}
	d := component.NewDoc(s.Theme, s.Area.W)
	d.Raw("")
	d.Raw(component.Rule(s.Theme, "STATEMENT OF "+pid(one), s.Area.W-2))
	d.Add(theme.Text, 0, strings.Join(strings.Fields(statement(one).Text), " "))
	lines := d.Lines()
	if len(lines) > most {
		lines = append(lines[:most-1], s.Theme.Paint(theme.Muted, "   "+s.Theme.Glyphs.Tail+" enter shows all of it"))
	}
	return lines
}

// above stands over a list: what is wrong, and how many there are.
func (p Page) above(s screen.Scene) []string {
	lines := p.Top(s)
	a, ok := p.Value()
	if !ok {
		return lines
	}
	d := component.NewDoc(s.Theme, s.Area.W)
	for _, m := range a.Missing {
		d.Mark(theme.Warn, m.Why)
		if m.Hint != "" {
			d.Add(theme.Muted, 2, "next: "+m.Hint)
		}
	}
	role, words := p.counted(a)
	d.Add(role, 0, words)
	if note, _ := p.filter.Note(); note != "" || p.filter.Editing() {
		shown, all := p.list().Len()
		d.Add(theme.Focus, 0, fmt.Sprintf("%s  %d of %d", note, shown, all))
	}
	d.Raw("")
	return append(lines, d.Lines()...)
}

// counted says in a line how things stand.
func (p Page) counted(a *live.Activity) (theme.Role, string) {
	active, inTx, waiting := 0, 0, 0
	for _, s := range a.Sessions {
		switch {
		case s.Active():
			active++
		case strings.HasPrefix(s.State, "idle in transaction"):
			inTx++
		}
		if len(s.BlockedBy) > 0 {
			waiting++
		}
	}
	out := text.Count(len(a.Sessions), "session") + fmt.Sprintf(": %d active, %d idle in tx", active, inTx)
	if p.view == viewSessions && p.order != byTrouble {
		out += ", sorted by " + p.order.String()
	}
	if waiting == 0 {
		return theme.Muted, out + ", nobody waits for a lock"
	}
	verb := "wait"
	if waiting == 1 {
		verb = "waits"
	}
	return theme.Warn, fmt.Sprintf("%s %d %s for locks behind %s; %s", theme.Mark(theme.Warn), waiting, verb, pid(a.Forest()[0].Session), out)
}

// oneLines are the whole of one session.
func (p Page) oneLines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	if s.Area.Tall() {
		d.Raw("")
	}
	if err := p.detail.Err(); err != nil {
		d.Mark(theme.Danger, "the session could not be read: "+err.Error())
		if hint := overview.Hint(err); hint != "" {
			d.Add(theme.Text, 2, "next: "+hint)
		}
		d.Raw("")
	}
	all, known := p.detail.Value()
	one, role := p.one, theme.Text
	switch {
	case p.ended():
		d.Mark(theme.Warn, "it has ended; this is how it was")
		d.Raw("")
		role = theme.Muted
	case known:
		one = *all.Session
	}
	d.Add(theme.Strong, 0, "session "+pid(one)+"  "+dash(one.User)+"  "+one.Application)
	fact := func(r theme.Role, label, value string) {
		if value = strings.TrimSpace(value); value != "" {
			d.Fact(r, label, value)
		}
	}
	c := state(one)
	if role != theme.Muted {
		role = c.Role
	}
	fact(role, "state", strings.TrimSpace(c.Text+" for "+age(since(one))))
	if one.InTransaction != nil {
		wrote := ", nothing changed so far"
		if one.Wrote {
			wrote = ", has changed something"
		}
		fact(theme.Text, "transaction", age(one.InTransaction)+wrote)
	}
	if one.Active() {
		fact(theme.Text, "waits on", one.WaitType+" "+one.WaitEvent)
	}
	fact(theme.Text, "database", one.Database)
	fact(theme.Text, "client", one.Client)
	if !one.Started.IsZero() {
		fact(theme.Text, "connected", text.Stamp(one.Started)+", "+text.Age(s.Now.Sub(one.Started))+" ago")
	}
	if one.Type != "client backend" {
		fact(theme.Text, "process", one.Type)
	}
	d.Heading(map[bool]string{true: "STATEMENT", false: "LAST STATEMENT"}[one.Active()])
	for line := range strings.SplitSeq(strings.TrimRight(dash(one.Query), "\n"), "\n") {
		d.Add(theme.Text, 0, strings.ReplaceAll(line, "\t", "  "))
	}
	if known && !p.ended() {
		drawLocks(d, one, all)
	}
	return d.Lines()
}

func drawLocks(d *component.Doc, one live.Session, all *live.Detail) {
	if w := one.Waits; w != nil {
		d.Heading("WAITS FOR")
		d.Mark(theme.Danger, fmt.Sprintf("%s on %s for %s, behind %s", w.Mode, w.Object, age(w.For), strings.Trim(fmt.Sprint(one.BlockedBy), "[]")))
	}
	if len(all.Waiting) > 0 {
		d.Heading("WAITING FOR IT")
		for _, w := range all.Waiting {
			d.Mark(theme.Warn, fmt.Sprintf("%s %s %s, for %s: %s", pid(w), w.User, w.Application, age(since(w)), statement(w).Text))
		}
	}
	held := false
	for _, l := range all.Locks {
		if l.Granted && !held {
			d.Heading("HOLDS")
			held = true
		}
		if l.Granted {
			d.Add(theme.Text, 0, l.Object+": "+l.Mode)
		}
	}
	for _, m := range all.Missing {
		d.Mark(theme.Warn, m.Part+": "+m.Why)
	}
}
