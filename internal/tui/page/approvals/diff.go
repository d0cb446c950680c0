package approvals

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"dbops/internal/op"
	"dbops/internal/tui/component"
	"dbops/internal/tui/theme"
)

// Looked are the plans that this person looked at last, by what they change. It is not changed once made.
type Looked map[string]*op.Plan

// With remembers a plan.
func (l Looked) With(p *op.Plan) Looked {
	next := maps.Clone(l)
	if next == nil {
		next = Looked{}
	}
	next[change(p)] = p
	return next
}

// change names what a plan changes: two plans of the same name are about the same wish.
func change(p *op.Plan) string { return p.Kind + " " + p.Target.String() }

// difference is one thing that another plan says otherwise.
type difference struct {
	sign rune // + new, - gone, ~ another value
	text string
}

// differences are those of a plan from one that was looked at before.
func differences(before, now *op.Plan) (out []difference) {
	lists := func(sign rune, a, b []string) {
		for _, one := range a {
			if !slices.Contains(b, one) {
				out = append(out, difference{sign, one})
			}
		}
	}
	findings := func(p *op.Plan) (all []string) {
		for _, f := range p.Findings {
			all = append(all, "finding ("+string(f.Severity)+"): "+f.Text)
		}
		return all
	}
	steps := func(p *op.Plan) (all []string) {
		for _, s := range p.Steps {
			all = append(all, "step: "+s.Title)
		}
		return all
	}
	for _, list := range []func(*op.Plan) []string{findings, steps} {
		lists('+', list(now), list(before))
		lists('-', list(before), list(now))
	}
	out = append(out, values("change", changes(before), changes(now))...)
	out = append(out, values("fact", facts(before.Facts), facts(now.Facts))...)
	out = append(out, values("", said(before), said(now))...)
	return out
}

// values compares what has names.
func values(what string, before, now map[string]string) (out []difference) {
	if what != "" {
		what += ": "
	}
	both := maps.Clone(before)
	maps.Copy(both, now)
	for _, k := range slices.Sorted(maps.Keys(both)) {
		was, had := before[k]
		is, has := now[k]
		switch {
		case !had:
			out = append(out, difference{'+', fmt.Sprintf("%s%s %s", what, k, is)})
		case !has:
			out = append(out, difference{'-', fmt.Sprintf("%s%s %s", what, k, was)})
		case was != is:
			out = append(out, difference{'~', fmt.Sprintf("%s%s was %s, is %s", what, k, was, is)})
		}
	}
	return out
}

func changes(p *op.Plan) map[string]string {
	out := map[string]string{}
	for _, c := range p.Changes {
		name := c.Setting
		if c.Target != "" && c.Target != p.Target.String() {
			name = c.Target + " " + name
		}
		out[name] = fmt.Sprintf("%s -> %s", orNothing(c.From), c.To)
	}
	return out
}

func said(p *op.Plan) map[string]string {
	out := map[string]string{"downtime": p.Downtime.Expected + " (" + p.Downtime.Text + ")"}
	for k, v := range map[string]string{"cost": p.Cost, "way back": p.Back} {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

// facts are the leaves of a plan's facts by their paths; of a list, the whole.
func facts(raw json.RawMessage) map[string]string {
	out := map[string]string{}
	var walk func(path string, raw json.RawMessage)
	walk = func(path string, raw json.RawMessage) {
		var object map[string]json.RawMessage
		if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) && json.Unmarshal(raw, &object) == nil {
			for k, v := range object {
				walk(path+"."+k, v)
			}
			return
		}
		if len(raw) > 0 && len(path) > 0 {
			out[path[1:]] = string(bytes.TrimSpace(raw))
		}
	}
	walk("", raw)
	return out
}

// drawDifferences says how a plan differs from the one that was looked at before.
func drawDifferences(d *component.Doc, before, now *op.Plan) {
	d.Heading("SINCE YOU LOOKED AT PLAN " + before.Hash()[:10])
	all := differences(before, now)
	if len(all) == 0 {
		d.Add(theme.OK, 0, "it says the same: only its time is another")
		return
	}
	const most = 20
	for _, one := range all[:min(most, len(all))] {
		role := map[rune]theme.Role{'+': theme.Warn, '-': theme.Muted, '~': theme.Warn}[one.sign]
		d.Add(role, 0, string(one.sign)+" "+one.text)
	}
	if n := len(all) - most; n > 0 {
		d.Add(theme.Muted, 0, fmt.Sprintf("and %d more", n))
	}
}
