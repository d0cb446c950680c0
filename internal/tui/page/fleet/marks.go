package fleet

import (
	"maps"
	"slices"
	"strconv"

	"dbops/internal/app"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
)

// mark marks an instance, or takes its mark away.
func (p Page) mark(key string, on bool) Page {
	p.marked = maps.Clone(p.marked)
	if p.marked == nil {
		p.marked = map[string]bool{}
	}
	if on {
		p.marked[key] = true
	} else {
		delete(p.marked, key)
	}
	return p
}

// markShown marks all that the filter shows; where all are, it takes their marks away.
func (p Page) markShown() Page {
	shown := p.table.Shown()
	all := !slices.ContainsFunc(shown, func(key string) bool { return !p.marked[key] })
	for _, key := range shown {
		p = p.mark(key, !all)
	}
	return p
}

// stillThere are the marks of instances that are configured.
func stillThere(marked map[string]bool, s screen.Scene) map[string]bool {
	if len(marked) == 0 {
		return nil
	}
	out := map[string]bool{}
	for _, i := range s.Instances {
		if key := overview.Key(i.Environment, i.Name); marked[key] {
			out[key] = true
		}
	}
	return out
}

// chosen are the marked instances in the order of the screen.
func (p Page) chosen(s screen.Scene) (out []app.Instance) {
	for _, k := range p.all(s) {
		if p.marked[k.Key()] {
			out = append(out, k.Instance)
		}
	}
	return out
}

// marksNote counts the marks, and those that the filter hides, which count all the same.
func (p Page) marksNote() string {
	n := len(p.marked)
	if n == 0 {
		return ""
	}
	hidden := n
	for _, key := range p.table.Shown() {
		if p.marked[key] {
			hidden--
		}
	}
	out := strconv.Itoa(n) + " marked"
	if hidden > 0 {
		out += ", " + strconv.Itoa(hidden) + " of them hidden by the filter"
	}
	return out
}

// markedText is what an action is about: "the 3 marked instances".
func (p Page) markedText() string {
	switch n := len(p.marked); n {
	case 0:
		return "the marked instances"
	case 1:
		return "the marked instance"
	default:
		return "the " + text.Count(n, "marked instance")
	}
}
