package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/dial"
	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

// connection works out how to log in to a database (by its name on the server) of an instance: address, TLS, user, and a password
// or token that is fresh now.
func (a *App) connection(ctx context.Context, env, instance, database string, access config.Access) (*pgconn.Config, error) {
	inst, err := a.instance(env, instance)
	if err != nil {
		return nil, err
	}
	return a.connectionTo(ctx, env, instance, inst, database, access, func(ctx context.Context) (cloud.Endpoint, error) {
		return a.endpoint(ctx, env, instance)
	})
}

// connectionTo is connection to an instance of which dbops.yaml need not know: inst says which it is, endpoint where it listens (rds).
func (a *App) connectionTo(
	ctx context.Context, env, instance string, inst *config.Instance, database string, access config.Access,
	endpoint func(context.Context) (cloud.Endpoint, error),
) (*pgconn.Config, error) {
	op := fmt.Sprintf("log in to %s/%s for %s", env, instance, access)
	login := inst.Login(access)
	if login == nil {
		login = &config.Login{}
	}
	return a.reach(ctx, op, env, instance, inst, login, pg.Params{Database: database, User: login.User, Runtime: runtime(access, login)}, endpoint)
}

// connectionAs is connection for a login role that dbops.yaml does not name, such as a container's.
func (a *App) connectionAs(ctx context.Context, env, instance, database, user string, password secret.Value) (*pgconn.Config, error) {
	op := fmt.Sprintf("log in to %s/%s as %s", env, instance, user)
	if password.IsZero() {
		return nil, fault.Newf(fault.Denied, op, "its password is empty")
	}
	inst, err := a.instance(env, instance)
	if err != nil {
		return nil, err
	}
	p := pg.Params{Database: database, User: user, Password: password}
	return a.reach(ctx, op, env, instance, inst, &config.Login{User: user}, p, func(ctx context.Context) (cloud.Endpoint, error) {
		return a.endpoint(ctx, env, instance)
	})
}

// reach completes p, which says as whom, by how inst is reached.
func (a *App) reach(
	ctx context.Context, op, env, instance string, inst *config.Instance, login *config.Login, p pg.Params,
	endpoint func(context.Context) (cloud.Endpoint, error),
) (*pgconn.Config, error) {
	var err error
	switch inst.Kind() {
	case cloud.RDS:
		err = a.connectRDS(ctx, op, env, instance, inst, login, &p, endpoint)
	case cloud.CloudSQL:
		err = a.connectCloudSQL(ctx, op, env, instance, inst, login, &p)
	default:
		err = a.connectPostgres(ctx, op, inst, login, &p)
	}
	if err != nil {
		return nil, err
	}
	cfg, err := pg.Config(p)
	if err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	return cfg, nil
}

// runtime are the session settings that make an access what it says. They are a guard against mistakes; what the login role may
// do is the wall.
func runtime(access config.Access, login *config.Login) map[string]string {
	rt := map[string]string{}
	if access == config.Read {
		rt["default_transaction_read_only"] = "on"
	}
	if login.Role != "" {
		rt["role"] = login.Role
	}
	return rt
}

func (a *App) connectRDS(
	ctx context.Context, op, env, name string, inst *config.Instance, login *config.Login, p *pg.Params,
	endpoint func(context.Context) (cloud.Endpoint, error),
) error {
	e, err := endpoint(ctx)
	if err != nil {
		return err
	}
	p.Host, p.Port = e.Host, uint16(e.Port)
	p.SSLMode = "verify-full"
	if inst.RDS.CAFile == "" {
		p.CAs, err = a.regionCAs(op, inst.RDS.Region)
	} else if p.CAs, err = a.cas.load(inst.RDS.CAFile); err != nil {
		err = fault.New(fault.Config, op, err).Hint("check rds.ca_file of the instance")
	}
	if err != nil {
		return err
	}
	p.Dial = a.dialAndDoubt(a.way(inst), env, name, inst)
	if login.IAM {
		r, err := a.rdsProvider(ctx, env, name, inst)
		if err != nil {
			return err
		}
		// RDS takes the token as a password, inside verified TLS; a role that is no IAM role is refused by the server, by name.
		p.Password, err = r.LoginToken(ctx, net.JoinHostPort(e.Host, strconv.Itoa(e.Port)), login.User)
		return err
	}
	p.RequireAuth = "scram-sha-256"
	return a.password(ctx, op, login, p)
}

