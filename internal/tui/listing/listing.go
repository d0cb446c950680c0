// Package listing is the part of a page that is a list: its rows, filter and order, and the keys for them.
package listing

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// List is a table that can be filtered and sorted. It is a value.
type List struct {
	component.Table
	noun   string
	orders []string
	order  int
	filter component.Filter
}

// New returns a list of such things; orders are the words of what it can be sorted by, the first of which goes without saying.
func New(noun string, columns []component.Column, orders ...string) List {
	return List{Table: component.Table{Columns: columns}, noun: noun, orders: orders, filter: component.NewFilter()}
}

// Order is the number of the order.
func (l List) Order() int { return l.order }

// Captures tells that keys go to the filter.
func (l List) Captures() bool { return l.filter.Editing() }

// Rows replaces the rows. empty is what stands in place of none.
func (l List) Rows(rows []component.Row, empty string) List {
	l.Table = l.WithRows(rows)
	l.Empty = empty
	if l.filter.Value() != "" && len(rows) > 0 {
		l.Empty = "nothing matches the filter: esc clears it"
	}
	return l
}

const (
	actFilter = "list.filter"
	actKeep   = "list.filter-keep"
	actClear  = "list.filter-clear"
	actSort   = "list.sort"
)

// Typing are the actions while the filter is typed.
func Typing() []screen.Action {
	return []screen.Action{
		{ID: actKeep, Title: "keep the filter", Short: "keep", Key: screen.Keys("enter")},
		{ID: actClear, Title: "clear the filter", Short: "clear", Key: screen.Keys("esc")},
	}
}

// Actions are those of the list, with the moves.
func (l List) Actions() []screen.Action {
	none, clear := "", ""
	if _, all := l.Len(); all == 0 {
		none = "there is nothing to look through"
	}
	if l.filter.Value() == "" {
		clear = "there is no filter"
	}
	out := []screen.Action{
		{ID: actFilter, Title: "filter: words that must be there, !word that must not", Short: "filter", Key: screen.Keys("/"), Off: none},
		{ID: actClear, Title: "clear the filter", Key: screen.Keys("esc"), Off: clear},
	}
	if n := len(l.orders); n > 1 {
		out = append(out, screen.Action{ID: actSort, Title: "sort by " + l.orders[(l.order+1)%n], Short: "sort", Key: screen.Keys("s"), Off: none})
	}
	return append(out, screen.Moves()...)
}

// Do runs an action in a list of h rows. ok is false when it is another's.
func (l List) Do(id string, h int) (next List, out screen.Out, ok bool) {
	if step, move := screen.Step(id, h); move {
		l.Table = l.Move(step)
		return l, out, true
	}
	switch id {
	case actFilter:
		var cmd tea.Cmd
		l.filter, cmd = l.filter.Edit()
		return l, screen.Run(cmd), true
	case actClear:
		l.filter = l.filter.Clear()
		l.Table = l.WithFilter("")
		return l, out, true
	case actSort:
		l.order = (l.order + 1) % len(l.orders)
		return l, out, true
	}
	return l, out, false
}

// Type takes a key or a paste while the filter is typed.
func (l List) Type(msg tea.Msg) (List, screen.Out) {
	var cmd tea.Cmd
	l.filter, cmd = l.filter.Update(msg)
	l.Table = l.WithFilter(l.filter.Value())
	return l, screen.Run(cmd)
}

// Note says the filter and the order, and where typing goes; -1 for nowhere.
func (l List) Note() (note string, cursor int) {
	note, cursor = l.filter.Note()
	if shown, all := l.Len(); note != "" {
		note += fmt.Sprintf("  %d of %s", shown, text.Count(all, l.noun))
	}
	if l.order > 0 {
		if note != "" {
			note += "  "
		}
		note += "by " + l.orders[l.order]
	}
	return note, cursor
}

// Failure says above a list why it could not be read anew, and what to do.
func Failure(d *component.Doc, err error, what string) {
	if err == nil {
		return
	}
	d.Mark(theme.Danger, what+": "+err.Error())
	if hint := overview.Hint(err); hint != "" {
		d.Add(theme.Text, 2, "next: "+hint)
	}
}

// Who is a name for a list: of an ARN, what tells people apart.
func Who(name string) string {
	if !strings.HasPrefix(name, "arn:") {
		return name
	}
	name = name[strings.LastIndexByte(name, ':')+1:]
	for _, kind := range []string{"assumed-role/", "user/", "role/"} {
		name = strings.TrimPrefix(name, kind)
	}
	return name
}
