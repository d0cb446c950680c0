package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/proxy"
)

// upstream is one database of an environment, as an open proxy logs in to it: database is its name for clients, onServer on the server.
func (a *App) upstream(env, database, onServer, instance string, access config.Access) proxy.Upstream {
	return proxy.Upstream{
		Database: database, Instance: instance,
		Config: func(ctx context.Context) (*pgconn.Config, error) {
			return a.proxiedConnection(ctx, env, instance, onServer, access)
		},
		Stale: func(err error) bool { return a.stale(env, instance, access, err) },
		LoginHint: func() string {
			inst, err := a.instance(env, instance)
			if err != nil {
				return ""
			}
			return loginHint(inst, access)
		},
	}
}

// proxiedConnection is connection with what is remembered of a store of secrets.
func (a *App) proxiedConnection(ctx context.Context, env, instance, database string, access config.Access) (*pgconn.Config, error) {
	inst, err := a.instance(env, instance)
	if err != nil {
		return nil, err
	}
	login := inst.Login(access)
	if login == nil || login.IAM || login.Secret == "" {
		return a.connection(ctx, env, instance, database, access)
	}
	op := fmt.Sprintf("log in to %s/%s for %s", env, instance, access)
	ref, err := a.cfg.Secret(login.Secret)
	if err != nil {
		return nil, fault.New(fault.Config, op, err)
	}
	p := pg.Params{Database: database, User: login.User, Runtime: runtime(access, login)}
	if p.Password, err = a.proxiedSecret(ctx, ref); err != nil {
		return nil, err
	}
	return a.reach(ctx, op, env, instance, inst, login, p, a.endpointOf(env, instance, inst).from(a.questions))
}

// stale forgets what may be behind a login that failed, and tells whether there was anything: an address, a credential, a secret.
func (a *App) stale(env, instance string, access config.Access, err error) bool {
	inst, unknown := a.instance(env, instance)
	if unknown != nil || errors.Is(err, context.Canceled) {
		return false
	}
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		if len(pe.Code) < 2 || pe.Code[:2] != "28" {
			return false
		}
		return a.forgetLogin(env, instance, inst, inst.Login(access))
	}
	switch fault.KindOf(err) {
	case fault.Internal, fault.Unavailable: // the network's errors are nobody's faults yet
	default:
		return false
	}
	switch inst.Kind() {
	case cloud.RDS:
		return a.endpointOf(env, instance, inst).doubt()
	case cloud.CloudSQL:
		return true // the connector has forgotten address and certificate by itself
	default:
		return false
	}
}

// forgetLogin drops what a server has refused.
func (a *App) forgetLogin(env, instance string, inst *config.Instance, login *config.Login) bool {
	switch {
	case login == nil:
		return false
	case login.IAM:
		a.mu.Lock()
		p := a.providers[keyOf(env, instance, inst)]
		a.mu.Unlock()
		if f, ok := p.(interface{ ForgetLogin() }); ok {
			f.ForgetLogin()
		}
		if inst.Kind() == cloud.CloudSQL {
			a.connector(inst).ForgetLogin()
		}
		return true
	case login.Secret != "":
		ref, err := a.cfg.Secret(login.Secret)
		return err == nil && a.secretOf(ref).doubt()
	}
	return false
}

// loginHint is what to do about a login that a server refused.
func loginHint(inst *config.Instance, access config.Access) string {
	login := inst.Login(access)
	switch {
	case login != nil && login.IAM && inst.Kind() == cloud.RDS:
		renew := "aws sso login"
		if inst.RDS.Profile != "" {
			renew += " --profile " + inst.RDS.Profile
		}
		return fmt.Sprintf("log in to AWS again (%s) if the session has expired; else the identity in use needs rds-db:connect as %s, and that role needs rds_iam", renew, login.User)
	case login != nil && login.IAM:
		return "log in to Google again (gcloud auth application-default login) if the session has expired; else the identity in use needs roles/cloudsql.instanceUser and a database user of its name"
	case login != nil && login.Secret != "":
		return fmt.Sprintf("this is the login of dbops, not the client's: the password in %s is not that of %s on the server; put the right one there", login.Secret, login.User)
	}
	return "this is the login of dbops, not the client's: name one under the instance's logins in dbops.yaml, or set PGUSER and PGPASSWORD before dbops starts"
}
