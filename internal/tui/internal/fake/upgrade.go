package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// upgradeStep is a step of the upgrade that the fake plays.
type upgradeStep struct {
	name, title, undo string
	took              time.Duration
	gate              bool
	output            string
}

// upgradeSteps are those of an upgrade without a catch-up.
func upgradeSteps(began, open time.Time) []upgradeStep {
	stamp := func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
	return []upgradeStep{
		{name: op.CheckStep, title: "compare with what the plan was made from", took: 1200 * time.Millisecond},
		{name: "target", title: "make orders-staging-pg18, PostgreSQL 18, with the settings of orders-staging", undo: "remove orders-staging-pg18", took: 11 * time.Minute},
		{name: "roles", title: "make the roles, with their memberships and passwords", undo: "nothing: they go with the instance", took: 2300 * time.Millisecond},
		{name: "databases", title: "make the empty databases", took: 900 * time.Millisecond},
		{name: "admin", title: "see that the admin login gets in", took: 400 * time.Millisecond},
		{name: "cutover", title: "wait for the word to shut writers out", gate: true},
		{name: "note", title: "note who may connect to orders-staging", took: 300 * time.Millisecond},
		{name: "quiesce", title: "keep writers out of orders-staging", undo: "let writers in to orders-staging again", took: 1800 * time.Millisecond, output: fmt.Sprintf(`{"began":%q}`, stamp(began))},
		{name: "late-roles", title: "bring roles that were made since", took: 200 * time.Millisecond},
		{name: "copy carts", title: "copy database carts", took: 9 * time.Second, output: `{"database":"carts","tables":9,"rows":120400,"bytes":31457280,"took_ns":9000000000}`},
		{name: "copy orders", title: "copy database orders", took: 62 * time.Second, output: `{"database":"orders","tables":208,"rows":16300000,"bytes":1288490188,"took_ns":62000000000}`},
		{name: "settings", title: "give databases and roles their settings", took: 400 * time.Millisecond},
		{name: "statistics", title: "make statistics", took: 7 * time.Second},
		{name: "verify", title: "compare every table, and all else, on both sides", took: 14 * time.Second, output: `{"databases":[{"database":"carts","report":{"equal":true,"tables":[{},{},{}],"compared":["every row of every table"],"not_compared":["rows of materialised views"]}},{"database":"orders","report":{"equal":true,"tables":[{},{}],"compared":["every row of every table"]}}]}`},
		{name: "mark", title: "note how orders-staging-pg18 is before anybody writes to it", took: 300 * time.Millisecond},
		{name: "switch", title: "make clients use orders-staging-pg18", undo: "make clients use orders-staging again; nothing that was written to orders-staging-pg18 may be lost by that", took: 6 * time.Second, output: fmt.Sprintf(`{"at":%q}`, stamp(open))},
		{name: "observe", title: "watch who logs in where", took: time.Minute, output: `{"sessions":["orders_app_a in orders (orders-api): 12","carts_app_a in carts (carts): 4"],"left":["legacy_cron in orders (cron): 1"]}`},
		{name: "keep", title: "keep orders-staging, the way back", took: 3 * time.Second},
		{name: "seal", title: "take back what the upgrade was allowed on orders-staging-pg18", took: time.Second},
	}
}

