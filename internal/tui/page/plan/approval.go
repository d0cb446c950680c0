package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/component"
	"dbops/internal/tui/listing"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/text"
	"dbops/internal/tui/theme"
)

// Approval is the newest approval of exactly this plan, as it was seen last; nil if there is none.
func Approval(made *op.Plan, s screen.Scene) *state.Approval {
	if made == nil || made.Approvals == 0 || len(s.Approvals) == 0 {
		return nil
	}
	hash := made.Hash()
	i := slices.IndexFunc(s.Approvals, func(a state.Approval) bool { return a.PlanHash == hash })
	if i < 0 {
		return nil
	}
	return &s.Approvals[i]
}

// latest is what was asked for from here, as it was seen last; nil if nothing was.
func (p Page) latest(s screen.Scene) *state.Approval {
	if p.approval == nil {
		return nil
	}
	if i := slices.IndexFunc(s.Approvals, func(a state.Approval) bool { return a.ID == p.approval.ID }); i >= 0 {
		return &s.Approvals[i]
	}
	return p.approval
}

// own is the approval of the plan as it is now; nil if nobody was asked for one.
func (p Page) own(s screen.Scene) *state.Approval {
	if a := p.latest(s); a != nil && p.Made() != nil && a.PlanHash == p.Made().Hash() {
		return a
	}
	return Approval(p.Made(), s)
}

func expired(a *state.Approval, now time.Time) bool { return a.Expired || !now.Before(a.Expires) }

// waits tells that an approval is asked for and has no answer yet.
func waits(a *state.Approval, now time.Time) bool {
	return a != nil && a.State == state.Requested && !expired(a, now)
}

// given tells that the plan can be run by an approval.
func given(a *state.Approval, now time.Time) bool {
	return a != nil && a.State == state.Approved && !expired(a, now)
}

func refused(a *state.Approval) bool { return a != nil && a.State == state.Refused }

// By is who approved, or who refused and why.
func By(a state.Approval) string {
	var yes []string
	for _, v := range a.Votes {
		switch {
		case v.Verdict == "approve":
			yes = append(yes, listing.Who(v.Actor))
		case a.State == state.Refused:
			return strings.TrimSuffix(listing.Who(v.Actor)+": "+v.Reason, ": ")
		}
	}
	if len(yes) == 0 {
		return "somebody else"
	}
	return strings.Join(yes, ", ")
}

// asking is what running the plan means for the others; empty where none is needed.
func (p Page) asking(s screen.Scene) string {
	made, a := p.Made(), p.own(s)
	switch {
	case made.Approvals == 0:
		return ""
	case given(a, s.Now):
		return "Approval " + a.ID + " was given by " + By(*a) + ": it runs."
	case waits(a, s.Now):
		return "Approval " + a.ID + " waits already: nobody is asked again, and nothing is run until it is given."
	}
	return fmt.Sprintf("It needs the approval of %s: without it they are asked now, and nothing is run.", text.Count(made.Approvals, "other"))
}

// drawApproval says how the approval stands, or that it is one of another plan.
func (p Page) drawApproval(d *component.Doc, s screen.Scene) {
	a := p.own(s)
	if a == nil {
		if a = p.latest(s); a != nil {
			d.Heading("APPROVAL")
			d.Mark(theme.Warn, fmt.Sprintf("%s (%s) belongs to the earlier plan %s: this plan is another one, and needs an approval of its own", a.ID, a.State, a.PlanHash[:min(10, len(a.PlanHash))]))
		}
		return
	}
	d.Heading("APPROVAL")
	switch {
	case a.State == state.Used:
		d.Mark(theme.Muted, a.ID+" was used: the plan was run as "+a.Run)
	case refused(a):
		d.Mark(theme.Danger, a.ID+" is refused by "+By(*a))
		d.Add(theme.Muted, 2, "another plan has to be made (r)")
	case expired(a, s.Now):
		d.Mark(theme.Warn, a.ID+" expired at "+text.Stamp(a.Expires)+": it has to be asked for again (R)")
	case a.State == state.Approved:
		d.Mark(theme.OK, a.ID+" is approved by "+By(*a))
		d.Add(theme.Muted, 2, "it can be run (R), once, until "+text.Stamp(a.Expires))
	default:
		yes := 0
		for _, v := range a.Votes {
			if v.Verdict == "approve" {
				yes++
			}
		}
		d.Mark(theme.Pending, fmt.Sprintf("%s waits for %s until %s", a.ID, text.Count(max(1, a.Required-yes), "other"), text.Stamp(a.Expires)))
		if yes > 0 {
			d.Add(theme.Text, 2, "yes so far: "+By(*a))
		}
		d.Add(theme.Muted, 2, "they give it here, under Approvals, or with dbops approvals approve "+a.ID+"; then run it")
	}
}

// needs says what the plan needs, and whether it is met.
func needs(d *component.Doc, made *op.Plan, a *state.Approval, now time.Time) {
	if made.Approvals == 0 {
		return
	}
	d.Heading("NEEDS")
	of := "the approval of " + text.Count(made.Approvals, "other")
	if given(a, now) || a != nil && a.State == state.Used {
		d.Mark(theme.OK, of+": met by "+By(*a))
		return
	}
	d.Mark(theme.Warn, of)
}
