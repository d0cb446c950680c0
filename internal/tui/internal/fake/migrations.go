package fake

import (
	"context"
	"slices"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/migrate/source"
	"dbops/internal/op"
	"dbops/internal/pg/catalog"
)

// migrations are those of the core's databases.
type migrations struct {
	err            error
	after, lintFor time.Duration
	edit           func(*app.MigrationSet)
	judged, live   int
}

// FailMigrations makes every look at migrations take d and fail with err; a nil err lets it succeed.
func (c *Core) FailMigrations(d time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.migrations.after, c.migrations.err = d, err
}

// SlowLint makes the linter take d.
func (c *Core) SlowLint(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.migrations.lintFor = d
}

// EditMigrations changes every set that is looked at from now on.
func (c *Core) EditMigrations(edit func(*app.MigrationSet)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.migrations.edit = edit
}

// Judged counts how often the linter was asked: by the files' texts, and by the real tables.
func (c *Core) Judged() (text, live int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.migrations.judged, c.migrations.live
}

const folder = "/src/shop/orders/migrations"

var texts = []struct{ name, up, down string }{
	{"000041_customers", "CREATE TABLE customers (id bigint PRIMARY KEY);\n", "DROP TABLE customers;\n"},
	{"000042_orders", "CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint);\n", "DROP TABLE orders;\n"},
	{"000043_add_orders_note", "ALTER TABLE orders ADD COLUMN note text;\n", "ALTER TABLE orders DROP COLUMN note;\n"},
	{"000044_backfill_customer_ref", "UPDATE orders SET customer = 0 WHERE customer IS NULL;\n", ""},
	{"000045_index_orders_created_at", "CREATE INDEX CONCURRENTLY orders_created_at\n\tON orders (created_at);\n", "DROP INDEX CONCURRENTLY orders_created_at;\n"},
	{"000046_drop_legacy_status", "-- nobody reads it since the release of May\nALTER TABLE orders\n\tDROP COLUMN legacy_status;\n\nALTER TABLE orders ALTER COLUMN amount TYPE numeric(20, 4) USING amount::numeric(20, 4), ALTER COLUMN customer SET NOT NULL;\n", "ALTER TABLE orders ADD COLUMN legacy_status text;\n"},
	{"000047_widen_amount", "ALTER TABLE carts ALTER COLUMN amount TYPE numeric;\n", "ALTER TABLE carts ALTER COLUMN amount TYPE numeric(12, 2);\n"},
}

// MigrationSets implements [core.Migrations]: the instances called orders-main have two, of which carts is up to date.
func (c *Core) MigrationSets(ctx context.Context, env, instance string) ([]app.MigrationSet, error) {
	c.mu.Lock()
	after, failure, edit := c.migrations.after, c.migrations.err, c.migrations.edit
	c.mu.Unlock()
	if err := wait(ctx, after); err != nil {
		return nil, err
	}
	if failure != nil || instance != "orders-main" {
		return nil, failure
	}
	protected := slices.ContainsFunc(Instances(), func(i app.Instance) bool { return i.Environment == env && i.Protected })
	out := []app.MigrationSet{set(c.now(), "carts", 4), set(c.now(), "orders", 4)}
	out[0].Files, out[0].Pending = out[0].Files[:4], nil
	out[0].Latest = out[0].Version
	for i := range out {
		out[i].Environment, out[i].Instance = env, instance
		out[i].Ask = migrate.Ask{
			Target: op.Target{Environment: env, Instance: instance, Protected: protected}, Set: migrate.Set{Database: out[i].Name, Folder: out[i].Folder},
		}
		if edit != nil {
			edit(&out[i])
		}
	}
	return out, nil
}

