package fake

import (
	"context"
	"slices"
	"time"

	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/op"
)

// credentials are those of the core's containers.
type credentials struct {
	err   error
	after time.Duration
	edit  func(*creds.Listed)
	looks []creds.Look
}

// FailCredentials makes every look at credentials take d and fail with err; a nil err lets it succeed.
func (c *Core) FailCredentials(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credentials.after, c.credentials.err = d, err
}

// EditCredentials changes every container that is listed from now on.
func (c *Core) EditCredentials(edit func(*creds.Listed)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.credentials.edit = edit
}

// Looks are the looks at credentials, oldest first.
func (c *Core) Looks() []creds.Look {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.credentials.looks)
}

// look counts a look, and waits for its answer.
func (c *Core) look(ctx context.Context, l creds.Look) (edit func(*creds.Listed), err error) {
	c.mu.Lock()
	c.credentials.looks = append(c.credentials.looks, l)
	after, failure, edit := c.credentials.after, c.credentials.err, c.credentials.edit
	c.mu.Unlock()
	if err := wait(ctx, after); err != nil {
		return nil, err
	}
	return edit, failure
}

// Credentials implements [core.Credentials]: the instances called orders-main have containers.
func (c *Core) Credentials(ctx context.Context, env, instance string, look creds.Look) ([]creds.Listed, error) {
	edit, err := c.look(ctx, look)
	if err != nil || instance != "orders-main" {
		return nil, err
	}
	all := containers(c.now(), env, instance)
	for i := range all {
		l := &all[i]
		if look.Login && l.User != "" && !l.Revoked() {
			works := l.Name != "shop-reports"
			l.Works = &works
			if !works {
				l.Findings = append([]op.Finding{{
					Severity: op.Warn, Check: "current-fails", Text: l.Name + ": its current credential, of " + l.User + ", does not log in",
					Evidence: `FATAL: password authentication failed for user "` + l.User + `" (SQLSTATE 28P01)`,
					Remedy:   "dbops creds repair -e " + env + " " + l.Name + " makes version 4f0c91de, which dbops delivered, current again",
				}}, l.Findings...)
			}
		}
		if edit != nil {
			edit(l)
		}
	}
	return all, nil
}

func containers(now time.Time, env, instance string) []creds.Listed {
	day := 24 * time.Hour
	one := func(name string, access config.Access, place string, active string, age time.Duration, a, b int) creds.Listed {
		role := map[string]string{"shop-api": "shop_api", "shop-worker": "shop_worker", "shop-reports": "shop_reports", "shop-mailer": "shop_mailer", "shop-legacy": "shop_legacy"}[name]
		l := creds.Listed{Environment: env, Instance: instance, Created: now.Add(-age), Sessions: map[string]int{"a": a, "b": b}, Clients: map[string]string{}}
		l.ContainerFacts = creds.ContainerFacts{
			Name: name, Access: access, Databases: []string{"orders"}, Owners: []string{"orders_owner"}, Rollout: "ECS service shop/" + name,
			Group: "c_" + role, GroupThere: true, GroupAdmin: true, Active: active,
		}
		for _, slot := range []string{"a", "b"} {
			l.Slots = append(l.Slots, creds.SlotFacts{Slot: slot, Role: role + "_" + slot, There: true, Login: slot == active, Member: true, Acts: true, Admin: true})
		}
		at := creds.PlaceFacts{Place: place, There: true, Current: "9b1c7e20", Previous: "4f0c91de", PreviousUser: role + "_" + map[string]string{"a": "b", "b": "a"}[active]}
		if active != "" {
			l.User = role + "_" + active
		}
		l.Places = []creds.PlaceFacts{at}
		return l
	}
	api := one("shop-api", config.Write, "aws-sm:"+env+"/shop/api", "b", 41*day, 0, 18)
	api.Clients["b"] = "18 from 10.1.4.12, 10.1.4.31 (orders-api)"
	worker := one("shop-worker", config.Write, "aws-sm:"+env+"/shop/worker", "a", 12*day, 20, 2)
	worker.Clients["a"], worker.Clients["b"] = "20 from 10.1.7.3 (worker)", "2 from 10.1.7.9 (worker), the oldest for 11h"
	worker.Findings = []op.Finding{{
		Severity: op.Warn, Check: "idle-in-use", Text: "shop-worker: somebody is logged in as the idle slot shop_worker_b",
		Evidence: "2 from 10.1.7.9 (worker), the oldest for 11h", Remedy: "restart it, so that it reads the current credential",
	}}
	reports := one("shop-reports", config.Read, "file:/etc/shop/reports.json", "a", 97*day, 4, 0)
	reports.Databases, reports.Rollout = []string{"orders", "carts"}, ""
	reports.Findings = []op.Finding{{
		Severity: op.Warn, Check: "no-rollout", Text: "shop-reports has no rollout: the run waits until somebody restarts it and its old sessions have ended",
		Remedy: "restart it when the run waits",
	}}
	mailer := one("shop-mailer", config.Write, "aws-sm:"+env+"/shop/mailer", "", 0, 0, 0)
	mailer.Created, mailer.GroupThere = time.Time{}, false
	mailer.Places = []creds.PlaceFacts{{Place: "aws-sm:" + env + "/shop/mailer", There: true}}
	for i := range mailer.Slots {
		mailer.Slots[i] = creds.SlotFacts{Slot: mailer.Slots[i].Slot, Role: mailer.Slots[i].Role}
	}
	mailer.Findings = []op.Finding{{
		Severity: op.Warn, Check: "no-credential", Text: "shop-mailer has no credential yet", Evidence: "aws-sm:" + env + "/shop/mailer holds none",
		Remedy: "dbops creds issue shop-mailer -e " + env,
	}}
	legacy := one("shop-legacy", config.Read, "aws-sm:"+env+"/shop/legacy", "a", 300*day, 0, 0)
	for i := range legacy.Slots {
		legacy.Slots[i].Login = false
	}
	return []creds.Listed{api, legacy, mailer, reports, worker}
}

// AuditCredentials implements [core.Credentials].
func (c *Core) AuditCredentials(ctx context.Context, env, instance string) ([]*creds.AuditReport, error) {
	if _, err := c.look(ctx, creds.Look{}); err != nil {
		return nil, err
	}
	r := &creds.AuditReport{Environment: env, Instance: instance, Accounts: []creds.Account{
		{Role: "dbops_admin", Declared: true, Mighty: []string{"CREATEROLE", "rds_superuser"}, Sessions: 1},
		{Role: "bi_import", Sessions: 3, Owns: 12, Mighty: []string{"rds_superuser"}, Groups: []string{"rds_superuser"}},
		{Role: "shop_api_a", Container: "shop-api", Slot: "a", Declared: true},
		{Role: "shop_api_b", Container: "shop-api", Slot: "b", Declared: true, Sessions: 18},
		{Role: "shop_worker_a", Container: "shop-worker", Slot: "a", Declared: true, Sessions: 20, Rights: 2},
	}, Findings: []op.Finding{
		{
			Severity: op.Warn, Check: "unknown-mighty", Text: "bi_import can log in, has rights nearly of a superuser, and dbops.yaml does not know it",
			Evidence: "3 sessions now, owns 12 objects, member of rds_superuser", Remedy: "declare it, adopt it for a container, or take its rights away",
		},
		{
			Severity: op.Warn, Check: "slot-rights", Text: "shop_worker_a, a slot of shop-worker, has rights on 2 objects in its own name",
			Remedy: "grant the group what is needed, and revoke it from the slot: after a rotation the container would miss it",
		},
	}}
	return []*creds.AuditReport{r}, nil
}
