package app

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/upgrade"
)

// clients are what names an instance: this dbops and every other one that shares its state, and containers.
type clients struct{ a *App }

// Look implements [upgrade.Clients].
func (c clients) Look(ctx context.Context, t op.Target) (upgrade.Switched, error) {
	inst, err := c.a.instance(t.Environment, t.Instance)
	if err != nil {
		return upgrade.Switched{}, err
	}
	out := upgrade.Switched{
		Clients: []string{"dbops itself, wherever it shares this state"},
		ByHand:  []string{"dbops.yaml: environments." + t.Environment + ".instances." + t.Instance + " (" + inst.Coordinates() + "), when it is done"},
	}
	at := reached{inst: inst}
	if inst.Kind() != cloud.Postgres {
		if at, err = c.a.reachedAt(ctx, t, inst); err != nil {
			return out, err
		}
	}
	all, err := c.a.credentials().LookRepoint(ctx, t, at.address(nil))
	if err != nil {
		return out, err
	}
	who, byHand, cannot := creds.PointingWords(all)
	out.Clients, out.ByHand, out.Cannot = append(out.Clients, who...), append(out.ByHand, byHand...), cannot
	return out, nil
}

// Switch implements [upgrade.Clients]: dbops goes first, by [App.Move], then containers, by [creds.Deps.Repoint].
func (c clients) Switch(ctx context.Context, s *op.Session, from, to upgrade.Server) (op.Result, error) {
	t, a := s.Plan.Target, c.a
	r, was, err := a.repointing(ctx, t, from, to)
	if err != nil {
		return op.Result{}, err
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := a.moveFrom(ctx, t, was, to, s.Run); err != nil {
		return op.Result{}, err
	}
	out, err := a.credentials().Repoint(ctx, s, r)
	out.Changes = append([]op.Change{{Target: t.String(), Setting: "is", From: from.Name, To: to.Name}}, out.Changes...)
	return out, err
}

// serverCalled is the server of a name: the provider's, unless dbops.yaml has another instance of that name, or the target is a plain server.
func (a *App) serverCalled(t op.Target, name string) (upgrade.Server, error) {
	inst, err := a.declared(t.Environment, t.Instance)
	if err != nil {
		return upgrade.Server{}, err
	}
	if inst.Kind() == cloud.Postgres {
		return upgrade.Server{Name: name, Declared: true}, nil
	}
	other, err := a.declared(t.Environment, name)
	known := err == nil && name != t.Instance && other.Coordinates() != renamed(inst, name).Coordinates()
	return upgrade.Server{Name: name, Declared: known}, nil
}

// reached is an instance by the provider's name, and where it is reached.
type reached struct {
	inst      *config.Instance
	endpoints []cloud.Endpoint // of a cloud
}

// addressAt asks where an instance is reached.
func (a *App) addressAt(ctx context.Context, t op.Target, s upgrade.Server) (reached, error) {
	inst, _, err := a.called(t, s)
	if err != nil || inst.Kind() == cloud.Postgres {
		return reached{inst: inst}, err
	}
	return a.reachedAt(ctx, t, inst)
}

// reachedAt is addressAt of an instance of a cloud.
func (a *App) reachedAt(ctx context.Context, t op.Target, inst *config.Instance) (reached, error) {
	live, err := a.getAt(ctx, t.Environment, t.Instance, inst)
	if err != nil {
		return reached{}, err
	}
	if len(live.Endpoints) == 0 {
		return reached{}, fault.Newf(fault.Busy, "find the address of "+inst.Coordinates(), "it has none yet, it is %s", live.State)
	}
	return reached{inst, live.Endpoints}, nil
}

// address is where clients reach it. Beside the first host there are the others, those of the kinds that like has in the order of like.
func (r reached) address(like []cloud.Endpoint) creds.Address {
	if r.inst.Kind() == cloud.Postgres {
		return plainAddress(r.inst)
	}
	first, all := r.endpoints[0], []cloud.Endpoint{}
	for _, l := range like {
		i := slices.IndexFunc(r.endpoints, func(e cloud.Endpoint) bool { return e.Kind == l.Kind })
		all = append(all, r.endpoints[max(i, 0)])
	}
	for _, e := range r.endpoints {
		if !slices.Contains(all, e) {
			all = append(all, e)
		}
	}
	return cloudAddress(r.inst.Kind(), first, all)
}

// caOf are the certificates by which clients know a server that has its own; "" for one of RDS, whose region has them.
func (a *App) caOf(ctx context.Context, t op.Target, inst *config.Instance) (string, error) {
	switch {
	case inst.Kind() == cloud.CloudSQL:
		p, err := a.cloudsqlProvider(ctx, t.Environment, t.Instance, inst)
		if err != nil {
			return "", err
		}
		told, err := p.Certificates(ctx, inst.CloudSQL.Instance)
		if err != nil {
			return "", err
		}
		all := ""
		for _, ca := range told.CAs {
			all += strings.TrimSpace(ca.PEM) + "\n"
		}
		return strings.TrimSpace(all), nil
	case inst.Kind() == cloud.Postgres && inst.Postgres.CAFile != "":
		text, err := os.ReadFile(inst.Postgres.CAFile)
		if err != nil {
			return "", fault.New(fault.Config, "read the CA of "+inst.Coordinates(), err).Hint("check postgres.ca_file of the instance")
		}
		return strings.TrimSpace(string(text)), nil
	default:
		return "", nil
	}
}

// connectionAsTo is [App.connectionAs] to an instance by the provider's name.
func (a *App) connectionAsTo(ctx context.Context, t op.Target, at reached, database string, l creds.Login) (*pgconn.Config, error) {
	what := "log in to " + at.inst.Coordinates() + " as " + l.User
	if l.Password.IsZero() {
		return nil, fault.Newf(fault.Denied, what, "its password is empty")
	}
	p := pg.Params{Database: database, User: l.User, Password: l.Password}
	return a.reach(ctx, what, t.Environment, t.Instance, at.inst, &config.Login{User: l.User}, p, func(context.Context) (cloud.Endpoint, error) {
		return at.endpoints[0], nil
	})
}

// repointing is what containers are told of a switch, and what the instance is that they leave.
func (a *App) repointing(ctx context.Context, t op.Target, from, to upgrade.Server) (creds.Repointing, *config.Instance, error) {
	old, err := a.addressAt(ctx, t, from)
	if err != nil {
		return creds.Repointing{}, nil, err
	}
	now, err := a.addressAt(ctx, t, to)
	if err != nil {
		return creds.Repointing{}, nil, err
	}
	at := now.address(old.endpoints)
	if at.CA, err = a.caOf(ctx, t, now.inst); err != nil {
		return creds.Repointing{}, nil, err
	}
	return creds.Repointing{
		Target: t, From: old.address(nil), To: at,
		Login: func(ctx context.Context, database string, l creds.Login) (*pgx.Conn, error) {
			cfg, err := a.connectionAsTo(ctx, t, now, database, l)
			if err != nil {
				return nil, err
			}
			return a.session(ctx, t, cfg)
		},
	}, old.inst, nil
}
