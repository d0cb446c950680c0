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
	loading := ""
	if p.reader.Loading() {
		loading = "it is being read since " + text.Age(s.Now.Sub(p.reader.Began()))
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
		{ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: noFilter},
		{ID: actSort, Title: "sort by " + p.order.next().String(), Short: "sort", Key: screen.Keys("s"), Off: nothing},
		{ID: actRefresh, Title: "read everything now", Short: "refresh", Key: screen.Keys("r"), Off: loading, CLI: screen.CLIStatus("")},
		{ID: actCopy, Title: "copy the address of " + name, Short: "copy address", Key: screen.Keys("y"), Off: none},
	}
	return append(out, screen.Moves()...)
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
	case actRefresh:
		next, out := p.read(s)
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
