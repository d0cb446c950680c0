package approvals

import (
	"fmt"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/page/plan"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Header implements [screen.Page].
func (p One) Header(screen.Scene) screen.Header {
	w, known := p.now.Value()
	h := screen.Header{Title: []string{"approval " + p.id}, Cursor: -1, Fresh: p.now.Fresh()}
	if known {
		h.Environment, h.Title, h.Note = w.Approval.Environment, []string{w.Approval.Instance, "approval " + p.id}, title(w)
		h.Mode = screen.Mode{Word: strings.ToUpper(strings.TrimLeft(standing(w.Approval).Text, " !x~"))}
	}
	return h
}

// CLI implements [screen.Page].
func (p One) CLI(screen.Scene) []string { return []string{"dbops", "approvals", "show", p.id} }

// View implements [screen.Page].
func (p One) View(s screen.Scene) string {
	return p.scroll.View(s.Theme, p.lines(s), s.Area.W, s.Area.H)
}

func (p One) lines(s screen.Scene) []string {
	d := component.NewDoc(s.Theme, s.Area.W)
	if p.acting != "" {
		d.Mark(theme.Pending, "being told: "+p.acting)
	}
	listing.Failure(d, p.refusal, "it was not taken")
	listing.Failure(d, p.now.Err(), "the approval could not be read")
	w, known := p.now.Value()
	if !known {
		if p.now.Loading() {
			d.Mark(theme.Pending, "reading the approval")
		}
		return d.Lines()
	}
	about(d, w, s.Now)
	if p.before != nil {
		drawDifferences(d, p.before, w.Plan)
	}
	d.Heading("THE PLAN")
	if w.Plan == nil {
		d.Mark(theme.Warn, "it was made by another version of dbops, and cannot be read by this one: it can only be refused here")
		return d.Lines()
	}
	plan.Draw(d, w.Plan, &w.Approval, s.Now)
	return d.Lines()
}

// about says how an approval stands, who wants it, and what was said.
func about(d *component.Doc, w app.Waiting, now time.Time) {
	a := w.Approval
	role := standing(a).Role
	var says string
	switch {
	case a.State == state.Used:
		says = "it was run: " + a.Run
	case a.State == state.Refused:
		says = "refused: another plan has to be made"
	case a.Expired || !now.Before(a.Expires):
		role, says = theme.Muted, "expired at "+text.Stamp(a.Expires)
	case a.State == state.Approved:
		says = "approved: it can be run, once, until " + text.Stamp(a.Expires) + " (in " + left(a, now) + ")"
	default:
		says = fmt.Sprintf("waits: %d of %s said yes; until %s (in %s)", yes(a), text.Count(a.Required, "other"), text.Stamp(a.Expires), left(a, now))
	}
	d.Mark(role, says)
	d.Fact(theme.Text, "asked by", fmt.Sprintf("%s, %s ago", a.Requester, text.Age(now.Sub(a.Requested))))
	for i, v := range a.Votes {
		label := ""
		if i == 0 {
			label = "votes"
		}
		role, word := theme.OK, "yes"
		if v.Verdict != "approve" {
			role, word = theme.Danger, "no"
		}
		line := fmt.Sprintf("%s  %s (known by %s), %s", word, v.Actor, v.Method, text.Stamp(v.At))
		if v.Reason != "" {
			line += ": " + v.Reason
		}
		d.Fact(role, label, line)
	}
}
