package app

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudrun"
	"dbops/internal/cloud/ecs"
	"dbops/internal/cloud/postgres"
	"dbops/internal/config"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// credentials are what the operations on containers' credentials stand on.
func (a *App) credentials() creds.Deps {
	return creds.Deps{
		Containers: a.containers,
		Connect: func(ctx context.Context, t op.Target, database string) (*pgx.Conn, error) {
			cfg, err := a.connection(ctx, t.Environment, t.Instance, database, config.Admin)
			if err != nil {
				return nil, err
			}
			conn, err := a.session(ctx, t, cfg)
			if err != nil {
				return nil, err
			}
			if _, err := conn.Exec(ctx, "SET ROLE NONE"); err != nil { // a role of the login may not change roles
				_ = conn.Close(context.WithoutCancel(ctx))
				return nil, fault.New(fault.Unavailable, "log in to "+t.String(), err)
			}
			return conn, nil
		},
		Login: func(ctx context.Context, t op.Target, database string, l creds.Login) (*pgx.Conn, error) {
			cfg, err := a.connectionAs(ctx, t.Environment, t.Instance, database, l.User, l.Password)
			if err != nil {
				return nil, err
			}
			return a.session(ctx, t, cfg)
		},
		Address: a.address,
		Place:   a.place,
		Secret: func(ctx context.Context, place string) (secret.Value, error) {
			ref, err := a.cfg.Secret(place)
			if err != nil {
				return secret.Value{}, err
			}
			return a.secrets.Get(ctx, ref)
		},
		Rollout: a.rollout,
		Told:    a.journaled,
	}
}

// journaled tells whether the journal of a run holds a text.
func (a *App) journaled(ctx context.Context, run, text string) (bool, error) {
	engine, err := a.Engine(ctx, EngineOptions{})
	if err != nil {
		return false, err
	}
	all, err := engine.Journal(ctx, run)
	return slices.ContainsFunc(all, func(s state.Step) bool { return strings.Contains(s.Problem, text) }), err
}

// place opens a place of delivery.
func (a *App) place(ctx context.Context, place string) (secret.Store, secret.Ref, error) {
	if config.IsEncorePlace(place) {
		at, err := a.cfg.EncorePlace(place)
		if err != nil {
			return nil, secret.Ref{}, fault.New(fault.Config, "open the place "+place, err)
		}
		ref := credentialFile(at)
		s, err := a.secrets.Store(ctx, ref)
		return encoreStore{s, at}, ref, err
	}
	ref, err := a.cfg.Secret(place)
	if err != nil {
		return nil, ref, err
	}
	s, err := a.secrets.Store(ctx, ref)
	return s, ref, err
}

// session opens a session of dbops's own.
func (a *App) session(ctx context.Context, t op.Target, cfg *pgconn.Config) (*pgx.Conn, error) {
	return a.tuned(ctx, t, cfg, func(*pgx.ConnConfig) {})
}

// tuned is session with a configuration that is changed before.
func (a *App) tuned(ctx context.Context, t op.Target, cfg *pgconn.Config, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	full, err := pgx.ParseConfig("")
	if err != nil {
		return nil, fault.New(fault.Internal, "connect to "+t.String(), err)
	}
	full.Config = *cfg
	full.RuntimeParams["application_name"] = "dbops"
	tune(full)
	conn, err := pgx.ConnectConfig(ctx, full)
	if err != nil {
		return nil, postgres.Fault(ctx, "log in to "+t.String()+" as "+cfg.User, err)
	}
	return conn, nil
}

