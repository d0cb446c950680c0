package audit

import (
	"fmt"

	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// top is what stands above the list.
func (p Page) top(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	listing.Failure(d, p.newest.Err(), "the log could not be read")
	p.chain.draw(d, s.Now)
	return d.Lines()
}

// panes leave a line for what there is beyond the end.
func (p Page) panes(s screen.Scene) component.Panes {
	return component.Divide(p.list.Lines(), s.Area.W, s.Area.H-len(p.top(s))-1)
}

// Click implements [screen.Clicker].
func (p Page) Click(x, y int, s screen.Scene) (next screen.Page, hit bool) {
	if panes, y := p.panes(s), y-len(p.top(s)); x < panes.ListW && y < panes.ListH {
		p.list.Table, hit = p.list.Pick(y, panes.ListH)
	}
	return p, hit
}

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	a, top := s.Area, p.top(s)
	panes := p.panes(s)
	var said []string
	if e, ok := p.selected(); ok && panes.DetailW > 0 {
		d := component.NewDoc(s.Theme, panes.DetailW)
		d.Raw(component.Rule(s.Theme, fmt.Sprintf("entry %d", e.Seq), panes.DetailW-2))
		about(d, e)
		said = d.Lines()
	}
	out := text.Box(top, a.W, len(top), s.Theme.Glyphs.Tail)
	if len(top) > 0 {
		out += "\n"
	}
	out += panes.View(s.Theme, p.list.View(s.Theme, panes.ListW, panes.ListH, true), said)
	end := ""
	if len(p.entries) > 0 && p.last() {
		end = "  " + s.Theme.Paint(theme.Muted, p.end())
	}
	return out + "\n" + text.Left(end, a.W, s.Theme.Glyphs.Tail)
}

const (
	actOpen    = "entry.open"
	actVerify  = "audit.verify"
	actRefresh = "audit.refresh"
	actRunOf   = "entry.run-of"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.list.Captures() {
		return listing.Typing()
	}
	e, ok := p.selected()
	none, noRun, busy, loading := "", "", "", ""
	if !ok {
		none = "no entry is selected"
	}
	if e.Run == "" {
		noRun = "it belongs to no run"
	}
	if p.chain.busy {
		busy = "it is being verified"
	}
	if p.newest.Loading() {
		loading = "it is being read"
	}
	out := append([]screen.Action{
		{ID: actOpen, Title: "open: all of the entry", Short: "open", Key: screen.Keys("enter"), Off: none},
	}, p.list.Actions()...)
	return append(
		out,
		screen.Action{ID: actVerify, Title: "verify all of the log now", Short: "verify", Key: screen.Keys("v"), Off: busy, CLI: []string{"dbops", "audit", "verify"}},
		screen.Action{ID: actRunOf, Title: "open its run", Short: "its run", Key: screen.Keys("o"), Off: noRun, CLI: []string{"dbops", "runs", "show", e.Run}},
		screen.Action{ID: actRefresh, Title: "read it now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: p.CLI(s)},
		screen.Action{ID: actCopy, Title: "copy the entry's run", Short: "copy run", Key: screen.Keys("y"), Off: noRun},
	)
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	e, _ := p.selected()
	switch id {
	case actOpen:
		return p, screen.Say(screen.Open{Page: NewEntry(p.pool, e)})
	case actVerify:
		next, cmd := p.chain.verify(s.Now, true)
		p.chain = next
		return p, screen.Run(cmd)
	case actRefresh:
		return p.read(s, false)
	case actRunOf:
		return p, screen.Say(screen.OpenRun{ID: e.Run})
	case actCopy:
		return p, screen.Say(screen.Copy{What: "run", Text: e.Run})
	}
	next, out, _ := p.list.Do(id, p.panes(s).ListH)
	p.list = next
	if step, moves := screen.Step(id, 1); moves && step > 0 && p.last() {
		return p.more()
	}
	return p, out
}
