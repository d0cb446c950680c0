package plan

import (
	"fmt"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/overview"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// View implements [screen.Page].
func (p Page) View(s screen.Scene) string {
	return p.scroll.View(s.Theme, p.lines(s), s.Area.W, s.Area.H)
}

// Header implements [screen.Page].
func (p Page) Header(screen.Scene) screen.Header {
	h := screen.Header{
		Environment: p.want.Change.Environment, Title: []string{p.want.Change.Instance, "plan"},
		Mode: screen.Mode{Word: "PLAN"}, Note: p.want.Title, Cursor: -1, Fresh: p.plan.Fresh(),
	}
	if p.plan.Loading() {
		h.Note = "planning: " + p.want.Title
	}
	return h
}

// CLI implements [screen.Page].
func (p Page) CLI(screen.Scene) []string { return append(p.cli(), "--plan") }

func (p Page) lines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	if err := p.plan.Err(); err != nil {
		d.Mark(theme.Danger, p.want.Title+": "+err.Error())
		if hint := overview.Hint(err); hint != "" {
			d.Add(theme.Text, 2, hint)
		}
	}
	made := p.Made()
	if made == nil {
		if p.plan.Loading() {
			d.Mark(theme.Pending, "working out what this does; nothing is changed")
		}
		return d.Lines()
	}
	Draw(d, made, p.own(s), s.Now)
	p.drawApproval(d, s)
	return d.Lines()
}

// Draw draws a plan: what a person must know first comes first. a is its approval; nil without one.
func Draw(d *component.Doc, made *op.Plan, a *state.Approval, now time.Time) {
	d.Add(theme.Strong, 0, made.Title)
	left := made.Expires.Sub(now)
	valid := "can be run for " + text.Age(left)
	blocked := len(made.Blocked()) > 0
	switch {
	case left <= 0:
		valid = "has expired"
	case blocked:
		valid = "is blocked: it cannot be run"
	}
	d.Add(theme.Muted, 0, fmt.Sprintf("%s  plan %s  by %s  %s", made.Kind, made.Hash()[:10], made.Requester, valid))
	if len(made.Findings) > 0 {
		d.Heading("FINDINGS")
		for _, severity := range []op.Severity{op.Block, op.Warn, op.Info} {
			for _, f := range made.Findings {
				if f.Severity == severity {
					finding(d, f)
				}
			}
		}
	}
	d.Heading("CHANGES")
	switch {
	case made.Nothing() && blocked:
		d.Add(theme.Danger, 0, "blocked: nothing would be changed while that stands")
		return // what nothing costs is no news
	case made.Nothing():
		d.Add(theme.OK, 0, "nothing: it is so already")
	}
	changes(d, made)
	d.Heading("DOWNTIME")
	role := theme.Warn
	if made.Downtime.Expected == "none" {
		role = theme.OK
	}
	d.Add(role, 0, strings.TrimSuffix(made.Downtime.Expected+": "+made.Downtime.Text, ": "))
	if made.Cost != "" {
		d.Add(theme.Text, 0, "cost  "+made.Cost)
	}
	for _, n := range made.Notes {
		d.Add(theme.Text, 0, "- "+n)
	}
	steps(d, made)
	if made.Back != "" {
		d.Heading("WAY BACK")
		d.Add(theme.Text, 0, made.Back)
	}
	needs(d, made, a, now)
}

func steps(d *component.Doc, made *op.Plan) {
	d.Heading("STEPS")
	for i, st := range made.Steps {
		role, title := theme.Text, st.Title
		if st.Gate {
			role, title = theme.Warn, "! waits for a person: "+title
		}
		d.Add(role, 0, fmt.Sprintf("%2d  %s", i+1, title))
		if st.Undo != "" && d.W >= screen.NormalWidth {
			d.Add(theme.Muted, 6, "undo: "+st.Undo)
		}
	}
}

func finding(d *component.Doc, f op.Finding) {
	role := map[op.Severity]theme.Role{op.Block: theme.Danger, op.Warn: theme.Warn}[f.Severity]
	d.Mark(role, string(f.Severity)+"  "+f.Text)
	if f.Evidence != "" {
		d.Add(theme.Muted, 4, f.Evidence)
	}
	if f.Remedy != "" {
		d.Add(theme.Text, 4, "remedy: "+f.Remedy)
	}
}

// changes draws settings from what they are to what they will be.
func changes(d *component.Doc, made *op.Plan) {
	label, from := 0, 0
	name := func(c op.Change) string {
		if c.Target != "" && c.Target != made.Target.String() {
			return c.Target + ": " + c.Setting
		}
		return c.Setting
	}
	for _, c := range made.Changes {
		label, from = max(label, text.Width(text.Clean(name(c)))), max(from, text.Width(text.Clean(c.From)))
	}
	label, from = min(label, d.W*2/5), min(from, d.W/4)
	for _, c := range made.Changes {
		d.Change(name(c), c.From, c.To, label, from)
	}
}
