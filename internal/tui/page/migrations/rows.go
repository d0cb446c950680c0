package migrations

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dbops/internal/app"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
	"dbops/internal/tui/component"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

var columns = []component.Column{
	{Title: "FILE", Min: 30, Max: 44},
	{Title: "STATE", Min: 13, Max: 16},
	{Title: "LINT", Min: 8, Leave: 1},
	{Title: "APPLIED", Right: true, Min: 7, Leave: 2},
	{Title: "TOOK", Right: true, Min: 6, Leave: 3},
	{Title: "BY", Min: 8, Max: 28, Leave: 4},
	{Title: "COMMIT", Min: 8, Max: 13, Leave: 5},
}

// recent is how many of the applied files are shown unless all are wanted.
const recent = 3

// setKey is the key of a set's row, or of one of its files.
func setKey(set *app.MigrationSet, file string) string { return set.Name + "\x00" + file }

// hasKey tells whether a row that is about no file is of the set.
func hasKey(set *app.MigrationSet, key string) bool {
	return strings.HasPrefix(key, "!"+setKey(set, ""))
}

// rows are the files below their sets. What is old is muted.
func (p Page) rows(s screen.Scene) []component.Row {
	known, _ := p.look.Value()
	var out []component.Row
	for i := range known.sets {
		set := &known.sets[i]
		files, hidden := set.Files, 0
		if !p.whole {
			keep := recent
			if set.Clean() {
				keep = 1
			}
			files, hidden = short(set.Files, keep)
		}
		out = append(out, component.Row{Heading: &component.Heading{Word: set.Name, Band: theme.BandOpen, Note: note(set, hidden)}})
		n := len(out)
		out = append(out, amiss(set)...)
		for j := range files {
			out = append(out, component.Row{Key: setKey(set, files[j].String()), Cells: p.cells(set, &files[j], s)})
		}
		if len(out) == n {
			out = append(out, component.Row{Key: setKey(set, ""), Cells: []component.Cell{{Text: "the folder holds no migrations", Role: theme.Muted}}})
		}
	}
	if p.look.Err() != nil || s.Stale(p.look.At()) {
		for _, r := range out {
			for i := range r.Cells {
				r.Cells[i].Role = theme.Muted
			}
		}
	}
	return out
}

// short leaves out the files that were applied before the last few.
func short(all []app.MigrationFile, keep int) (out []app.MigrationFile, hidden int) {
	applied := 0
	for _, f := range all {
		if f.State == app.FileApplied || f.State == app.FileUnknown {
			applied++
		}
	}
	hidden = max(0, applied-keep)
	left := hidden
	for _, f := range all {
		if left > 0 && (f.State == app.FileApplied || f.State == app.FileUnknown) {
			left--
			continue
		}
		out = append(out, f)
	}
	return out, hidden
}

// first is how many rows stand above the first that somebody has to look at; 0 without one.
func first(rows []component.Row) (n int) {
	for _, r := range rows {
		switch {
		case r.Heading != nil:
			continue
		case len(r.Cells) > 1 && r.Cells[1].Role != theme.Muted:
			return n
		}
		n++
	}
	return 0
}

// note is a set in a line.
func note(set *app.MigrationSet, hidden int) string {
	if set.Err() != nil {
		return set.Word()
	}
	out := fmt.Sprintf("at %s of %s, %s", version(set.Version), version(set.Latest), set.Word())
	if hidden > 0 {
		out += fmt.Sprintf(", %s not shown", text.Count(hidden, "older file"))
	}
	return out
}

func version(v *int64) string {
	if v == nil || *v < 0 {
		return "none"
	}
	return fmt.Sprint(*v)
}

// amiss are rows for what is wrong with a set and is no file's.
func amiss(set *app.MigrationSet) (out []component.Row) {
	add := func(role theme.Role, word, what string) {
		out = append(out, component.Row{Key: "!" + setKey(set, fmt.Sprint(len(out))), Cells: []component.Cell{
			{Text: what, Role: role}, {Text: theme.Mark(role) + " " + word, Role: role},
		}})
	}
	switch {
	case set.Err() != nil:
		add(theme.Danger, set.Word(), "it could not be looked at")
	case set.Dirty && set.Held != "":
		add(theme.Pending, "running", "migrated by "+set.Held)
	case set.Dirty && set.Cut != nil:
		add(theme.Danger, "dirty", fmt.Sprintf("%d of %d statements done of %s", set.Cut.Done, set.Cut.Statements, set.Cut.Name))
	case set.Dirty:
		add(theme.Danger, "dirty", "a migration ended half-way")
	}
	for _, v := range set.Unknown {
		add(theme.Warn, "ahead", fmt.Sprintf("%d, which the folder does not have", v))
	}
	for _, f := range set.Problems {
		role, word := theme.Warn, "problem"
		if f.Fatal {
			role, word = theme.Danger, "broken"
		}
		add(role, word, f.String())
	}
	return out
}

