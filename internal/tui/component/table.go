// Package component holds the parts that pages draw with: table, filter, facts, lines, sparkline.
//
// They do no input or output and know no page. What they are given is raw: each cleans it before drawing, so a page cannot
// forget to. A selection is drawn as reverse video with a '>' before it, which survives the loss of colour.
package component

import (
	"slices"
	"strings"

	"dbops/internal/tui/theme"
)

// Column is one column of a [Table].
type Column struct {
	Title string
	Right bool // numbers end at the right
	Min   int  // cells it can shrink to; it takes at least these when there is room. Defaults to the title's width.
	Max   int  // cells it can grow to; 0 for as many as its content has
	// Leave is the order in which columns leave when the width is short: the highest first. 0 never leaves.
	Leave int
}

// Cell is raw text and its role.
type Cell struct {
	Text string
	Role theme.Role
}

// Row is one line of a table. One with a Heading starts a group and cannot be selected.
type Row struct {
	Key     string // tells rows apart when they are replaced; unique
	Cells   []Cell
	Heading *Heading

	// What a table with edges shows before the row.
	Edge   string // one cell in the colour of Band, which stays when the row is selected
	Band   theme.Band
	Marked bool
}

// Heading is the line above a group of rows.
type Heading struct {
	Word, Name string // drawn in the band's colour
	Band       theme.Band
	Note       string // after it, muted
}

// Table is a list with aligned columns, groups, a selection and a filter. It is a value: a method that changes it returns the
// next one.
type Table struct {
	Columns []Column
	Empty   string // in place of rows when there are none
	Edges   bool   // rows have an edge, and can be marked

	rows   []Row // all
	shown  []Row // those that pass the filter
	filter string
	key    string // of the selected row
}

// WithRows replaces the rows. The selection stays on the same key; when that is gone, it goes to the first row.
func (t Table) WithRows(rows []Row) Table {
	old := t.index()
	t.rows = rows
	return t.refilter(old)
}

// WithFilter keeps the rows that hold every word of f, in any case; a word after '!' must not be there.
func (t Table) WithFilter(f string) Table {
	old := t.index()
	t.filter = f
	return t.refilter(old)
}

// refilter works out the rows to show and keeps the selection near old.
func (t Table) refilter(old int) Table {
	t.shown = nil
	var group *Row
	headed := false // the group has its heading
	for i, r := range t.rows {
		if r.Heading != nil {
			group, headed = &t.rows[i], false
			continue
		}
		if !matches(r, group, t.filter) {
			continue
		}
		if group != nil && !headed {
			t.shown, headed = append(t.shown, *group), true
		}
		t.shown = append(t.shown, r)
	}
	if t.index() < 0 {
		t.key = ""
		if i := t.nearest(old, 1); i >= 0 {
			t.key = t.shown[i].Key
		}
	}
	return t
}

func matches(r Row, group *Row, filter string) bool {
	if filter == "" {
		return true
	}
	var all strings.Builder
	if group != nil {
		all.WriteString(group.Heading.Word + " " + group.Heading.Name + " ")
	}
	for _, c := range r.Cells {
		all.WriteString(c.Text)
		all.WriteByte(' ')
	}
	hay := strings.ToLower(all.String())
	for _, w := range strings.Fields(strings.ToLower(filter)) {
		word, not := strings.CutPrefix(w, "!")
		if word != "" && strings.Contains(hay, word) == not {
			return false
		}
	}
	return true
}

// index is the line of the selected row among those shown, -1 without one.
func (t Table) index() int {
	return slices.IndexFunc(t.shown, func(r Row) bool { return r.Heading == nil && r.Key == t.key })
}

// nearest is the row closest to line i, looking first in the direction of dir; -1 when there is no row.
func (t Table) nearest(i, dir int) int {
	i = min(max(i, 0), len(t.shown)-1)
	for _, d := range []int{dir, -dir} {
		for j := i; j >= 0 && j < len(t.shown); j += d {
			if t.shown[j].Heading == nil {
				return j
			}
		}
	}
	return -1
}

// Move moves the selection by step rows, stopping at the ends.
func (t Table) Move(step int) Table {
	var at []int // the lines of rows
	pos := 0
	for i, r := range t.shown {
		if r.Heading != nil {
			continue
		}
		if r.Key == t.key {
			pos = len(at)
		}
		at = append(at, i)
	}
	if len(at) > 0 {
		t.key = t.shown[at[min(max(pos+step, 0), len(at)-1)]].Key
	}
	return t
}

// Select selects the row of a key; without one that is shown it stays as it is.
func (t Table) Select(key string) Table {
	if slices.ContainsFunc(t.shown, func(r Row) bool { return r.Heading == nil && r.Key == key }) {
		t.key = key
	}
	return t
}

// Selected is the key of the selected row; empty without one.
func (t Table) Selected() string {
	if t.index() < 0 {
		return ""
	}
	return t.key
}

// Shown are the keys of the rows that pass the filter, in order.
func (t Table) Shown() (keys []string) {
	for _, r := range t.shown {
		if r.Heading == nil {
			keys = append(keys, r.Key)
		}
	}
	return keys
}

// Len counts the rows shown and all rows, headings aside.
func (t Table) Len() (shown, all int) {
	count := func(rows []Row) (n int) {
		for _, r := range rows {
			if r.Heading == nil {
				n++
			}
		}
		return n
	}
	return count(t.shown), count(t.rows)
}

// Lines is the height of everything: title, headings and rows.
func (t Table) Lines() int { return 1 + max(1, len(t.shown)) }
