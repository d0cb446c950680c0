package app

import (
	"cmp"
	"context"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/rehearse"
	"dbops/internal/op"
)

// migrations are what the operations on schemas stand on.
func (a *App) migrations() migrate.Deps {
	return migrate.Deps{
		Sets:    func(t op.Target) ([]migrate.Set, error) { return a.sets(t.Environment, t.Instance) },
		Connect: a.connectOwner,
		Read: func(ctx context.Context, t op.Target, s migrate.Set) (*pgx.Conn, error) {
			return a.connectOwner(ctx, t, s, func(c *pgx.ConnConfig) {
				c.RuntimeParams["default_transaction_read_only"] = "on"
				c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			})
		},
		View: func(ctx context.Context, t op.Target, s migrate.Set) (*pgx.Conn, error) {
			return a.connectSet(ctx, t, s, config.Read, "", func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol })
		},
		Who:   a.migrator,
		Drops: drops,
		Rehearse: func(ctx context.Context, t op.Target, p migrate.Prepared) (*rehearse.Report, error) {
			return a.rehearse(ctx, t, p, RehearseOptions{})
		},
		Compare: func(ctx context.Context, t op.Target, p migrate.Prepared, versions []int64) ([]rehearse.At, error) {
			q, done, err := a.rehearsal(ctx, t, p)
			if err != nil {
				return nil, err
			}
			defer done()
			return rehearse.Compare(ctx, q, versions...)
		},
	}
}

// RehearseOptions say what a rehearsal does besides running the files.
type RehearseOptions struct {
	Verify bool          // go down after going up, and compare
	Probe  time.Duration // ask the database about its rows, each question for that long at most; 0: do not
	Tell   func(text string)
}

// Rehearsed is the rehearsal of one set, or why there is none.
type Rehearsed struct {
	Ask    migrate.Ask
	Files  int // that are pending
	Report *rehearse.Report
	Err    error
}

// RehearseMigrations rehearses what going up would run, set after set.
func (a *App) RehearseMigrations(ctx context.Context, asks []migrate.Ask, late bool, to *int64, o RehearseOptions) (out []Rehearsed, err error) {
	deps := a.migrations()
	for _, one := range asks {
		p, err := deps.Prepare(ctx, one.Target, one.Set.String(), late, to)
		if err != nil {
			return nil, err
		}
		r := Rehearsed{Ask: one, Files: len(p.Jobs)}
		if _, broken := p.Folder.Fatal(); len(p.Jobs) > 0 && !broken && !p.State.Dirty {
			if r.Report, r.Err = a.rehearse(ctx, one.Target, p, o); ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func (a *App) rehearse(ctx context.Context, t op.Target, p migrate.Prepared, o RehearseOptions) (*rehearse.Report, error) {
	q, done, err := a.rehearsal(ctx, t, p)
	if err != nil {
		return nil, err
	}
	defer done()
	q.Verify, q.Probe, q.Tell = o.Verify, o.Probe, o.Tell
	return rehearse.Run(ctx, q)
}

// rehearsal is what a rehearsal needs of a set. done closes the session that it reads.
func (a *App) rehearsal(ctx context.Context, t op.Target, p migrate.Prepared) (q rehearse.Request, done func(), err error) {
	conn, err := a.connectOwner(ctx, t, p.Set, func(c *pgx.ConnConfig) { c.RuntimeParams["default_transaction_read_only"] = "on" })
	if err != nil {
		return q, nil, err
	}
	return rehearse.Request{
		What: t.String() + "/" + p.Set.String(), Folder: p.Folder, State: p.State, Table: p.Set.Table, Jobs: p.Jobs, Applied: p.Applied, Beside: p.Beside,
		Target: conn, Role: p.Set.Owner,
		Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return a.connectSet(ctx, t, p.Set, config.Admin, "", tune)
		},
		ScratchURL: a.cfg.Scratch, CacheDir: filepath.Join(a.opts.StateDir, "rehearsals"), Version: a.opts.Version,
	}, func() { _ = conn.Close(context.WithoutCancel(ctx)) }, nil
}

// drops are what a file drops, by its text.
func drops(_ context.Context, sql string) (out []migrate.Dropped, err error) {
	all, err := lint.Drops(sql)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		one := migrate.Dropped{What: string(d.Loss), Schema: d.Table.Schema, Name: d.Table.Rel, Column: d.Column}
		if d.Loss == lint.LosesSchema {
			one.Name = d.Table.Schema
		}
		out = append(out, one)
	}
	return out, nil
}

// connectOwner logs in for admin, and acts as the owner of the set's database.
func (a *App) connectOwner(ctx context.Context, t op.Target, s migrate.Set, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	return a.connectSet(ctx, t, s, config.Admin, s.Owner, tune)
}

func (a *App) connectSet(ctx context.Context, t op.Target, s migrate.Set, access config.Access, role string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := a.connection(ctx, t.Environment, t.Instance, s.Server, access)
	if err != nil {
		return nil, err
	}
	if role != "" {
		cfg.RuntimeParams["role"] = role // of the start, so that RESET ROLE comes back to it
	}
	return a.tuned(ctx, t, cfg, tune)
}

// migrator is who migrates from this machine.
func (a *App) migrator(ctx context.Context, actor, folder string) driver.Who {
	w := driver.Who{Actor: actor, Tool: a.userAgent(), Commit: commitOf(ctx, folder)}
	w.Host, _ = os.Hostname() // a history without it is better than none
	if u, err := user.Current(); err == nil {
		w.OSUser = u.Username
	}
	return w
}

// commitOf is the commit of git that a folder is of, with "+" after it if the folder has changes; "" where there is no git.
func commitOf(ctx context.Context, folder string) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	head, err := exec.CommandContext(ctx, "git", "-C", folder, "rev-parse", "HEAD").Output()
	if err != nil {
		return ""
	}
	commit := strings.TrimSpace(string(head))
	if changes, err := exec.CommandContext(ctx, "git", "-C", folder, "status", "--porcelain", "--", ".").Output(); err != nil || len(changes) > 0 {
		commit += "+"
	}
	return commit
}