func (p Page) cells(set *app.MigrationSet, f *app.MigrationFile, s screen.Scene) []component.Cell {
	cells := []component.Cell{{Text: f.String(), Role: theme.Strong}, state(set, f), p.lintCell(set, f)}
	switch f.State {
	case app.FileApplied:
		cells[0].Role = theme.Text
	case app.FileUnknown:
		cells[0].Role = theme.Muted
	}
	if a := f.Applied; a != nil && f.State != app.FilePending {
		return append(cells, component.Cell{Text: text.Age(s.Now.Sub(a.At))}, component.Cell{Text: took(a.Seconds)},
			component.Cell{Text: a.Who, Role: theme.Muted}, component.Cell{Text: a.Commit[:min(8, len(a.Commit))], Role: theme.Muted})
	}
	return append(cells, component.Cell{Text: "-", Role: theme.Muted}, component.Cell{Text: "-", Role: theme.Muted})
}

func state(set *app.MigrationSet, f *app.MigrationFile) component.Cell {
	switch f.State {
	case app.FileApplied:
		return component.Cell{Text: f.State, Role: theme.Muted}
	case app.FilePending:
		return component.Cell{Text: theme.Mark(theme.Pending) + " " + f.State, Role: theme.Pending}
	case app.FileCut:
		if set.Held != "" {
			return component.Cell{Text: theme.Mark(theme.Pending) + " running", Role: theme.Pending}
		}
		return component.Cell{Text: theme.Mark(theme.Danger) + " " + f.State, Role: theme.Danger}
	case app.FileUnknown:
		return component.Cell{Text: "?", Role: theme.Muted}
	default:
		return component.Cell{Text: theme.Mark(theme.Warn) + " " + f.State, Role: theme.Warn}
	}
}

// took is how long something took: 40ms, 3.2s, 3m.
func took(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0fms", seconds*1000)
	case seconds < 60:
		return fmt.Sprintf("%.1fs", seconds)
	default:
		return fmt.Sprintf("%dm%02ds", int(seconds)/60, int(seconds)%60)
	}
}

// lintCell counts the findings of a file that goes up.
func (p Page) lintCell(set *app.MigrationSet, f *app.MigrationFile) component.Cell {
	found, known, _ := p.found(set, f, f.Up)
	if !known {
		word := "?"
		if p.lint.Loading() {
			word = "~ judging"
		}
		return component.Cell{Text: word, Role: theme.Muted}
	}
	errors, warnings := count(found)
	var parts []string
	if errors > 0 {
		parts = append(parts, fmt.Sprintf("x %d", errors))
	}
	if warnings > 0 {
		parts = append(parts, fmt.Sprintf("! %d", warnings))
	}
	role := theme.Muted
	if f.State != app.FileApplied {
		switch {
		case errors > 0:
			role = theme.Danger
		case warnings > 0:
			role = theme.Warn
		}
	}
	return component.Cell{Text: cmp.Or(strings.Join(parts, " "), "-"), Role: role}
}

func count(all []lint.Finding) (errors, warnings int) {
	for _, f := range all {
		switch {
		case f.Allowed != "":
		case f.Severity == lint.Error:
			errors++
		case f.Severity == lint.Warn:
			warnings++
		}
	}
	return errors, warnings
}

// found are the findings in a file; of a pending one by the real tables, if somebody had it judged by those. known is false while it is not judged.
func (p Page) found(set *app.MigrationSet, m *app.MigrationFile, file *source.File) (out []lint.Finding, known, live bool) {
	all, _ := p.lint.Value()
	from, known := all[set.Name]
	if l, ok := p.live.Value(); ok && l.set == set.Name && l.Print == set.Print && (m.State == app.FilePending || m.State == app.FileLate) {
		from, known = l.MigrationLint, true
	}
	if !known || file == nil || from.Print != set.Print {
		return nil, known && file == nil, false
	}
	for _, f := range from.Findings {
		if f.File == file.Path {
			out = append(out, f)
		}
	}
	rank := func(f lint.Finding) int {
		return slices.Index([]lint.Severity{lint.Error, lint.Warn, lint.Info}, f.Severity)
	}
	slices.SortStableFunc(out, func(a, b lint.Finding) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line)) })
	return out, true, from.Live
}
