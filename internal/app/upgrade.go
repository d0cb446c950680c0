package app

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/upgrade"
	"dbops/internal/upgrade/follow"
)

// upgrades is the room of major-version upgrades.
func (a *App) upgrades() *upgrade.Room {
	return upgrade.New(upgrade.Deps{
		Cloud: func(ctx context.Context, t op.Target) (upgrade.Cloud, string, error) {
			c, name, err := a.changer(ctx, t.Environment, t.Instance)
			if err != nil {
				return nil, "", err
			}
			p, ok := c.(upgrade.Cloud)
			if !ok {
				return nil, "", fault.New(fault.Usage, "upgrade "+t.String(), cloud.ErrUnsupported)
			}
			return p, name, nil
		},
		Plain:     a.plainServer,
		Connect:   a.connectServer,
		Address:   a.serverAddress,
		Admin:     a.adminLogin,
		Clients:   clients{a},
		Journal:   a.upgradeJournal,
		Rehearsed: a.lastRehearsal,
	})
}

// plainServer is the plain server that is a target now: by its name in dbops.yaml, where a run may have moved the target to another one.
func (a *App) plainServer(t op.Target) (upgrade.Server, error) {
	inst, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return upgrade.Server{}, err
	}
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return upgrade.Server{}, err
	}
	names := append([]string{t.Instance}, e.InstanceNames()...)
	for _, name := range names {
		if e.Instances[name].Coordinates() == inst.Coordinates() {
			return upgrade.Server{Name: name, Declared: true}, nil
		}
	}
	return upgrade.Server{}, fault.Newf(fault.Config, "find "+t.String(), "dbops.yaml has no instance at %s", inst.Coordinates())
}

// server is where a server is, and how it is logged in to: like the target, unless dbops.yaml declares it.
func (a *App) server(t op.Target, s upgrade.Server) (*config.Instance, error) {
	if s.Declared {
		return a.declared(t.Environment, s.Name)
	}
	inst, err := a.declared(t.Environment, t.Instance)
	if err != nil {
		return nil, err
	}
	return renamed(inst, s.Name), nil
}

func (a *App) connectServer(ctx context.Context, t op.Target, s upgrade.Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	inst, err := a.server(t, s)
	if err != nil {
		return nil, err
	}
	cfg, err := a.serverLogin(ctx, t, s, inst, database)
	if err != nil {
		return nil, err
	}
	delete(cfg.RuntimeParams, "role") // a role of the login may not change roles, nor be every owner
	if tune == nil {
		tune = func(*pgx.ConnConfig) {}
	}
	return a.tuned(ctx, t, cfg, tune)
}

func (a *App) serverLogin(ctx context.Context, t op.Target, s upgrade.Server, inst *config.Instance, database string) (*pgconn.Config, error) {
	endpoint := a.serverEndpoint(t, s, inst)
	if s.Login == "" {
		return a.connectionTo(ctx, t.Environment, serverKey(t, s), inst, database, config.Admin, endpoint)
	}
	_, password, err := a.adminLogin(ctx, t)
	if err != nil {
		return nil, err
	}
	what := "log in to " + s.Name + " as " + s.Login
	p := pg.Params{Database: database, User: s.Login, Password: password}
	return a.reach(ctx, what, t.Environment, serverKey(t, s), inst, &config.Login{User: s.Login}, p, endpoint)
}

// serverKey is what the addresses and clients of a server are remembered by.
func serverKey(t op.Target, s upgrade.Server) string {
	if s.Declared {
		return s.Name
	}
	return t.Instance
}

// serverEndpoint asks where a server of a cloud listens.
func (a *App) serverEndpoint(t op.Target, s upgrade.Server, inst *config.Instance) func(context.Context) (cloud.Endpoint, error) {
	return func(ctx context.Context) (cloud.Endpoint, error) {
		live, err := a.getAt(ctx, t.Environment, serverKey(t, s), inst)
		if err != nil {
			return cloud.Endpoint{}, err
		}
		if len(live.Endpoints) == 0 {
			return cloud.Endpoint{}, fault.Newf(fault.Busy, "connect to "+s.Name, "it has no address yet, it is %s", live.State)
		}
		return live.Endpoints[0], nil
	}
}