// containers are those that have their databases on an instance.
func (a *App) containers(t op.Target) (out []creds.Container, err error) {
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return nil, err
	}
	for _, name := range e.ContainerNames() {
		declared := e.Containers[name]
		c := creds.Container{Name: name, Access: declared.Access, Places: declared.Delivery, Rollout: rolloutText(declared.Rollout)}
		for _, database := range declared.Databases {
			if d := e.Databases[database]; d != nil && d.Instance == t.Instance {
				c.Databases = append(c.Databases, creds.Database{Name: database, Server: d.Name, Owner: d.Owner})
			}
		}
		if len(c.Databases) > 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

func rolloutText(r *config.Rollout) string {
	switch {
	case r == nil:
		return ""
	case r.ECS != nil:
		return "ECS service " + r.ECS.Cluster + "/" + r.ECS.Service
	case r.CloudRun != nil:
		return "Cloud Run service " + r.CloudRun.Service
	default:
		return "command " + r.Command[0]
	}
}

// rollout is who rolls a container out; nil if dbops.yaml says nobody.
func (a *App) rollout(ctx context.Context, t op.Target, container string) (creds.Rollout, error) {
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return nil, err
	}
	c, err := e.Container(container)
	if err != nil || c.Rollout == nil {
		return nil, err
	}
	switch r := c.Rollout; {
	case r.ECS != nil:
		s, err := ecs.New(ctx, ecs.Options{Region: r.ECS.Region, Profile: r.ECS.Profile, Endpoint: r.ECS.Endpoint, Cluster: r.ECS.Cluster, Service: r.ECS.Service})
		return service{s}, err
	case r.CloudRun != nil:
		s, err := cloudrun.New(ctx, cloudrun.Options{
			Project: r.CloudRun.Project, Region: r.CloudRun.Region, Service: r.CloudRun.Service, Endpoint: r.CloudRun.Endpoint, UserAgent: a.userAgent(),
		})
		return service{s}, err
	default:
		return creds.Command{
			Dir: filepath.Dir(a.cfg.Path), Args: r.Command,
			Env:  []string{"DBOPS_ENVIRONMENT=" + t.Environment, "DBOPS_INSTANCE=" + t.Instance},
			Hide: a.secretVariables(),
		}, nil
	}
}

// secretVariables are those that dbops.yaml names as places of secrets.
func (a *App) secretVariables() (names []string) {
	places := []string{a.cfg.StateSecret}
	for _, e := range a.cfg.Environments {
		for _, inst := range e.Instances {
			for _, l := range inst.Logins {
				if l != nil {
					places = append(places, l.Secret)
				}
			}
		}
	}
	for _, place := range places {
		if ref, err := secret.ParseRef(strings.TrimSpace(place)); err == nil && ref.Scheme == secret.SchemeEnv {
			names = append(names, ref.Name)
		}
	}
	return names
}

// service rolls a container out as a service of a cloud: [ecs.Service] or [cloudrun.Service].
type service struct {
	s interface {
		Rollout(ctx context.Context, token string) (revision string, err error)
		Stable(ctx context.Context, revision string) (done bool, status string, err error)
	}
}

// Start implements [creds.Rollout].
func (s service) Start(ctx context.Context, _, _, token string) (string, error) {
	return s.s.Rollout(ctx, token)
}

// Done implements [creds.Rollout].
func (s service) Done(ctx context.Context, _, revision string) (bool, string, error) {
	return s.s.Stable(ctx, revision)
}

// address is where clients of their own reach an instance.
func (a *App) address(ctx context.Context, t op.Target) (creds.Address, error) {
	inst, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return creds.Address{}, err
	}
	if inst.Kind() == cloud.Postgres {
		return plainAddress(inst), nil
	}
	e, err := a.endpoint(ctx, t.Environment, t.Instance)
	if err != nil {
		return creds.Address{}, err
	}
	live, err := a.get(ctx, t.Environment, t.Instance)
	if err != nil {
		return creds.Address{}, err
	}
	return cloudAddress(inst.Kind(), e, live.Endpoints), nil
}

func plainAddress(inst *config.Instance) creds.Address {
	s := inst.Postgres.Server()
	return creds.Address{Host: s.Host, Port: int(s.Port), SSLMode: s.SSLMode}
}

// cloudAddress is that of an instance whose clients should take first, and which has all.
func cloudAddress(kind cloud.Kind, first cloud.Endpoint, all []cloud.Endpoint) creds.Address {
	at := creds.Address{Host: first.Host, Port: first.Port, SSLMode: "verify-full"}
	for _, other := range all {
		at.Also = append(at.Also, other.Host)
	}
	if kind == cloud.CloudSQL {
		at.SSLMode = "verify-ca" // the certificate of an instance with a CA of its own names no host
	}
	return at
}

// CredentialPick says whose credentials are meant.
type CredentialPick struct {
	Environment string
	Instance    string   // "": every one
	Containers  []string // none: every one
	OlderThan   time.Duration
}

// CredentialGroup are containers of one instance.
type CredentialGroup struct {
	Instance   string
	Containers []string
	Revoked    []string // left out, because nobody named them
}

