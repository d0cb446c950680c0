package catalog

import (
	"fmt"
	"strings"
)

// The actions of a change.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Change is one difference between two catalogues.
type Change struct {
	Action string `json:"action"`
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	On     string `json:"on,omitempty"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// String is the change in words.
func (c Change) String() string {
	s := c.Kind + " " + c.Name
	if c.Kind == "index" {
		s += " on " + c.On
	}
	switch c.Action {
	case Added:
		return join(s+" added", c.After)
	case Removed:
		return s + " removed"
	}
	if cut(c.Before) || cut(c.After) {
		return s + ": the definition changed"
	}
	return fmt.Sprintf("%s: %s → %s", s, orNothing(c.Before), orNothing(c.After))
}

// cut tells whether a definition is not shown in full, or too long to be.
func cut(def string) bool { return len(def) > 160 || strings.Contains(def, "\n") }

func join(s, def string) string {
	if def == "" || cut(def) {
		return s
	}
	return s + ": " + def
}

func orNothing(def string) string {
	if def == "" {
		return "plain"
	}
	return def
}

// Diff returns what leads from one catalogue to another: what is removed, then what changed, then what is added, each in order. Privileges
// count.
func Diff(from, to *Catalog) []Change {
	var removed, changed, added []Change
	a, b := from.Objects, to.Objects
	for len(a) > 0 || len(b) > 0 {
		var order int
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = compare(a[0], b[0])
		}
		switch {
		case order < 0:
			removed = append(removed, Change{Action: Removed, Kind: a[0].Kind, Name: a[0].Name, On: a[0].On, Before: a[0].Def})
			a = a[1:]
		case order > 0:
			added = append(added, Change{Action: Added, Kind: b[0].Kind, Name: b[0].Name, On: b[0].On, After: b[0].Def})
			b = b[1:]
		default:
			if a[0].Def != b[0].Def {
				changed = append(changed, Change{Action: Changed, Kind: b[0].Kind, Name: b[0].Name, On: b[0].On, Before: a[0].Def, After: b[0].Def})
			}
			a, b = a[1:], b[1:]
		}
	}
	return append(append(removed, changed...), added...)
}

// WithoutPrivileges are the changes of the schema itself.
func WithoutPrivileges(all []Change) (out []Change) {
	for _, c := range all {
		if c.Kind != Privileges {
			out = append(out, c)
		}
	}
	return out
}

// Words are changes as a person reads them: what belongs to a table that is added or removed is told with the table.
func Words(all []Change) (out []string) {
	type whole struct{ action, name string }
	parts := map[whole][]Change{}
	for _, c := range all {
		switch c.Kind {
		case "table", "view", "materialized view", "foreign table", "composite type":
			if c.Action != Changed {
				parts[whole{c.Action, c.Name}] = nil
			}
		}
	}
	folded := func(c Change) bool {
		on := c.On
		if c.Kind == "attribute" {
			on = c.Name[:strings.LastIndex(c.Name, ".")]
		}
		if c.Kind == "sequence" {
			_, of, _ := strings.Cut(c.Before+c.After, " of ")
			on = of[:max(0, strings.LastIndex(of, "."))]
		}
		if _, ok := parts[whole{c.Action, on}]; !ok {
			return false
		}
		parts[whole{c.Action, on}] = append(parts[whole{c.Action, on}], c)
		return true
	}
	var rest []Change
	for _, c := range all {
		if !folded(c) {
			rest = append(rest, c)
		}
	}
	for _, c := range rest {
		s := c.String()
		if p := parts[whole{c.Action, c.Name}]; len(p) > 0 && c.Kind != Privileges {
			s += " (" + counts(p) + ")"
		}
		out = append(out, s)
	}
	return out
}

// counts is "3 columns, 1 index".
func counts(all []Change) string {
	var kinds []string
	n := map[string]int{}
	for _, c := range all {
		if n[c.Kind] == 0 {
			kinds = append(kinds, c.Kind)
		}
		n[c.Kind]++
	}
	parts := make([]string, 0, len(kinds))
	for _, k := range kinds {
		word := k
		if n[k] > 1 {
			switch k {
			case "index":
				word = "indexes"
			case "policy":
				word = "policies"
			case "statistics":
			default:
				word += "s"
			}
		}
		parts = append(parts, fmt.Sprintf("%d %s", n[k], word))
	}
	return strings.Join(parts, ", ")
}
