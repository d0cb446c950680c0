package app

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/live"
	"dbops/internal/op"
)

// liveLimit bounds one look at what a server does, with its login.
const liveLimit = 15 * time.Second

// LiveFigures reads what a server does: its connections, counters, waits and replicas.
func (a *App) LiveFigures(ctx context.Context, env, instance string, want live.Want) (*live.Figures, error) {
	return looked(ctx, a, env, instance, func(ctx context.Context, conn *pgx.Conn) (*live.Figures, error) {
		return live.ReadFigures(ctx, conn, want)
	})
}

// LiveSessions reads who is connected to a server, and who waits for whom.
func (a *App) LiveSessions(ctx context.Context, env, instance string) (*live.Activity, error) {
	return looked(ctx, a, env, instance, func(ctx context.Context, conn *pgx.Conn) (*live.Activity, error) {
		return live.ReadActivity(ctx, conn, a.namesOn(op.Target{Environment: env, Instance: instance}))
	})
}

// LiveSession reads the whole of one session.
func (a *App) LiveSession(ctx context.Context, env, instance string, pid int) (*live.Detail, error) {
	return looked(ctx, a, env, instance, func(ctx context.Context, conn *pgx.Conn) (*live.Detail, error) {
		return live.ReadDetail(ctx, conn, a.namesOn(op.Target{Environment: env, Instance: instance}), pid)
	})
}

// looked opens a short session on a server, and reads in it.
func looked[T any](ctx context.Context, a *App, env, instance string, read func(context.Context, *pgx.Conn) (T, error)) (out T, err error) {
	t, err := a.Target(env, instance)
	if err != nil {
		return out, err
	}
	ctx, cancel := context.WithTimeout(ctx, liveLimit)
	defer cancel()
	access, err := a.readsAs(t)
	if err != nil {
		return out, err
	}
	database, err := a.anyDatabase(t)
	if err != nil {
		return out, err
	}
	conn, err := a.lookAt(ctx, t, database, access, live.Tune)
	if err != nil {
		return out, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return read(ctx, conn)
}

// readsAs is the access as which an instance is looked at: that for reading, or the admin's where dbops.yaml names that alone.
func (a *App) readsAs(t op.Target) (config.Access, error) {
	inst, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return "", err
	}
	if inst.Login(config.Read) == nil && inst.Login(config.Admin) != nil {
		return config.Admin, nil
	}
	return config.Read, nil
}

// namesOn is what relations of all databases of an instance are called.
func (a *App) namesOn(t op.Target) *live.Names {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.names[t]
	if n == nil {
		n = live.NewNames(func(ctx context.Context, database string) (*pgx.Conn, error) {
			access, err := a.readsAs(t)
			if err != nil {
				return nil, err
			}
			return a.lookAt(ctx, t, database, access, live.Tune)
		})
		a.names[t] = n
	}
	return n
}

// lookAt logs in to a database of an instance, as the login itself: what may be seen and signalled goes by that.
func (a *App) lookAt(ctx context.Context, t op.Target, database string, access config.Access, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := a.connection(ctx, t.Environment, t.Instance, database, access)
	if err != nil {
		return nil, err
	}
	delete(cfg.RuntimeParams, "role")
	return a.tuned(ctx, t, cfg, tune)
}

// anyDatabase is the name, on its server, of a database of an instance: the first that dbops.yaml names there, for a login need not have another.
func (a *App) anyDatabase(t op.Target) (string, error) {
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return "", err
	}
	names := e.DatabasesOf(t.Instance)
	if len(names) == 0 {
		return "postgres", nil
	}
	d, err := e.Database(names[0])
	if err != nil {
		return "", err
	}
	return d.ServerName(names[0]), nil
}

// signals are the operations that cancel and terminate sessions, as the admin of an instance.
func (a *App) signals() []op.Kind {
	return live.New(live.Deps{Connect: func(ctx context.Context, t op.Target, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		inst, err := a.instance(t.Environment, t.Instance)
		if err != nil {
			return nil, err
		}
		database, err := a.anyDatabase(t)
		if err != nil {
			return nil, err
		}
		conn, err := a.lookAt(ctx, t, database, config.Admin, tune)
		if err != nil && inst.Login(config.Admin) == nil && fault.KindOf(err) == fault.Config {
			return nil, fault.New(fault.Config, "log in to "+t.String()+" to signal its sessions", err).
				Hint("name a login for admin under the instance's logins in dbops.yaml: a role with pg_monitor and pg_signal_backend is enough")
		}
		return conn, err
	}})
}