// UpgradeAt is an upgrade of staging/orders-main, or its rehearsal, that is at a step since 42 seconds; it is done without one.
func (c *Core) UpgradeAt(id, kind, step string) app.RunView {
	now := c.now()
	all := upgradeSteps(now.Add(-96*time.Second), now)
	title := "upgrade staging/orders-main from PostgreSQL 16 to 18"
	if kind == upgrade.RehearseKind {
		title = "rehearse the upgrade of staging/orders-main from PostgreSQL 16 to 18"
		all = slices.DeleteFunc(all, func(s upgradeStep) bool {
			return s.gate || slices.Contains([]string{"note", "quiesce", "late-roles", "mark", "switch", "observe", "keep", "seal"}, s.name)
		})
	}
	p := &op.Plan{
		Schema: op.PlanSchema, ID: id, Kind: kind, Target: op.Target{Environment: "staging", Instance: "orders-main"},
		Request: json.RawMessage(`{"to":18}`), Requester: op.Actor{Name: "maria@example.com", Via: op.ViaGoogle}, Created: now.Add(-time.Hour), Expires: now.Add(23 * time.Hour), Tool: "test",
		Facts: json.RawMessage(`{"source":{"provider":"rds","server":{"name":"orders-staging"},"major":16},"target":{"server":{"name":"orders-staging-pg18"}}}`),
		Draft: op.Draft{
			Title:    title,
			Downtime: op.Downtime{Expected: "some", Text: "1m24s to 2m11s, by the rehearsal r0ab966c996 of 2026-11-20, from the cut-over until clients are on the new instance, and how long these take to begin anew"},
			Cost:     "up: one more instance like orders-staging, until the old one is removed",
			Back:     "dbops upgrade rollback -e staging orders-main returns to orders-staging, until dbops upgrade cleanup",
			Findings: []op.Finding{{Severity: op.Warn, Check: "matviews", Text: "database orders: 2 materialised views are computed anew"}},
		},
	}
	for _, s := range all {
		p.Steps = append(p.Steps, op.StepInfo{Name: s.name, Title: s.title, Undo: s.undo, Gate: s.gate})
	}
	r := state.Run{
		ID: id, PlanHash: p.Hash(), Kind: kind, Environment: "staging", Instance: "orders-main", Title: title, Requester: "maria@example.com", Actor: "maria@example.com",
		State: state.Running, Step: step, Alive: true, Host: "laptop", PID: 4711, Seen: now, Updated: now,
	}
	at := slices.IndexFunc(all, func(s upgradeStep) bool { return s.name == step })
	begun := now
	var steps []state.Step
	switch {
	case at < 0:
		r.State, r.Step, r.Alive, r.Ended, at = state.Done, "", false, now, len(all)
	case all[at].gate:
		r.State, r.Alive, r.Verbs, r.Problem = state.Gate, false, []string{"continue", "undo", "abandon"}, "writers of orders-staging are shut out from here on"
		r.Hint = "dbops upgrade cutover -e staging orders-main"
	default:
		begun = now.Add(-42 * time.Second)
		steps = append(steps, state.Step{Phase: state.Do, Name: step, State: state.StepRunning, Attempt: 1, Started: begun})
	}
	for i := at - 1; i >= 0; i-- {
		s := all[i]
		if s.gate {
			continue
		}
		steps = append(steps, state.Step{Phase: state.Do, Name: s.name, State: state.StepDone, Attempt: 1, Started: begun.Add(-s.took), Ended: begun, Output: []byte(s.output)})
		begun = begun.Add(-s.took)
	}
	slices.Reverse(steps)
	r.Created, r.Started = begun.Add(-2*time.Second), begun
	return app.RunView{Run: r, Plan: p, Steps: steps}
}

// CopyProgress is the detail of a copy's progress: dbops/upgrade-progress/v1.
func CopyProgress(database, table string, done int, bytes, moved, size int64, in bool) json.RawMessage {
	b, err := json.Marshal(map[string]any{
		"schema": "dbops/upgrade-progress/v1", "database": database, "phase": "data", "what": table, "done": done, "of": 208,
		"rows": bytes / 79, "bytes": bytes, "total": int64(1200 << 20), "rate": 27.4e6, "left_ns": int64(26 * time.Second),
		"table": map[string]any{"rows": moved / 79, "bytes": moved, "total": size, "in": in},
	})
	if err != nil {
		return nil
	}
	return b
}

// Upgrading implements [core.Upgrades], from the runs that were put.
func (c *Core) Upgrading(ctx context.Context, env, instance string) (u app.Upgrading, err error) {
	if st := c.ask(ctx, c.instance(env, instance)); st.Err != nil {
		return u, st.Err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.changes.views {
		if v.Run.Environment != env || v.Run.Instance != instance {
			continue
		}
		switch v.Run.Kind {
		case upgrade.RehearseKind, upgrade.RunKind, upgrade.InPlaceKind:
			r, err := upgrade.ReportOf(v.Plan, v.Run, v.Steps)
			if err != nil {
				return u, err
			}
			one := &app.Upgraded{RunView: v, Report: r, Watched: app.WatchedIn(v.Steps)}
			if v.Run.Kind == upgrade.RehearseKind {
				u.Rehearsal = one
			} else {
				u.Last = one
			}
		case upgrade.RollbackKind, upgrade.CleanupKind:
			u.Back = &v
		}
	}
	if u.Last != nil && u.Back != nil && u.Back.Run.State == state.Done {
		var after upgrade.After
		after.Came(u.Back.Run, nil)
		u.Last.Report.EndedBy(after)
		if u.Last.Report.Remnant != "" {
			u.Left = u.Last
		}
	}
	return u, nil
}

// UpgradeOffers implements [core.Upgrades].
func (c *Core) UpgradeOffers(ctx context.Context, env, instance string) ([]cloud.Offer, error) {
	st := c.ask(ctx, c.instance(env, instance))
	if st.Err != nil || st.Provider == cloud.Postgres {
		return nil, st.Err
	}
	return []cloud.Offer{{Major: 17, Version: "17.6", InPlace: "17.6"}, {Major: 18, Version: "18.1"}}, nil
}

// SaveUpgradeReport implements [core.Upgrades].
func (c *Core) SaveUpgradeReport(ctx context.Context, run, file string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reports == nil {
		c.reports = map[string]string{}
	}
	c.reports[file] = run
	return ctx.Err()
}

// Reports are the runs whose reports were saved, by their files.
func (c *Core) Reports() map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reports
}
