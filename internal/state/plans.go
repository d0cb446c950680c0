package state

import (
	"context"
	"time"

	"dbops/internal/state/db"
)

// Plan is a stored plan. Body is the plan itself, whose SHA-256 is Hash.
type Plan struct {
	Hash, ID, Kind, Environment, Instance, Requester string
	Body                                             []byte
	Created, Expires                                 time.Time
}

// PutPlan stores a plan; storing it again changes nothing.
func (t *Tx) PutPlan(ctx context.Context, p Plan) error {
	return t.exec(ctx, `insert into plans (hash, id, kind, environment, instance, requester, body, created_ms, expires_ms)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict (hash) do nothing`,
		p.Hash, p.ID, p.Kind, p.Environment, p.Instance, p.Requester, p.Body, ms(p.Created), ms(p.Expires))
}

// LockPlan lets one transaction at a time decide about a stored plan.
func (t *Tx) LockPlan(ctx context.Context, hash string) error {
	_, err := db.One(ctx, t.q, []any{&hash}, `select hash from plans where hash = $1`+t.store.DB.ForUpdate(), hash)
	return err
}

const selectPlans = `select hash, id, kind, environment, instance, requester, body, created_ms, expires_ms from plans `

func scanPlan(rows db.Rows) (p Plan, err error) {
	var created, expires int64
	err = rows.Scan(&p.Hash, &p.ID, &p.Kind, &p.Environment, &p.Instance, &p.Requester, &p.Body, &created, &expires)
	p.Created, p.Expires = fromMS(created), fromMS(expires)
	return p, err
}

// Plan returns the plan with that hash.
func (t *Tx) Plan(ctx context.Context, hash string) (p Plan, found bool, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		found = true
		p, err = scanPlan(rows)
		return err
	}, selectPlans+`where hash = $1`, hash)
	return p, found && err == nil, err
}

// PlansOfApprovals returns the plans of the approvals that [Tx.Approvals] lists of all plans, in no order.
func (t *Tx) PlansOfApprovals(ctx context.Context) (all []Plan, err error) {
	err = db.Each(ctx, t.q, func(rows db.Rows) error {
		p, err := scanPlan(rows)
		all = append(all, p)
		return err
	}, selectPlans+`where hash in (select a.plan_hash from approvals a `+newestApprovals+`)`)
	return all, err
}
