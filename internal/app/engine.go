package app

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"github.com/adrg/xdg"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/availability"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/drift"
	"dbops/internal/fault"
	"dbops/internal/migrate"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/runbook"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// engineRoom is what changes go through, opened when the first command needs it.
type engineRoom struct {
	mu     sync.Mutex
	store  *state.Store
	engine *op.Engine
}

// EngineOptions are the choices of a face that works on runs.
type EngineOptions struct {
	Queue string // of a worker
	Runs  int    // that a worker works on at once; 0: [op.DefaultRuns]
}

// Engine opens the state and returns the engine over it, with every operation that this dbops knows. It is opened once.
func (a *App) Engine(ctx context.Context, o EngineOptions) (*op.Engine, error) {
	store, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	a.engine.mu.Lock()
	defer a.engine.mu.Unlock()
	if a.engine.engine != nil {
		return a.engine.engine, nil
	}
	kinds := availability.New(availability.Deps{
		Cloud: func(ctx context.Context, t op.Target) (availability.Cloud, string, error) {
			return a.changer(ctx, t.Environment, t.Instance)
		},
		Probe: a.probe,
		Applied: func(ctx context.Context, t op.Target, run string, now cloud.Availability) error {
			_, record := drift.Stored(store)
			return record(ctx, []state.Baseline{{Environment: t.Environment, Instance: t.Instance, Setting: config.Availability, Value: string(now), Run: run}})
		},
	})
	kinds = append(kinds, a.backups().Kinds()...)
	kinds = append(kinds, a.drift(store).Fix())
	kinds = append(kinds, creds.New(a.credentials())...)
	kinds = append(kinds, a.certificates()...)
	kinds = append(kinds, migrate.New(a.migrations())...)
	kinds = append(kinds, a.upgrades().Kinds()...)
	kinds = append(kinds, a.signals()...)
	kinds = append(kinds, runbook.New(a.runbooks()))
	registry, err := op.NewRegistry(kinds...)
	if err != nil {
		return nil, fault.New(fault.Internal, "start the engine", err)
	}
	a.couriers(store)
	a.engine.engine = op.New(store, registry, op.Options{
		Version: a.opts.Version, Log: a.opts.Log, Queue: o.Queue, Runs: o.Runs, Locker: marks{changer: a.changer, names: a.namesOfMoved}, Underway: marks{changer: a.changer}.underway, CheckVote: a.checkVote, Telemetry: a.tellRuns(ctx), Notify: a.notices(),
	})
	return a.engine.engine, nil
}

// Backups is the room of backups, for what changes nothing.
func (a *App) backups() *backup.Room {
	return backup.New(backup.Deps{
		Cloud: func(ctx context.Context, t op.Target) (backup.Cloud, string, error) {
			return a.changer(ctx, t.Environment, t.Instance)
		},
		Connect: a.connectTo,
	})
}

// Backups lists the backups of an instance, newest first.
func (a *App) Backups(ctx context.Context, env, instance string) ([]cloud.Backup, error) {
	t, err := a.Target(env, instance)
	if err != nil {
		return nil, err
	}
	return a.backups().List(ctx, t)
}

func (a *App) drift(store *state.Store) *drift.Drift { return a.driftOf(drift.Stored(store)) }

func (a *App) driftOf(
	baselines func(context.Context, string, string) ([]state.Baseline, error), record func(context.Context, []state.Baseline) error,
) *drift.Drift {
	return drift.New(drift.Deps{Config: a.cfg, Baselines: baselines, Record: record, Open: func(ctx context.Context, env, instance string) (drift.Cloud, string, error) {
		return a.changer(ctx, env, instance)
	}, Live: func(ctx context.Context, targets []op.Target) (func(context.Context, op.Target) (*cloud.Instance, error), func()) {
		all := make([]Instance, len(targets))
		for n, t := range targets {
			all[n] = Instance{Environment: t.Environment, Name: t.Instance}
		}
		m := a.many(ctx, all)
		return m.get, m.said
	}})
}