// set is a folder of which the first n files are applied.
func set(now time.Time, name string, n int) app.MigrationSet {
	version, latest := int64(40+n), int64(40+len(texts))
	out := app.MigrationSet{Print: "1", Status: migrate.Status{Name: name, Folder: folder, Table: "public.schema_migrations", Version: &version, Latest: &latest}}
	for i, text := range texts {
		m := &source.Migration{Version: int64(41 + i), Digits: text.name[:6], Name: text.name[7:]}
		m.Up = &source.File{Path: folder + "/" + text.name + ".up.sql", Direction: source.Up, SQL: text.up}
		if text.down != "" {
			m.Down = &source.File{Path: folder + "/" + text.name + ".down.sql", Direction: source.Down, SQL: text.down}
		}
		f := app.MigrationFile{Migration: m, State: app.FilePending}
		if i < n {
			a := migrate.Applied{
				Version: m.Version, Name: m.String(), Direction: "up", Outcome: "ok", Who: "ci@example.com", Seconds: []float64{0.04, 0.012, 0.31, 192}[i],
				At: now.Add(-time.Duration(30-7*i) * 24 * time.Hour), Commit: "9f31c2ae5b7d", Tool: "dbops/1.2.3",
			}
			f.State, f.Applied = app.FileApplied, &a
			out.History = append([]migrate.Applied{a}, out.History...)
			out.Last = &a
		} else {
			out.Pending = append(out.Pending, m.String())
		}
		out.Files = append(out.Files, f)
	}
	return out
}

// Dirty makes a set one whose next file ended half-way.
func Dirty(s *app.MigrationSet) {
	if s.Name != "orders" {
		return
	}
	version := int64(45)
	s.Version, s.Dirty, s.Pending = &version, true, s.Pending[1:]
	s.Files[4].State = app.FileCut
	s.Cut = cut()
}

func cut() *migrate.CutFile {
	return &migrate.CutFile{
		Name: "000045_index_orders_created_at.up.sql", Version: 45, Direction: "up", Outcome: "failed", Statements: 1, Started: "2026-11-21 02:58:11 UTC",
		Next: "line 1: CREATE INDEX CONCURRENTLY", Error: "canceling statement due to lock timeout (SQLSTATE 55P03)", Who: "maria@example.com", CanResume: true,
	}
}

// Unreachable makes a set one that could not be looked at.
func Unreachable(s *app.MigrationSet) {
	if s.Name != "carts" {
		return
	}
	s.Version = nil
	s.Status = s.Failed(fault.Newf(fault.Unavailable, "log in to prod/orders-main", "dial tcp 10.3.4.8:5432: i/o timeout").Hint("open the VPN"))
	for i := range s.Files {
		s.Files[i].State, s.Files[i].Applied = app.FileUnknown, nil
	}
}

func findings(live bool) []lint.Finding {
	out := []lint.Finding{
		{
			Rule: "drop-column", Severity: lint.Warn, File: folder + "/000046_drop_legacy_status.up.sql", Line: 2, Column: 1, Lock: "ACCESS EXCLUSIVE", Object: "orders",
			Blocks: "all reads and writes, for a moment", Title: "drops a column", Why: "what is deployed now may still read it; the data is gone at once",
			Rewrite: "-- deploy code that does not name it, then drop it\nSET lock_timeout = '2s';",
		},
		{
			Rule: "change-type", Severity: lint.Error, File: folder + "/000046_drop_legacy_status.up.sql", Line: 5, Column: 1, Lock: "ACCESS EXCLUSIVE", Object: "orders",
			Blocks: "all reads and writes, while the table is written anew", Title: "rewrites the table", Why: "each row is written again, and each index built again",
			Rewrite: "-- add a column, fill it in batches, then swap the names",
		},
		{
			Rule: "change-type", Severity: lint.Error, File: folder + "/000047_widen_amount.up.sql", Line: 1, Column: 1, Lock: "ACCESS EXCLUSIVE", Object: "carts",
			Blocks: "all reads and writes, while the table is written anew", Title: "rewrites the table", Why: "each row is written again, and each index built again",
		},
	}
	if live {
		out[1].Seen = "orders has 41 GiB, 1.2 billion rows"
		out[2].Severity, out[2].Seen = lint.Info, "carts is empty"
	}
	return out
}