// sets are the folders of migrations on an instance, in the order of their names.
func (a *App) sets(env, instance string) (out []migrate.Set, err error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return nil, err
	}
	inst, err := e.Instance(instance)
	if err != nil {
		return nil, err
	}
	plain := inst.Kind() == cloud.Postgres
	for _, name := range e.DatabasesOf(instance) {
		db := e.Databases[name]
		one := migrate.Set{Database: name, Server: db.Name, Owner: db.Owner, Plain: plain}
		if db.Migrations != "" {
			one.Folder = db.Migrations
			out = append(out, one)
		}
		for _, key := range slices.Sorted(maps.Keys(db.MigrationSets)) {
			set := db.MigrationSets[key]
			one.Name, one.Folder, one.Table = key, set.Folder, driver.Table{Schema: set.Schema, Name: set.Table}
			out = append(out, one)
		}
	}
	return out, nil
}

// MigrationPick names folders of migrations: by their environment, and if they are given by instance or name. Of the names "shop" means all
// folders of that database, "shop/" its own, "shop/reports" one of its sets.
type MigrationPick struct {
	Environment, Instance string
	Names                 []string
}

// Asked are the sets that a pick names, in order. Without an environment they are those of all.
func (a *App) Asked(p MigrationPick) (out []migrate.Ask, err error) {
	envs := []string{p.Environment}
	if p.Environment == "" {
		envs = a.cfg.EnvironmentNames()
	}
	known := map[string]bool{}
	found := map[string]bool{}
	for _, env := range envs {
		e, err := a.cfg.Environment(env)
		if err != nil {
			return nil, err
		}
		instances := e.InstanceNames()
		if p.Instance != "" {
			if _, err := e.Instance(p.Instance); err != nil {
				return nil, err
			}
			instances = []string{p.Instance}
		}
		for _, instance := range instances {
			t, err := a.Target(env, instance)
			if err != nil {
				return nil, err
			}
			sets, err := a.sets(env, instance)
			if err != nil {
				return nil, err
			}
			for _, s := range sets {
				known[s.String()] = true
				i := slices.IndexFunc(p.Names, func(n string) bool {
					return n == s.String() || n == s.Database || (s.Name == "" && n == s.Database+"/")
				})
				if len(p.Names) > 0 && i < 0 {
					continue
				}
				if i >= 0 {
					found[p.Names[i]] = true
				}
				out = append(out, migrate.Ask{Target: t, Set: s})
			}
		}
	}
	for _, n := range p.Names {
		if !found[n] {
			return nil, a.unknownSet(p, n, slices.Sorted(maps.Keys(known)))
		}
	}
	return out, nil
}

func (a *App) unknownSet(p MigrationPick, name string, known []string) error {
	what := "find the migrations of " + name + " in " + cmp.Or(p.Environment, "dbops.yaml")
	if len(known) == 0 {
		return fault.Newf(fault.Usage, what, "no database has any").Hint("name their folder in dbops.yaml: databases.%s.migrations", name)
	}
	return fault.Newf(fault.Usage, what, "there are none of that name").Hint("there are: %s", strings.Join(known, ", "))
}

// OneSet is the set that a name means; more than one is an error.
func (a *App) OneSet(p MigrationPick) (migrate.Ask, error) {
	all, err := a.Asked(p)
	if err != nil {
		return migrate.Ask{}, err
	}
	if len(all) == 1 {
		return all[0], nil
	}
	var names []string
	for _, one := range all {
		if len(p.Names) == 1 && one.Set.String() == p.Names[0] { // shop, which has shop/reports as well
			return one, nil
		}
		names = append(names, one.Set.String())
	}
	return migrate.Ask{}, fault.Newf(fault.Usage, "choose a folder of migrations in "+p.Environment, "there are %d", len(all)).Hint("name one: %s", strings.Join(names, ", "))
}

// Migrations is the status of sets, in order.
func (a *App) Migrations(ctx context.Context, p MigrationPick, history bool) ([]migrate.Status, error) {
	asks, err := a.Asked(p)
	if err != nil {
		return nil, err
	}
	return a.migrations().Status(ctx, asks, history), nil
}

// InspectMigrations looks at what a migration that ended half-way left: see [migrate.Deps.Inspect].
func (a *App) InspectMigrations(ctx context.Context, one migrate.Ask) (migrate.RepairFacts, error) {
	return a.migrations().Inspect(ctx, one.Target, one.Set.String())
}
