package op

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// ApprovalTTL is how long a request for an approval, and the approval, are good.
const ApprovalTTL = 24 * time.Hour

// Request stores a plan that needs approval and asks for it, as by, who is known now. Asking again returns the request that is open, whoever
// asks. A plan that names another requester is a fault.Denied: its text is in a file, where anybody can write a name to approve past.
func (e *Engine) Request(ctx context.Context, p *Plan, by Actor) (a state.Approval, err error) {
	what := "ask for an approval of " + p.Title
	if p.Approvals == 0 {
		return a, fault.Newf(fault.Usage, what, "it needs none")
	}
	if !by.Verified() {
		return a, fault.Newf(fault.Unapproved, what, "nobody vouches for who asks: %s", by.Name).
			Hint("log in to the cloud that has the instance, or give --ssh-key FILE of somebody in the allowed signers")
	}
	body, err := p.Encode()
	if err != nil {
		return a, fault.New(fault.Internal, what, err)
	}
	hash := hashOf(body)
	err = e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		if err := tx.PutPlan(ctx, storedPlan(p, hash, body)); err != nil {
			return err
		}
		if err := tx.LockPlan(ctx, hash); err != nil {
			return err
		}
		all, err := tx.Approvals(ctx, hash)
		if err != nil {
			return err
		}
		for _, open := range all {
			if open.State == state.Refused {
				return fault.Newf(fault.Unapproved, what, "it was refused by %s", refuser(open.Votes)).Hint("make another plan")
			}
			if !open.Expired {
				a = open
				return nil
			}
		}
		if p.Requester != by {
			return fault.Newf(fault.Denied, what, "the plan says that %s made it, and %s asks", p.Requester, by).Hint("make the plan yourself, or let who made it ask")
		}
		a = state.Approval{ID: "a" + uuid.NewString()[:8], PlanHash: hash, Requester: by.Name, Required: p.Approvals}
		if err := tx.PutApproval(ctx, a, ApprovalTTL); err != nil {
			return err
		}
		if err := tx.Append(ctx, e.entry(planRun(p, hash), by, audit.Note, "approval "+a.ID+" requested: "+p.Title)); err != nil {
			return err
		}
		asked := planRun(p, hash)
		asked.Title, asked.Requester = p.Title, by.Name
		if err := e.addNotices(ctx, tx, Happening{On: OnApproval, Run: asked, Approval: a.ID, Hint: "dbops approvals show " + a.ID}); err != nil {
			return err
		}
		a, _, err = tx.Approval(ctx, a.ID)
		return err
	})
	return a, err
}

// planRun is a plan as the head of an audit entry that is about no run yet.
func planRun(p *Plan, hash string) state.Run {
	return state.Run{Kind: p.Kind, Environment: p.Environment, Instance: p.Instance, PlanHash: hash}
}

// Vote is what somebody says of an approval.
type Vote struct {
	Approve  bool
	By       Actor
	Reason   string
	Evidence string // an SSH signature, if that is how By is known
}

// VoteMessage is what an SSH key signs to approve or refuse a plan.
func VoteMessage(planHash string, approve bool) []byte {
	return fmt.Appendf(nil, "dbops %s plan %s\n", verdict(approve), planHash)
}

func verdict(approve bool) string {
	if approve {
		return "approve"
	}
	return "refuse"
}

// Vote approves or refuses a plan. The requester cannot approve, nobody votes twice, and somebody for whom only this machine vouches
// has no vote.
func (e *Engine) Vote(ctx context.Context, id string, v Vote) (a state.Approval, err error) {
	what := verdict(v.Approve) + " " + id
	deny := func(format string, args ...any) *fault.Error { // the approval is still missing
		return fault.Newf(fault.Unapproved, what, format, args...).Hint("somebody else: dbops approvals %s %s", verdict(v.Approve), id)
	}
	if !v.By.Verified() {
		return a, deny("nobody vouches for who you are: %s", v.By.Name).Hint("log in to the cloud that has the instance, or sign with --ssh-key FILE")
	}
	err = e.store.Tx(ctx, what, func(ctx context.Context, tx *state.Tx) error {
		var found bool
		if a, found, err = tx.Approval(ctx, id); err != nil {
			return err
		}
		switch {
		case !found:
			return fault.Newf(fault.Usage, what, "there is no such approval").Hint("dbops approvals list")
		case a.Expired:
			return fault.Newf(fault.Stale, what, "it expired at %s", a.Expires.Format(time.RFC3339)).Hint("the requester makes the plan again")
		case a.State != state.Requested:
			return fault.Newf(fault.Usage, what, "it is %s already", a.State)
		case v.Approve && sameActor(a.Requester, v.By.Name):
			return deny("%s asked for it, and somebody else has to approve", v.By.Name)
		}
		if slices.ContainsFunc(a.Votes, func(o state.Vote) bool { return sameActor(o.Actor, v.By.Name) }) {
			return deny("%s has voted on it already", v.By.Name)
		}
		ok, err := tx.AddVote(ctx, id, state.Vote{Actor: v.By.Name, Method: v.By.Via, Verdict: verdict(v.Approve), Reason: v.Reason, Evidence: v.Evidence})
		if err != nil {
			return err
		}
		if !ok {
			return deny("%s has voted on it already", v.By.Name)
		}
		if a, _, err = tx.Approval(ctx, id); err != nil {
			return err
		}
		to := a.State
		if !v.Approve {
			to = state.Refused
		} else if yes(a.Votes) >= a.Required {
			to = state.Approved
		}
		if to != a.State {
			if _, err := tx.SetApproval(ctx, id, a.State, to, ""); err != nil {
				return err
			}
			a.State = to
		}
		r := state.Run{Kind: a.Kind, Environment: a.Environment, Instance: a.Instance, PlanHash: a.PlanHash}
		text := "approval " + id + ": " + verdict(v.Approve)
		if v.Reason != "" {
			text += ": " + v.Reason
		}
		return tx.Append(ctx, e.entry(r, v.By, audit.Note, text))
	})
	return a, err
}

