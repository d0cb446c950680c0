package fleet

import (
	"cmp"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// The ids of the page's actions.
const (
	actOpen    = "instance.open"
	actProxy   = "proxy.show"
	actFilter  = "list.filter"
	actKeep    = "list.filter-keep"
	actClear   = "list.filter-clear"
	actSort    = "list.sort"
	actRefresh = "fleet.refresh"
	actCopy    = "instance.copy"
	actBack    = "list.sort-back"
	actMark    = "list.mark"
	actMarkAll = "list.mark-all"
	actUnmark  = "list.unmark"
	actCompare = "several.compare"
	actBackUp  = "several.back-up"
	actRotate  = "several.rotate"
	actSetBack = "several.set-back"
)

// Actions implements [screen.Page].
func (p Page) Actions(s screen.Scene) []screen.Action {
	if p.filter.Editing() {
		return []screen.Action{
			{ID: actKeep, Title: "keep the filter", Short: "keep", Key: screen.Keys("enter")},
			{ID: actClear, Title: "clear the filter", Short: "clear", Key: screen.Keys("esc")},
		}
	}
	k, ok := p.selected(s)
	none, nothing := "", ""
	if !ok {
		none = "no instance is selected"
	}
	if len(s.Instances) == 0 {
		nothing = "there is no instance"
	}
	loading, shown := "", ""
	if p.reader.Loading() {
		loading = "it is being read since " + text.Age(s.Now.Sub(p.reader.Began()))
	}
	if n, _ := p.table.Len(); n == 0 {
		shown = "no instance is shown"
	}
	noFilter := ""
	if p.filter.Value() == "" {
		noFilter = "there is no filter"
	}
	name := overviewName(k.Instance, ok)
	out := []screen.Action{
		{
			ID: actOpen, Title: "open " + name, Short: "open", Key: screen.Keys("enter"), Off: none,
			CLI: screen.CLIInstance(k.Environment, k.Name),
		},
		{
			ID: actProxy, Title: "proxy of " + cmp.Or(k.Environment, "its environment"), Short: "proxy", Key: screen.Keys("p"), Off: none,
			CLI: screen.CLIProxy(app.ProxyOptions{Environment: k.Environment}),
		},
		{ID: actFilter, Title: "filter: words that must be there, !word that must not", Short: "filter", Key: screen.Keys("/"), Off: nothing},
		{ID: actUnmark, Title: "take all marks away", Key: screen.Keys("esc"), Off: p.unmarked()},
		{ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: noFilter},
		{ID: actSort, Title: "sort by " + p.order.next().String(), Short: "sort", Key: screen.Keys("s"), Off: nothing},
		{ID: actRefresh, Title: "read everything now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: screen.CLIStatus("")},
		{ID: actBack, Title: "sort by " + p.order.previous().String(), Key: screen.Keys("S"), Off: nothing},
		{ID: actMark, Title: "mark " + name + ", or take its mark away", Short: "mark", Key: screen.Keys("space"), Off: none},
		{ID: actMarkAll, Title: "mark all that is shown, or take their marks away", Key: screen.Keys("*"), Off: shown},
		{ID: actCopy, Title: "copy the address of " + name, Short: "copy address", Key: screen.Keys("y"), Off: none},
	}
	if len(p.marked) > 0 {
		out = append(p.several(s), out...)
	} else {
		out = append(out, p.several(s)...)
	}
	return append(out, screen.Moves()...)
}

// several are the actions on what is marked.
func (p Page) several(s screen.Scene) []screen.Action {
	off, all, comparing := p.unmarked(), p.markedText(), ""
	if p.watch.some.Loading() {
		comparing = "it is being compared since " + text.Age(s.Now.Sub(p.watch.some.Began()))
	}
	return []screen.Action{
		{ID: actBackUp, Title: "plan: back up " + all, Short: "back up", Key: screen.Keys("b"), Off: off},
		{ID: actRotate, Title: "plan: rotate credentials of " + all, Short: "rotate", Key: screen.Keys("t"), Off: off},
		{ID: actSetBack, Title: "plan: set back drift of " + all, Short: "set back", Key: screen.Keys("f"), Off: off},
		{ID: actCompare, Title: "compare " + all + " with what is declared", Short: "compare", Key: screen.Keys("d"), Off: cmp.Or(off, comparing)},
	}
}

// unmarked is why nothing can be done to what is marked.
func (p Page) unmarked() string {
	if len(p.marked) == 0 {
		return "nothing is marked: space marks"
	}
	return ""
}

func overviewName(i app.Instance, ok bool) string {
	if !ok {
		return "the instance"
	}
	return i.Environment + "/" + i.Name
}

// Do implements [screen.Page].
func (p Page) Do(id string, s screen.Scene) (screen.Page, screen.Out) {
	if step, ok := screen.Step(id, p.listHeight(s)); ok {
		p.table = p.table.Move(step)
		return p, screen.Out{}
	}
	k, _ := p.selected(s)
	switch id {
	case actOpen:
		return p, screen.Say(screen.OpenInstance{Known: k})
	case actProxy:
		return p, screen.Say(screen.OpenProxy{Environment: k.Environment})
	case actFilter:
		var cmd tea.Cmd
		p.filter, cmd = p.filter.Edit()
		return p, screen.Run(cmd)
	case actClear:
		p.filter = p.filter.Clear()
		p.table = p.table.WithFilter("")
	case actSort:
		p.order = p.order.next()
		return p.sync(s), screen.Out{}
	case actBack:
		p.order = p.order.previous()
		return p.sync(s), screen.Out{}
	case actMark:
		p = p.mark(k.Key(), !p.marked[k.Key()])
		p.table = p.table.Move(1)
		return p.sync(s), screen.Out{}
	case actMarkAll:
		return p.markShown().sync(s), screen.Out{}
	case actUnmark:
		p.marked = nil
		return p.sync(s), screen.Out{}
	case actBackUp:
		return p, p.askBackUp(s)
	case actRotate:
		return p, p.askRotate(s)
	case actSetBack:
		return p, p.setBack(s)
	case actCompare:
		return p.compare(s)
	case actRefresh:
		next, out := p.readAll(s)
		if s.LoadErr != nil {
			out = out.And(screen.Reload{})
		}
		return next, out
	case actCopy:
		if at := k.Endpoint(); at != "" {
			return p, screen.Say(screen.Copy{What: "address of " + k.Key(), Text: at})
		}
		return p, screen.Say(screen.Copy{What: "coordinates of " + k.Key(), Text: k.Coordinates})
	}
	return p, screen.Out{}
}
