package sheet

import (
	"strings"

	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// leastRows is what a list between other lines has at least, its title among them.
const leastRows = 5

// room is the height of a list beside so many other lines.
func room(s screen.Scene, others int) int {
	return max(min(leastRows, s.Area.H), s.Area.H-others)
}

// split is the heights of the lines above a list, and of the list.
func split(t component.Table, s screen.Scene, above, below int) (upper, h int) {
	h = room(s, above+below)
	upper = min(above, s.Area.H-h)
	if below > 0 {
		h = min(h, t.Lines())
	}
	return upper, h
}

// List draws lines, which can be scrolled where there is no room for all, below them a list, and right below its rows what is to be said of the
// selected one.
func (p Sheet[T]) List(s screen.Scene, above []string, t component.Table, below []string) string {
	upper, h := split(t, s, len(above), len(below))
	list := strings.Split(t.View(s.Theme, s.Area.W, h, true), "\n")
	out := strings.Split(p.scroll.ViewKeys(s.Theme, above, s.Area.W, upper, "K", "J"), "\n")[:upper]
	out = append(append(out, p.Aged(s, list)...), p.Aged(s, below)...)
	return text.Box(out, s.Area.W, s.Area.H, s.Theme.Glyphs.Tail)
}

// MoveIn moves the selection of a list beside so many other lines; ok is false when id is no move.
func MoveIn(t component.Table, id string, s screen.Scene, others int) (next component.Table, ok bool) {
	step, ok := screen.Step(id, room(s, others))
	if ok {
		t = t.Move(step)
	}
	return t, ok
}

// Pick selects the row at a line of the page, as [Sheet.List] draws it; hit is false without one there.
func Pick(t component.Table, y int, s screen.Scene, above, below int) (next component.Table, hit bool) {
	upper, h := split(t, s, above, below)
	return t.Pick(y-upper, h)
}

const (
	actTextDown = "text.down"
	actTextUp   = "text.up"
)

// TextMoves scroll the lines above a list.
func (p Sheet[T]) TextMoves(t component.Table, s screen.Scene, above, below int) []screen.Action {
	off := ""
	if upper, _ := split(t, s, above, below); upper >= above {
		off = "all of it is on the screen"
	}
	return []screen.Action{
		{ID: actTextDown, Title: "scroll the text above the list down", Key: screen.Keys("J"), Group: screen.GroupMove, Off: off},
		{ID: actTextUp, Title: "scroll the text above the list up", Key: screen.Keys("K"), Group: screen.GroupMove, Off: off},
	}
}

// MoveText runs one of [Sheet.TextMoves]; ok is false when it is none of them.
func (p Sheet[T]) MoveText(id string, t component.Table, s screen.Scene, above, below int) (next Sheet[T], ok bool) {
	step, ok := map[string]int{actTextDown: 1, actTextUp: -1}[id]
	if ok {
		upper, _ := split(t, s, above, below)
		p.scroll = p.scroll.By(step, above, upper)
	}
	return p, ok
}

// CommonList are the actions of a sheet with a list that can be filtered and sorted, which stands between so many lines.
func (p Sheet[T]) CommonList(s screen.Scene, cli []string, l listing.List, above, below int) []screen.Action {
	return append(append(p.own(s, cli), l.Actions()...), p.TextMoves(l.Table, s, above, below)...)
}

// DoList runs one of [Sheet.CommonList] but those that are every sheet's; ok is false when it is none of them.
func (p Sheet[T]) DoList(id string, l listing.List, s screen.Scene, above, below int) (next Sheet[T], list listing.List, out screen.Out, ok bool) {
	if p, ok = p.MoveText(id, l.Table, s, above, below); ok {
		return p, l, out, true
	}
	l, out, ok = l.Do(id, room(s, above+below))
	return p, l, out, ok
}

// HeaderList is [Sheet.Header] with a list's filter and order.
func (p Sheet[T]) HeaderList(l listing.List) screen.Header {
	h := p.Header()
	h.Note, h.Cursor = l.Note()
	return h
}
