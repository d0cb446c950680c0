package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state/audit"
)

// log is the audit log of the core.
type log struct {
	entries []audit.Entry // oldest first
	report  func(*audit.Report)
	err     error
	hang    bool
	lookErr error
	voteErr error
	looks   int
}

// Record appends to the audit log.
func (c *Core) Record(e audit.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.V, e.Seq = audit.Version, int64(len(c.log.entries))
	if e.At.IsZero() {
		e.At = c.now()
	}
	c.log.entries = append(c.log.entries, e)
}

// FailLog makes reading the audit log, and looking for what waits, fail; nil mends both.
func (c *Core) FailLog(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.err, c.log.lookErr = err, err
}

// HangLog makes both hang until they are given up.
func (c *Core) HangLog(hang bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.hang = hang
}

// DamageLog changes what verifying finds.
func (c *Core) DamageLog(change func(*audit.Report)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.report = change
}

// History records n entries of a quiet month, the last of them minutes old.
func (c *Core) History(n int) {
	what := []struct{ actor, kind, step, target, outcome, text string }{
		{"maria@example.com", "creds.rotate", "stage", "prod/orders-main", audit.Done, "container orders-api: slot b"},
		{"ci-deploy@shop-prod.iam.gserviceaccount.com", "migrate.up", "apply", "prod/ledger", audit.Done, "ledger: 41 -> 44"},
		{"li@example.com", "availability.set", "modify", "staging/orders-main", audit.Failed, "InvalidDBInstanceState: the instance is being modified"},
		{"maria@example.com", "backup.drill", "restore", "prod/billing", audit.Done, "restored to billing-drill in 12m"},
	}
	for i := range n {
		w := what[(i/2)%len(what)]
		run := fmt.Sprintf("r%010x", 0x3f00+i/2)
		e := audit.Entry{
			At: c.now().Add(-time.Duration(n-i) * 7 * time.Minute), Actor: w.actor, Via: audit.ViaGoogle, Host: "laptop", Run: run, Kind: w.kind, Step: w.step, Attempt: 1,
			Phase: audit.Intent, Target: w.target, Plan: strings.Repeat("9d1fc07a", 8), Text: w.text,
		}
		if i%2 == 1 {
			e.Phase, e.Outcome, e.RequestID = audit.Result, w.outcome, fmt.Sprintf("5d5f6f1c-%04x", i)
			e.Changes = []audit.Change{{Setting: "active slot", From: "a", To: "b"}}
		}
		c.Record(e)
	}
}

func (c *Core) logged(ctx context.Context) (log, error) {
	c.mu.Lock()
	l := c.log
	c.mu.Unlock()
	if l.hang {
		<-ctx.Done()
		return l, ctx.Err()
	}
	return l, l.err
}

// AuditEntries implements [core.Audit].
func (c *Core) AuditEntries(ctx context.Context, f audit.Filter) (out []audit.Entry, err error) {
	l, err := c.logged(ctx)
	for _, e := range slices.Backward(l.entries) {
		if err == nil && (f.Target == "" || e.Target == f.Target) && (f.Before == 0 || e.Seq < f.Before) && (f.Limit == 0 || len(out) < f.Limit) {
			out = append(out, e)
		}
	}
	slices.Reverse(out)
	return out, err
}

// VerifyAudit implements [core.Audit].
func (c *Core) VerifyAudit(ctx context.Context, since int64) (audit.Report, error) {
	l, err := c.logged(ctx)
	r := audit.Report{Origin: "dbops/7f3a", Size: int64(len(l.entries)), Root: "kD0m3v1Jt0p5nJ8f0m0m3v1Jt0p5nJ8fkD0m3v1Jt0o=", Since: since, Signers: []string{"maria@laptop"}, FirstBad: -1}
	if l.report != nil {
		l.report(&r)
	}
	return r, err
}

// Attention implements [core.Attention].
func (c *Core) Attention(ctx context.Context) (out app.Attention, err error) {
	c.mu.Lock()
	c.log.looks++
	c.mu.Unlock()
	l, err := c.logged(ctx)
	if err != nil {
		return out, err
	}
	if l.lookErr != nil {
		return out, l.lookErr
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.changes.views {
		out.Runs = append(out.Runs, v.Run)
	}
	for _, w := range c.changes.waiting {
		out.Approvals = append(out.Approvals, w.Approval)
	}
	return out, nil
}

// Approval implements [core.Attention].
func (c *Core) Approval(ctx context.Context, id string) (app.Waiting, error) {
	if _, err := c.logged(ctx); err != nil {
		return app.Waiting{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.changes.waiting {
		if w.Approval.ID == id {
			return w, nil
		}
	}
	return app.Waiting{}, fault.Newf(fault.NotFound, "look at approval "+id, "there is no such approval").Hint("dbops approvals list --all")
}

// Ask puts an approval there, or replaces it.
func (c *Core) Ask(w app.Waiting) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes.waiting = slices.DeleteFunc(slices.Clone(c.changes.waiting), func(o app.Waiting) bool { return o.Approval.ID == w.Approval.ID })
	c.changes.waiting = append([]app.Waiting{w}, c.changes.waiting...)
}

// FailVotes makes every vote fail.
func (c *Core) FailVotes(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.voteErr = err
}

// PlanFor is a plan as the core makes it.
func (c *Core) PlanFor(w app.Change, protected bool) *op.Plan { return plan(c.now(), w, protected) }