// PickCredentials finds the containers that somebody means, by instance; of those that nobody named, not the ones that were revoked. A name that is not declared is a fault.Usage.
func (a *App) PickCredentials(ctx context.Context, p CredentialPick) ([]CredentialGroup, error) {
	e, err := a.cfg.Environment(p.Environment)
	if err != nil {
		return nil, err
	}
	if p.Instance != "" {
		if _, err := e.Instance(p.Instance); err != nil {
			return nil, err
		}
	}
	for _, name := range p.Containers {
		if _, err := e.Container(name); err != nil {
			return nil, err
		}
	}
	left := slices.Clone(p.Containers)
	var out []CredentialGroup
	for _, instance := range e.InstanceNames() {
		if p.Instance != "" && instance != p.Instance {
			continue
		}
		t, err := a.Target(p.Environment, instance)
		if err != nil {
			return nil, err
		}
		all, err := a.containers(t)
		if err != nil {
			return nil, err
		}
		g := CredentialGroup{Instance: instance}
		for _, c := range all {
			if len(p.Containers) == 0 || slices.Contains(p.Containers, c.Name) {
				g.Containers = append(g.Containers, c.Name)
				left = slices.DeleteFunc(left, func(n string) bool { return n == c.Name })
			}
		}
		if len(p.Containers) == 0 && len(g.Containers) > 0 {
			if g, err = a.unnamed(ctx, t, g, p.OlderThan); err != nil {
				return nil, err
			}
		}
		if len(g.Containers)+len(g.Revoked) > 0 {
			out = append(out, g)
		}
	}
	if len(left) > 0 {
		t, err := a.targetOf(p.Environment, left[0])
		if err != nil {
			return nil, err
		}
		return nil, fault.Newf(fault.Usage, "find the container "+left[0], "it has no database on instance %s", p.Instance).
			Hint("its databases are on %s: -i %s, or leave -i out", t.Instance, t.Instance)
	}
	return out, nil
}

// unnamed leaves out the containers that were revoked, and those whose credential is younger than an age; one of an age that nobody knows stays.
func (a *App) unnamed(ctx context.Context, t op.Target, g CredentialGroup, age time.Duration) (CredentialGroup, error) {
	all, err := a.credentials().List(ctx, t, creds.Look{}, time.Now())
	if err != nil {
		return g, err
	}
	all = slices.DeleteFunc(all, func(l creds.Listed) bool { return !slices.Contains(g.Containers, l.Name) })
	out := CredentialGroup{Instance: g.Instance}
	out.Containers, out.Revoked = ChooseCredentials(all, age, time.Now())
	return out, nil
}

// targetOf is the instance that a container's databases are on.
func (a *App) targetOf(env, container string) (op.Target, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return op.Target{}, err
	}
	c, err := e.Container(container)
	if err != nil {
		return op.Target{}, err
	}
	d, err := e.Database(c.Databases[0]) // there is one: the configuration was checked
	if err != nil {
		return op.Target{}, err
	}
	return a.Target(env, d.Instance)
}

// ContainerInstance is the instance that a container's databases are on. An unknown name is a fault.Usage.
func (a *App) ContainerInstance(env, container string) (string, error) {
	t, err := a.targetOf(env, container)
	return t.Instance, err
}

// Credential is a container's current credential.
func (a *App) Credential(ctx context.Context, env, container string) (*creds.Shown, error) {
	t, err := a.targetOf(env, container)
	if err != nil {
		return nil, err
	}
	return a.credentials().Show(ctx, t, container)
}

// AuditCredentials reads who can log in to an instance: see [creds.Deps.Audit].
func (a *App) AuditCredentials(ctx context.Context, env, instance string) ([]*creds.AuditReport, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return nil, err
	}
	names := e.InstanceNames()
	if instance != "" {
		names = []string{instance}
	}
	var out []*creds.AuditReport
	for _, name := range names {
		inst, err := e.Instance(name)
		if err != nil {
			return nil, err
		}
		t, err := a.Target(env, name)
		if err != nil {
			return nil, err
		}
		r, err := a.credentials().Audit(ctx, t, a.ownLogins(ctx, env, name, inst), time.Now())
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// ownLogins are the login roles with which dbops itself logs in. Who it is by IAM is asked, where dbops.yaml leaves that out; if nobody can
// tell, it is not known.
func (a *App) ownLogins(ctx context.Context, env, name string, inst *config.Instance) (known []string) {
	for _, l := range inst.Logins {
		switch {
		case l == nil:
		case l.User != "":
			known = append(known, l.User)
		case l.IAM && inst.Kind() == cloud.CloudSQL:
			p, err := a.cloudsqlProvider(ctx, env, name, inst)
			if err != nil {
				continue
			}
			if who, err := p.Principal(ctx); err == nil {
				known = append(known, who)
			}
		}
	}
	return known
}