// sameActor compares names as their issuers do. The session's name is part of an AWS role's: it tells people of one role apart, and is as good
// as who may choose it.
func sameActor(a, b string) bool {
	return strings.EqualFold(strings.TrimSpace(a), strings.TrimSpace(b))
}

func yes(votes []state.Vote) (n int) {
	for _, v := range votes {
		if v.Verdict == verdict(true) {
			n++
		}
	}
	return n
}

// Approvals lists requests and approvals, newest first; of one plan if hash is not empty.
func (e *Engine) Approvals(ctx context.Context, hash string) (all []state.Approval, err error) {
	err = e.store.Read(ctx, "list approvals", func(ctx context.Context, tx *state.Tx) error {
		all, err = tx.Approvals(ctx, hash)
		return err
	})
	return all, err
}

// ApprovalsWithPlans is [Engine.Approvals] of all plans, with the plans that can be read by their hashes.
func (e *Engine) ApprovalsWithPlans(ctx context.Context) (all []state.Approval, plans map[string]*Plan, err error) {
	err = e.store.Read(ctx, "list approvals", func(ctx context.Context, tx *state.Tx) error {
		if all, err = tx.Approvals(ctx, ""); err != nil {
			return err
		}
		stored, err := tx.PlansOfApprovals(ctx)
		plans = make(map[string]*Plan, len(stored))
		for _, one := range stored {
			if p, err := e.readPlan(one, one.Hash); err == nil {
				plans[one.Hash] = p
			}
		}
		return err
	})
	return all, plans, err
}

// useApproval uses up the approval of a plan that needs one, and says for the audit log whose it is.
func (e *Engine) useApproval(ctx context.Context, tx *state.Tx, what string, p *Plan, hash string) (whose string, err error) {
	if p.Approvals == 0 {
		return "", nil
	}
	all, err := tx.Approvals(ctx, hash)
	if err != nil {
		return "", err
	}
	why, hint := "nobody was asked", "dbops apply FILE asks when the plan was saved with --plan --out FILE"
	if len(all) > 0 {
		switch a := all[0]; { // the newest counts
		case a.State == state.Approved && !a.Expired:
			if err := e.valid(a, hash); err != nil {
				return "", fault.New(fault.Unapproved, what, err).Hint("somebody wrote into the state past dbops: dbops approvals show %s, dbops audit verify", a.ID)
			}
			ok, err := tx.SetApproval(ctx, a.ID, state.Approved, state.Used, p.RunID())
			if err != nil || ok {
				return "; approved by " + approvers(a.Votes) + " (approval " + a.ID + ")", err
			}
			why, hint = "its approval was used by somebody else just now", "dbops runs show "+p.RunID()
		case a.State == state.Requested && !a.Expired:
			why = fmt.Sprintf("%d of %d others have approved", yes(a.Votes), a.Required)
			hint = "somebody else: dbops approvals approve " + a.ID
		case a.State == state.Refused:
			why, hint = "it was refused by "+refuser(a.Votes), "make another plan"
		case a.Expired:
			why, hint = "its approval expired", "make the plan again"
		}
	}
	return "", fault.Newf(fault.Unapproved, what, "it needs an approval: %s", why).Hint("%s", hint)
}

func approvers(votes []state.Vote) string {
	names := make([]string, len(votes)) // of an approval that is used all are yes
	for i, v := range votes {
		names[i] = v.Actor
	}
	return strings.Join(names, ", ")
}

// valid tells whether an approval is what votes through dbops lead to.
func (e *Engine) valid(a state.Approval, hash string) error {
	if n := yes(a.Votes); n < a.Required {
		return fmt.Errorf("approval %s says approved, and %d of %d others have", a.ID, n, a.Required)
	}
	for _, v := range a.Votes {
		if v.Verdict != verdict(true) {
			return fmt.Errorf("approval %s says approved, and %s refused", a.ID, v.Actor)
		}
		if sameActor(v.Actor, a.Requester) {
			return fmt.Errorf("approval %s holds a vote of who asked for it", a.ID)
		}
		if e.o.CheckVote == nil {
			continue
		}
		if err := e.o.CheckVote(v, hash); err != nil {
			return fmt.Errorf("the vote of %s does not verify: %w", v.Actor, err)
		}
	}
	return nil
}

func refuser(votes []state.Vote) string {
	for _, v := range votes {
		if v.Verdict == verdict(false) {
			if v.Reason != "" {
				return v.Actor + " (" + v.Reason + ")"
			}
			return v.Actor
		}
	}
	return "somebody"
}