func (a *App) connectCloudSQL(ctx context.Context, op, env, name string, inst *config.Instance, login *config.Login, p *pg.Params) error {
	c := inst.CloudSQL
	p.Host, p.Port = c.Project+":"+c.Region+":"+c.Instance, 5432
	p.SSLMode = "disable" // the connector's own TLS is below, verified against the instance
	route := dial.Route{Project: c.Project, Region: c.Region, Instance: c.Instance, Address: c.Address, IAM: login.IAM}
	connector := a.connector(inst)
	p.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) { return connector.Dial(ctx, route) }
	if login.IAM {
		if p.User != "" {
			return nil
		}
		provider, err := a.cloudsqlProvider(ctx, env, name, inst)
		if err != nil {
			return err
		}
		p.User, err = provider.Principal(ctx)
		return err
	}
	p.RequireAuth = "scram-sha-256"
	return a.password(ctx, op, login, p)
}

func (a *App) connectPostgres(ctx context.Context, op string, inst *config.Instance, login *config.Login, p *pg.Params) error {
	server := inst.Postgres.Server()
	p.Host, p.Port, p.SSLMode = server.Host, server.Port, server.SSLMode
	if inst.Postgres.CAFile != "" {
		var err error
		if p.CAs, err = a.cas.load(inst.Postgres.CAFile); err != nil {
			return fault.New(fault.Config, op, err).Hint("check postgres.ca_file of the instance")
		}
	}
	if server.Socket() {
		p.SSLMode = "disable" // PostgreSQL has no TLS on a socket
	}
	if p.SSLMode == "disable" || p.SSLMode == "require" {
		p.RequireAuth = "!password" // never hand a password to somebody who has not proved who they are
	}
	p.Dial = a.way(inst)
	p.User = cmp.Or(p.User, server.User)
	return a.password(ctx, op, login, p)
}

// password fills in user and password, if they are not known, from the named secret, else from the standard PG variables.
func (a *App) password(ctx context.Context, op string, login *config.Login, p *pg.Params) error {
	if !p.Password.IsZero() {
		return nil
	}
	if login.Secret != "" {
		ref, err := a.cfg.Secret(login.Secret)
		if err != nil {
			return fault.New(fault.Config, op, err)
		}
		p.Password, err = a.secrets.Get(ctx, ref)
		return err
	}
	user, pw, err := pg.StandardLogin(a.opts.Getenv, p.Host, p.Port, p.Database, p.User)
	if err != nil {
		return fault.New(fault.Config, op, err).Hint("check the file that PGPASSFILE names")
	}
	if user == "" {
		return fault.Newf(fault.Config, op, "nobody said as whom").
			Hint("name a login for this access under the instance's logins in dbops.yaml, or set PGUSER and PGPASSWORD")
	}
	p.User, p.Password = user, pw
	return nil
}

// connectorKey is what instances share that are reached through one connector.
type connectorKey struct{ endpoint, via string }

// connector returns the one connector of an Admin API and a way.
func (a *App) connector(inst *config.Instance) *dial.Connector {
	below := a.way(inst)
	key := connectorKey{inst.CloudSQL.Endpoint, inst.Via.Key()}
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.connectors[key]
	if !ok {
		c = dial.NewConnector(dial.ConnectorOptions{AdminEndpoint: key.endpoint, UserAgent: a.userAgent(), Dial: below})
		a.connectors[key] = c
	}
	return c
}

// dialAndDoubt is way; an address that does not answer is asked for again next time.
func (a *App) dialAndDoubt(way dial.Func, env, name string, inst *config.Instance) dial.Func {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := way(ctx, network, addr)
		if err != nil && !errors.Is(err, context.Canceled) {
			a.endpointOf(env, name, inst).doubt()
		}
		return conn, err
	}
}