// serverAddress is where another server reaches this one.
func (a *App) serverAddress(ctx context.Context, t op.Target, s upgrade.Server, database string) (follow.Address, error) {
	inst, err := a.server(t, s)
	if err != nil {
		return follow.Address{}, err
	}
	if inst.Kind() == cloud.Postgres {
		server := inst.Postgres.Server()
		return follow.Address{Host: server.Host, Port: int(server.Port), Database: database, SSLMode: "prefer"}, nil
	}
	live, err := a.getAt(ctx, t.Environment, serverKey(t, s), inst)
	if err != nil {
		return follow.Address{}, err
	}
	if len(live.Endpoints) == 0 {
		return follow.Address{}, fault.Newf(fault.Busy, "reach "+s.Name, "it has no address yet, it is %s", live.State)
	}
	at := live.Endpoints[0]
	if i := slices.IndexFunc(live.Endpoints, func(e cloud.Endpoint) bool { return e.Kind == cloud.EndpointPrivate }); i >= 0 {
		at = live.Endpoints[i]
	}
	return follow.Address{Host: at.Host, Port: at.Port, Database: database, SSLMode: "require"}, nil
}

// adminLogin is who logs in to the target for admin, which a new instance has to let in.
func (a *App) adminLogin(ctx context.Context, t op.Target) (string, secret.Value, error) {
	what := "read the admin login of " + t.String()
	inst, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return "", secret.Value{}, err
	}
	login := inst.Login(config.Admin)
	if login == nil || login.User == "" || login.Secret == "" || login.IAM {
		return "", secret.Value{}, fault.Newf(fault.Config, what, "an upgrade makes a new instance, and needs a login with a password to let in").
			Hint("name it under logins.admin of the instance: {user: NAME, secret: PLACE}")
	}
	ref, err := a.cfg.Secret(login.Secret)
	if err != nil {
		return "", secret.Value{}, fault.New(fault.Config, what, err)
	}
	password, err := a.secrets.Get(ctx, ref)
	return login.User, password, err
}

// upgradeJournal is a run with its plan, its steps, and what came after it.
func (a *App) upgradeJournal(ctx context.Context, id string) (p *op.Plan, r state.Run, steps []state.Step, after upgrade.After, err error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, r, nil, after, err
	}
	if r, err = engine.Run(ctx, id); err != nil {
		return nil, r, nil, after, err
	}
	if p, err = engine.PlanOf(ctx, r.PlanHash); err != nil {
		return nil, r, nil, after, err
	}
	if steps, err = engine.Journal(ctx, r.ID); err != nil {
		return nil, r, nil, after, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Environment: r.Environment, Instance: r.Instance})
	if err != nil {
		return nil, r, nil, after, err
	}
	for _, other := range all {
		if other.Kind != upgrade.RollbackKind && other.Kind != upgrade.CleanupKind {
			continue
		}
		q, err := engine.PlanOf(ctx, other.PlanHash)
		if err != nil {
			return nil, r, nil, after, err
		}
		var of struct {
			Run string `json:"run"`
		}
		if err := json.Unmarshal(q.Request, &of); err == nil && of.Run == r.ID {
			journal, err := engine.Journal(ctx, other.ID)
			if err != nil {
				return nil, r, nil, after, err
			}
			after.Came(other, journal)
		}
	}
	return p, r, steps, after, nil
}

// lastRehearsal is the report of the last rehearsal of a target to a major that came to its end.
func (a *App) lastRehearsal(ctx context.Context, t op.Target, major int) (*upgrade.Report, error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Environment: t.Environment, Instance: t.Instance})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(x, y state.Run) int { return y.Created.Compare(x.Created) })
	for _, r := range all {
		if r.Kind != upgrade.RehearseKind || r.State != state.Done {
			continue
		}
		report, err := a.UpgradeReport(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		if report.Target.Major == major {
			return report, nil
		}
	}
	return nil, nil //nolint:nilnil // there is none
}

// UpgradeReport is the report of an upgrade, a rehearsal, or one in place, by the name of its run.
func (a *App) UpgradeReport(ctx context.Context, run string) (*upgrade.Report, error) {
	p, r, steps, after, err := a.upgradeJournal(ctx, run)
	if err != nil {
		return nil, err
	}
	report, err := upgrade.ReportOf(p, r, steps)
	if err != nil {
		return nil, err
	}
	if report.EndedBy(after); report.Remnant != "" && a.removed(ctx, p.Target, report) {
		report.Remnant = ""
	}
	return report, nil
}