// LintSets implements [core.Migrations].
func (c *Core) LintSets(ctx context.Context, _, _ string) (map[string]app.MigrationLint, error) {
	c.mu.Lock()
	d := c.migrations.lintFor
	c.migrations.judged++
	c.mu.Unlock()
	if err := wait(ctx, d); err != nil {
		return nil, err
	}
	one := app.MigrationLint{Print: "1", Findings: findings(false)}
	return map[string]app.MigrationLint{"orders": one, "carts": one}, nil
}

// LintPending implements [core.Migrations].
func (c *Core) LintPending(ctx context.Context, _ migrate.Ask) (app.MigrationLint, error) {
	c.mu.Lock()
	c.migrations.live++
	after, failure := c.migrations.after, c.migrations.err
	c.mu.Unlock()
	if err := wait(ctx, after); err != nil {
		return app.MigrationLint{}, err
	}
	return app.MigrationLint{Print: "1", Findings: findings(true), Live: true}, failure
}

// InspectMigrations implements [core.Migrations].
func (c *Core) InspectMigrations(ctx context.Context, one migrate.Ask) (f migrate.RepairFacts, err error) {
	all, err := c.MigrationSets(ctx, one.Target.Environment, one.Target.Instance)
	if err != nil {
		return f, err
	}
	for _, s := range all {
		if s.Name == one.Set.String() && s.Dirty {
			f.Version, f.Dirty, f.Cut = s.Version, true, s.Cut
			f.Versions = []migrate.Candidate{
				{Version: 44, Means: "the file did nothing", Compared: true, Differs: []string{"index public.orders_created_at added, which is not valid"}},
				{Version: 45, Means: "the file did all", Compared: true, Differs: []string{"index public.orders_created_at is not valid"}},
			}
			f.Invalid = []string{"public.orders_created_at"}
		}
	}
	return f, nil
}

// RepairWays implements [core.Migrations].
func (c *Core) RepairWays(_ context.Context, one migrate.Ask, f migrate.RepairFacts) ([]string, error) {
	if !f.Dirty {
		return nil, nil
	}
	base := "dbops migrate repair -e " + one.Target.Environment + " " + one.Set.String()
	return []string{base + " --resume", base + " --at 44 --reason '...'"}, nil
}

// FollowRehearsal implements [core.Migrations].
func (c *Core) FollowRehearsal(ctx context.Context, asks []migrate.Ask, _ bool, _ *int64, _ app.RehearseOptions) <-chan app.RehearsalNews {
	ch := make(chan app.RehearsalNews)
	c.mu.Lock()
	after, failure := c.migrations.after, c.migrations.err
	c.mu.Unlock()
	go func() {
		defer close(ch)
		news := []app.RehearsalNews{{Text: "start a scratch server of PostgreSQL 16"}, {Text: "apply the 4 applied files"}}
		end := app.RehearsalNews{Ended: true, Err: failure}
		for _, a := range asks {
			end.All = append(end.All, app.Rehearsed{Ask: a, Files: 3, Report: &rehearse.Report{Facts: rehearse.Facts{
				Base: rehearse.Replayed, Major: 16, TargetMajor: 16,
				Files: []rehearse.File{{Name: "000046_drop_legacy_status.up.sql", Statements: []rehearse.Statement{
					{Line: 2, Text: "ALTER TABLE orders DROP COLUMN legacy_status", Locks: []rehearse.Lock{{Relation: "public.orders", Mode: "ACCESS EXCLUSIVE"}}},
					{Line: 5, Text: "ALTER TABLE orders ALTER COLUMN amount TYPE numeric(20, 4)", Locks: []rehearse.Lock{{Relation: "public.orders", Mode: "ACCESS EXCLUSIVE"}}, Rewrites: []string{"public.orders"}},
				}}},
				Changes: []catalog.Change{},
			}, Sizes: []rehearse.Size{}}})
		}
		for i, n := range append(news, end) {
			if i > 0 && wait(ctx, after) != nil {
				return
			}
			select {
			case ch <- n:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch
}
