package app

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"dbops/internal/op"
	"dbops/internal/state"
)

// asked is the plan for which an approval was asked already, and that is the same as p but for its name and its time; p itself if there is
// none. So the same command again asks nobody anew, and runs what was approved.
func asked(ctx context.Context, engine *op.Engine, p *op.Plan) (*op.Plan, error) {
	if p.Approvals == 0 || p.Nothing() || len(p.Blocked()) > 0 {
		return p, nil
	}
	all, err := engine.Approvals(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, a := range all { // the newest first
		open := !a.Expired && (a.State == state.Requested || a.State == state.Approved)
		if !open || a.Kind != p.Kind || a.Environment != p.Environment || a.Instance != p.Instance {
			continue
		}
		old, err := engine.PlanOf(ctx, a.PlanHash)
		if err == nil && time.Now().Before(old.Expires) && samePlan(old, p) { // one of another version is none
			return old, nil
		}
	}
	return p, nil
}

// samePlan tells whether two plans do the same, worked out from the same.
func samePlan(a, b *op.Plan) bool {
	return a.Target == b.Target && a.Approvals >= b.Approvals && a.Tool == b.Tool && sameJSON(a.Request, b.Request) && sameJSON(a.Facts, b.Facts) &&
		slices.Equal(a.Steps, b.Steps)
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}
