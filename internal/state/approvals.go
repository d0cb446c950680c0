package state

import (
	"context"
	"time"

	"dbops/internal/state/db"
)

// ApprovalState is how far an approval is.
type ApprovalState string

// The states of an approval.
const (
	Requested ApprovalState = "requested"
	Approved  ApprovalState = "approved"
	Refused   ApprovalState = "refused"
	Used      ApprovalState = "used" // by a run; it is good for one
)

// Approval is somebody's yes to exactly one plan, or the wish for it.
type Approval struct {
	ID        string        `json:"id"`
	PlanHash  string        `json:"plan"`
	Requester string        `json:"requester"`
	Required  int           `json:"required"` // how many must say yes
	State     ApprovalState `json:"state"`
	Requested time.Time     `json:"requested"`
	Expires   time.Time     `json:"expires"`
	Expired   bool          `json:"expired"` // by the store's clock
	Run       string        `json:"run,omitempty"`
	Votes     []Vote        `json:"votes,omitempty"`

	// Of the plan.
	Kind        string `json:"kind"`
	Environment string `json:"environment"`
	Instance    string `json:"instance"`
}

// Vote is what one person said.
type Vote struct {
	Actor    string    `json:"actor"`
	Method   string    `json:"method"`  // how the person was identified: aws, google, ssh
	Verdict  string    `json:"verdict"` // approve or refuse
	Reason   string    `json:"reason,omitempty"`
	Evidence string    `json:"evidence,omitempty"` // an SSH signature
	At       time.Time `json:"at"`
}

// PutApproval stores a request, good for ttl.
func (t *Tx) PutApproval(ctx context.Context, a Approval, ttl time.Duration) error {
	return t.exec(ctx, `insert into approvals (id, plan_hash, requester, required, state, requested_ms, expires_ms)
		values ($1, $2, $3, $4, $5, `+t.now()+`, `+t.now()+` + $6)`, a.ID, a.PlanHash, a.Requester, a.Required, string(Requested), ttl.Milliseconds())
}

// SetApproval changes the state of an approval that was in another; ok is false if somebody was faster.
func (t *Tx) SetApproval(ctx context.Context, id string, from, to ApprovalState, run string) (ok bool, err error) {
	n, err := t.q.Exec(ctx, `update approvals set state = $1, run = $2 where id = $3 and state = $4`, string(to), run, id, string(from))
	return n == 1, err
}

// AddVote stores what somebody said; ok is false if the same person has said something already.
func (t *Tx) AddVote(ctx context.Context, approval string, v Vote) (ok bool, err error) {
	n, err := t.q.Exec(ctx, `insert into votes (approval, actor, method, verdict, reason, evidence, at_ms)
		values ($1, $2, $3, $4, $5, $6, `+t.now()+`) on conflict (approval, actor) do nothing`, approval, v.Actor, v.Method, v.Verdict, v.Reason, v.Evidence)
	return n == 1, err
}

const newestApprovals = `order by a.requested_ms desc, a.id desc limit 200`

// Approvals lists the approvals of a plan, or all for an empty hash, newest first.
func (t *Tx) Approvals(ctx context.Context, planHash string) (all []Approval, err error) {
	clause, args := "", []any{}
	if planHash != "" {
		clause, args = "where a.plan_hash = $1 ", []any{planHash}
	}
	return t.approvals(ctx, clause+newestApprovals, args...)
}

// Approval returns one, locked until the transaction ends.
func (t *Tx) Approval(ctx context.Context, id string) (a Approval, found bool, err error) {
	if _, err := db.One(ctx, t.q, []any{&a.ID}, `select id from approvals where id = $1`+t.store.DB.ForUpdate(), id); err != nil {
		return a, false, err
	}
	all, err := t.approvals(ctx, `where a.id = $1`, id)
	if err != nil || len(all) == 0 {
		return a, false, err
	}
	return all[0], true, nil
}

func (t *Tx) approvals(ctx context.Context, clause string, args ...any) (all []Approval, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		var a Approval
		var st string
		var requested, expires, now int64
		if err := rows.Scan(&a.ID, &a.PlanHash, &a.Requester, &a.Required, &st, &requested, &expires, &a.Run, &a.Kind, &a.Environment, &a.Instance, &now); err != nil {
			return err
		}
		a.State, a.Requested, a.Expires, a.Expired = ApprovalState(st), fromMS(requested), fromMS(expires), expires <= now
		all = append(all, a)
		return nil
	}, `select a.id, a.plan_hash, a.requester, a.required, a.state, a.requested_ms, a.expires_ms, a.run, p.kind, p.environment, p.instance, `+t.now()+`
		from approvals a join plans p on p.hash = a.plan_hash `+clause, args...)
	if err != nil || len(all) == 0 {
		return all, err
	}
	votes, err := t.votes(ctx, clause, args...)
	for i := range all {
		all[i].Votes = votes[all[i].ID]
	}
	return all, err
}

// votes are those of the approvals that a clause means, by their names.
func (t *Tx) votes(ctx context.Context, clause string, args ...any) (map[string][]Vote, error) {
	all := map[string][]Vote{}
	err := db.Each(ctx, t.q, func(rows db.Rows) error {
		var approval string
		var v Vote
		var at int64
		if err := rows.Scan(&approval, &v.Actor, &v.Method, &v.Verdict, &v.Reason, &v.Evidence, &at); err != nil {
			return err
		}
		v.At = fromMS(at)
		all[approval] = append(all[approval], v)
		return nil
	}, `select approval, actor, method, verdict, reason, evidence, at_ms from votes
		where approval in (select a.id from approvals a `+clause+`) order by at_ms, actor`, args...)
	return all, err
}
