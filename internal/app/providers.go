package app

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudsql"
	"dbops/internal/cloud/postgres"
	"dbops/internal/cloud/rds"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/secret"
	"dbops/internal/secret/awssm"
	"dbops/internal/secret/gcpsm"
)

// providerKey is what two instances must share to be asked through one client.
type providerKey struct {
	kind                  cloud.Kind
	scope, profile, where string
}

// instance is an instance of the configuration, as it is now: where a run moved it, the one that it was moved to.
func (a *App) instance(env, name string) (*config.Instance, error) {
	inst, err := a.declared(env, name)
	if err != nil {
		return nil, err
	}
	return a.moved(env, name, inst)
}

// get asks the provider about one instance.
func (a *App) get(ctx context.Context, env, name string) (*cloud.Instance, error) {
	inst, err := a.instance(env, name)
	if err != nil {
		return nil, err
	}
	return a.getAt(ctx, env, name, inst)
}

// getAt is get of one that was looked up before.
func (a *App) getAt(ctx context.Context, env, name string, inst *config.Instance) (*cloud.Instance, error) {
	p, err := a.provider(ctx, env, name, inst)
	if err != nil {
		return nil, err
	}
	return p.Get(ctx, providerName(inst))
}

// provider returns the client for an instance, shared by all that it can serve.
func (a *App) provider(ctx context.Context, env, name string, inst *config.Instance) (cloud.Provider, error) {
	key := keyOf(env, name, inst)
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.providers[key]; ok {
		return p, nil
	}
	p, err := a.newProvider(ctx, env, name, inst)
	if err != nil {
		return nil, err
	}
	a.providers[key] = p
	return p, nil
}

func keyOf(env, name string, inst *config.Instance) providerKey {
	key := providerKey{kind: inst.Kind()}
	switch key.kind {
	case cloud.RDS:
		key.scope, key.profile, key.where = inst.RDS.Region, inst.RDS.Profile, inst.RDS.Endpoint
	case cloud.CloudSQL:
		key.scope, key.where = inst.CloudSQL.Project, inst.CloudSQL.Endpoint
	default:
		key.scope, key.profile, key.where = env, inst.Coordinates(), name
	}
	return key
}

func (a *App) newProvider(ctx context.Context, env, name string, inst *config.Instance) (cloud.Provider, error) {
	switch inst.Kind() {
	case cloud.RDS:
		return rds.New(ctx, rds.Options{Region: inst.RDS.Region, Profile: inst.RDS.Profile, Endpoint: inst.RDS.Endpoint})
	case cloud.CloudSQL:
		return cloudsql.New(ctx, cloudsql.Options{
			Project: inst.CloudSQL.Project, Endpoint: inst.CloudSQL.Endpoint, Monitoring: a.opts.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING"),
			UserAgent: a.userAgent(),
		})
	default:
		return postgres.New(postgres.Options{
			Name: inst.Coordinates(),
			Config: func(ctx context.Context) (*pgconn.Config, error) {
				return a.connection(ctx, env, name, "postgres", config.Read)
			},
		}), nil
	}
}

// rdsProvider is the RDS client of an instance, for its login tokens.
func (a *App) rdsProvider(ctx context.Context, env, name string, inst *config.Instance) (*rds.Provider, error) {
	p, err := a.provider(ctx, env, name, inst)
	if err != nil {
		return nil, err
	}
	r, ok := p.(*rds.Provider)
	if !ok {
		return nil, fault.Newf(fault.Internal, "log in to "+env+"/"+name, "its provider is %T, not rds", p)
	}
	return r, nil
}

// cloudsqlProvider is the Cloud SQL client of an instance, for the name of its identity.
func (a *App) cloudsqlProvider(ctx context.Context, env, name string, inst *config.Instance) (*cloudsql.Provider, error) {
	p, err := a.provider(ctx, env, name, inst)
	if err != nil {
		return nil, err
	}
	c, ok := p.(*cloudsql.Provider)
	if !ok {
		return nil, fault.Newf(fault.Internal, "log in to "+env+"/"+name, "its provider is %T, not cloudsql", p)
	}
	return c, nil
}

// newSecrets resolves the secrets that cfg names; a store's client is built when its first secret is asked for.
func newSecrets(cfg *config.Config) *secret.Resolver {
	return secret.NewResolver(map[string]func(context.Context) (secret.Source, error){
		secret.SchemeAWS: func(ctx context.Context) (secret.Source, error) {
			return awssm.New(ctx, awssm.Options{Endpoint: cfg.Endpoints.AWSSecretsManager})
		},
		secret.SchemeGCP: func(ctx context.Context) (secret.Source, error) {
			return gcpsm.New(ctx, gcpsm.Options{Endpoint: cfg.Endpoints.GCPSecretManager})
		},
		secret.SchemeFile: func(context.Context) (secret.Source, error) { return secret.File{}, nil },
		secret.SchemeEnv:  func(context.Context) (secret.Source, error) { return secret.Env{}, nil },
	})
}