// Drift compares what is declared with what is live. See [drift.Drift.Look].
func (a *App) Drift(ctx context.Context, env, instance string, all bool) (*drift.Report, error) {
	store, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	return a.drift(store).Look(ctx, env, instance, all)
}

// Drifts compares everything that is declared, in passing: a state that nobody has begun is not begun by it.
func (a *App) Drifts(ctx context.Context) (*drift.Report, error) {
	if a.hasState() {
		return a.Drift(ctx, "", "", false)
	}
	return a.driftOf(
		func(context.Context, string, string) ([]state.Baseline, error) { return nil, nil },
		func(context.Context, []state.Baseline) error { return nil },
	).Look(ctx, "", "", false)
}

// Store opens the state: a team's PostgreSQL database if dbops.yaml names one, else a file of this user.
func (a *App) Store(ctx context.Context) (*state.Store, error) {
	a.engine.mu.Lock()
	defer a.engine.mu.Unlock()
	if a.engine.store != nil {
		return a.engine.store, nil
	}
	dir := a.opts.StateDir
	d, err := a.openState(ctx, dir)
	if err != nil {
		return nil, err
	}
	a.engine.store, err = state.Open(ctx, d, a.auditKeys(true))
	return a.engine.store, err
}

// ReadStore opens the state for looking at its audit log only: also one that was manipulated, on which nothing may be changed any more. The
// caller closes it.
func (a *App) ReadStore(ctx context.Context) (*state.Store, error) {
	d, err := a.openState(ctx, a.opts.StateDir)
	if err != nil {
		return nil, err
	}
	return state.Open(ctx, d, a.auditKeys(false))
}

func (a *App) auditKeys(write bool) audit.Keys {
	k := audit.Keys{Witness: filepath.Join(a.opts.StateDir, "audit-witness.json"), Trusted: a.cfg.Audit.Keys}
	if write {
		k.File = filepath.Join(a.opts.StateDir, "audit.key")
	}
	return k
}

func (a *App) openState(ctx context.Context, dir string) (*db.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.New(fault.Config, "make the folder of the state", err)
	}
	if _, _, team := a.cfg.StateServer(); !team {
		return db.OpenSQLite(ctx, filepath.Join(dir, "state.db"))
	}
	return db.OpenPostgres(ctx, a.stateLogin)
}

// stateLogin is the login of a team's state, asked for each connection.
func (a *App) stateLogin(ctx context.Context) (*pgconn.Config, error) {
	const what = "log in to the state"
	server, database, _ := a.cfg.StateServer()
	p := pg.Params{Host: server.Host, Port: server.Port, Database: database, User: server.User, SSLMode: server.SSLMode}
	if server.Socket() {
		p.SSLMode = "disable"
	}
	var err error
	if a.cfg.StateCAFile != "" {
		if p.CAs, err = a.cas.load(a.cfg.StateCAFile); err != nil {
			return nil, fault.New(fault.Config, what, err).Hint("check state_ca_file in dbops.yaml")
		}
	}
	if p.SSLMode == "disable" || p.SSLMode == "require" {
		p.RequireAuth = "!password"
	}
	if err := a.password(ctx, what, stateSecret(a.cfg.StateSecret), &p); err != nil {
		return nil, err
	}
	cfg, err := pg.Config(p)
	if err != nil {
		return nil, fault.New(fault.Config, what, err)
	}
	return cfg, nil
}

// DefaultStateDir is where a user's own state, audit key and witness are.
func DefaultStateDir(getenv func(string) string) string {
	if d := getenv("DBOPS_STATE_DIR"); d != "" {
		return d
	}
	if d := getenv("XDG_STATE_HOME"); d != "" {
		return filepath.Join(d, "dbops")
	}
	return filepath.Join(xdg.StateHome, "dbops")
}