// removed tells whether the provider says that somebody removed what a rollback left, or keeps it as something else. Without an answer it is
// there: nobody who pays for it is told that it is not.
func (a *App) removed(ctx context.Context, t op.Target, r *upgrade.Report) bool {
	inst, err := a.server(t, upgrade.Server{Name: r.Remnant})
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, remnantTimeout)
	defer cancel()
	live, err := a.getAt(ctx, t.Environment, t.Instance, inst)
	if err != nil {
		return fault.KindOf(err) == fault.NotFound
	}
	return live.Labels[upgrade.RunLabel] != r.Run
}

// remnantTimeout is how long a look at what a rollback left may take: it is read beside what matters.
const remnantTimeout = 3 * time.Second

// remnant is the newest upgrade of an instance whose new one a rollback left, and which is there still; nil: there is none.
func (a *App) remnant(ctx context.Context, all []state.Run) *state.Run {
	for _, r := range all { // newest first
		if r.Kind != upgrade.RunKind || r.State != state.Done && r.State != state.Failed {
			continue
		}
		if report, err := a.UpgradeReport(ctx, r.ID); err == nil && report.Remnant != "" { // one of another version cannot be read
			return &r
		}
	}
	return nil
}

// UpgradeToClean is the upgrade of an instance that is to be cleaned up after: the last one, or where nothing is left of that, the newest
// whose rollback left its new instance.
func (a *App) UpgradeToClean(ctx context.Context, env, instance string) (state.Run, error) {
	last, err := a.LastUpgrade(ctx, env, instance)
	if err != nil || !last.State.Ended() {
		return last, err
	}
	if report, err := a.UpgradeReport(ctx, last.ID); err != nil || report.After == "" {
		return last, err
	}
	all, err := a.Upgrades(ctx, env, instance)
	if err != nil {
		return last, err
	}
	if left := a.remnant(ctx, all); left != nil {
		return *left, nil
	}
	return last, nil
}

// Upgrades are the runs of upgrades of an instance, newest first.
func (a *App) Upgrades(ctx context.Context, env, instance string) ([]state.Run, error) {
	if _, err := a.Target(env, instance); err != nil {
		return nil, err
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return nil, err
	}
	all, err := engine.Runs(ctx, state.RunFilter{Environment: env, Instance: instance})
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(r state.Run) bool {
		return !slices.Contains([]string{upgrade.RunKind, upgrade.RehearseKind, upgrade.InPlaceKind, upgrade.RollbackKind, upgrade.CleanupKind}, r.Kind)
	})
	slices.SortFunc(all, func(x, y state.Run) int { return y.Created.Compare(x.Created) })
	return all, nil
}

// errNoUpgrade is that an instance has none to go on with.
var errNoUpgrade = errors.New("there is none")

// LastUpgrade is the run of an upgrade that goes on, or else the newest one that was not undone, or whose undo left the instance upgraded.
func (a *App) LastUpgrade(ctx context.Context, env, instance string) (state.Run, error) {
	all, err := a.Upgrades(ctx, env, instance)
	if err != nil {
		return state.Run{}, err
	}
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return state.Run{}, err
	}
	stays := map[string]bool{}
	var begun []state.Run // of those that failed: others ended at their first look
	for _, r := range all {
		switch {
		case r.State == state.Failed:
			journal, err := engine.Journal(ctx, r.ID)
			if err != nil {
				return state.Run{}, err
			}
			if !op.Begun(journal) {
				continue
			}
		case r.Kind == upgrade.InPlaceKind && r.State == state.Undone:
			report, err := a.UpgradeReport(ctx, r.ID)
			if err != nil {
				return state.Run{}, err
			}
			stays[r.ID] = report.Stays != 0
		}
		begun = append(begun, r)
	}
	if last := lastUpgrade(begun, stays); last != nil {
		return *last, nil
	}
	return state.Run{}, fault.New(fault.Usage, "find the upgrade of "+env+"/"+instance, errNoUpgrade).Hint("dbops upgrade run begins one; dbops upgrade status shows what was run")
}

// lastUpgrade is that of an instance's upgrades, newest first; stays are those that were undone and whose instance is the new major all the same.
func lastUpgrade(all []state.Run, stays map[string]bool) (last *state.Run) {
	for i, r := range all {
		if r.Kind != upgrade.RunKind && r.Kind != upgrade.InPlaceKind || r.State == state.Undone && !stays[r.ID] || r.State == state.Cancelled {
			continue
		}
		// Of two that have not ended the other one only waits for this one.
		if last == nil || !r.State.Ended() && (last.State.Ended() || last.Started.IsZero() || !r.Started.IsZero() && r.Started.Before(last.Started)) {
			last = &all[i]
		}
	}
	return last
}
