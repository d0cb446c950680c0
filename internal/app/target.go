package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/op/sshsig"
	"dbops/internal/pg"
	"dbops/internal/state"
)

// Target is an instance of dbops.yaml as operations know it.
func (a *App) Target(env, instance string) (op.Target, error) {
	e, err := a.cfg.Environment(env)
	if err != nil {
		return op.Target{}, err
	}
	if _, err := e.Instance(instance); err != nil {
		return op.Target{}, err
	}
	return op.Target{Environment: env, Instance: instance, Protected: e.Protected}, nil
}

// managed is the provider of an instance, and its name there.
func (a *App) managed(ctx context.Context, env, instance string) (cloud.Provider, string, error) {
	inst, err := a.instance(env, instance)
	if err != nil {
		return nil, "", err
	}
	p, err := a.provider(ctx, env, instance, inst)
	return p, providerName(inst), err
}

func providerName(inst *config.Instance) string {
	switch inst.Kind() {
	case cloud.RDS:
		return inst.RDS.Identifier
	case cloud.CloudSQL:
		return inst.CloudSQL.Instance
	default:
		return inst.Coordinates()
	}
}

// changer is the provider of an instance that it can change, and its name there. A plain server is a fault.Usage that wraps
// [cloud.ErrUnsupported].
func (a *App) changer(ctx context.Context, env, instance string) (cloud.Changer, string, error) {
	p, name, err := a.managed(ctx, env, instance)
	if err != nil {
		return nil, "", err
	}
	c, ok := p.(cloud.Changer)
	if !ok {
		return nil, "", fault.New(fault.Usage, "change "+env+"/"+instance, cloud.ErrUnsupported).
			Hint("it is a plain PostgreSQL server: no cloud manages its availability, backups or protection; dbops status shows what each instance is")
	}
	return c, name, nil
}

// probe makes one attempt to be served by an instance, through any of its databases.
func (a *App) probe(t op.Target) func(context.Context) error {
	e, err := a.cfg.Environment(t.Environment)
	if err != nil {
		return nil
	}
	database := "postgres"
	if names := e.DatabasesOf(t.Instance); len(names) > 0 {
		if d, err := e.Database(names[0]); err == nil {
			database = d.Name
		}
	}
	return pg.Answers(func(ctx context.Context) (*pgconn.Config, error) {
		return a.connection(ctx, t.Environment, t.Instance, database, config.Read)
	})
}

// connectTo logs in for reading to a database of an instance by the provider's name, which may be one that dbops.yaml does not name: a
// restored copy of the target, reached in the same way.
func (a *App) connectTo(ctx context.Context, t op.Target, instance, database string) (*pgx.Conn, error) {
	inst, err := a.instance(t.Environment, t.Instance)
	if err != nil {
		return nil, err
	}
	var cfg *pgconn.Config
	if instance == providerName(inst) {
		cfg, err = a.connection(ctx, t.Environment, t.Instance, database, config.Read)
	} else {
		cfg, err = a.connectionTo(ctx, t.Environment, t.Instance, renamed(inst, instance), database, config.Read, a.listens(t, instance))
	}
	if err != nil {
		return nil, err
	}
	full, err := pgx.ParseConfig("")
	if err != nil {
		return nil, fault.New(fault.Internal, "connect to "+instance, err)
	}
	full.Config = *cfg
	return pgx.ConnectConfig(ctx, full)
}

// renamed is inst under another name of the provider's.
func renamed(inst *config.Instance, name string) *config.Instance {
	c := *inst
	switch {
	case c.RDS != nil:
		r := *c.RDS
		r.Identifier = name
		c.RDS = &r
	case c.CloudSQL != nil:
		s := *c.CloudSQL
		s.Instance = name
		c.CloudSQL = &s
	}
	return &c
}

// listens returns where an instance listens, by the provider's name.
func (a *App) listens(t op.Target, instance string) func(context.Context) (cloud.Endpoint, error) {
	return func(ctx context.Context) (cloud.Endpoint, error) {
		p, _, err := a.managed(ctx, t.Environment, t.Instance)
		if err != nil {
			return cloud.Endpoint{}, err
		}
		live, err := p.Get(ctx, instance)
		if err != nil {
			return cloud.Endpoint{}, err
		}
		if len(live.Endpoints) == 0 {
			return cloud.Endpoint{}, fault.Newf(fault.Busy, "connect to "+instance, "it has no address yet, it is %s", live.State)
		}
		return live.Endpoints[0], nil
	}
}

func stateSecret(ref string) *config.Login { return &config.Login{Secret: ref} }

// Identity says who is asking, as the cloud that has the instance sees it, or as an SSH key of the allowed signers proves. Where
// neither is to be had it is this machine's word, unverified.
func (a *App) Identity(ctx context.Context, env, instance string, key sshsig.Key) (op.Actor, error) {
	if key != (sshsig.Key{}) {
		who, _, err := a.SignAs(ctx, key, []byte("dbops identity "+strconv.FormatInt(time.Now().UnixNano(), 10)+"\n"))
		return who, err
	}
	if env != "" && instance != "" {
		c, _, err := a.changer(ctx, env, instance)
		if err == nil {
			name, err := c.Identity(ctx)
			if err != nil {
				return op.Actor{}, err
			}
			return op.Actor{Name: name, Via: via(name)}, nil
		}
		if !errors.Is(err, cloud.ErrUnsupported) {
			return op.Actor{}, err
		}
	}
	return Unverified(), nil
}

func via(name string) string {
	if strings.HasPrefix(name, "arn:") {
		return op.ViaAWS
	}
	return op.ViaGoogle
}

// Unverified is who this machine says is asking.
func Unverified() op.Actor {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return op.Actor{Name: name + "@" + host, Via: op.ViaUnverified}
}

// SignAs signs a message with an SSH key and says whose key that is, by the allowed signers of dbops.yaml.
func (a *App) SignAs(ctx context.Context, key sshsig.Key, message []byte) (op.Actor, []byte, error) {
	const what = "sign with an SSH key"
	allowed, err := a.allowedSigners(what)
	if err != nil {
		return op.Actor{}, nil, err
	}
	signature, err := sshsig.Sign(ctx, key, message)
	if err != nil {
		return op.Actor{}, nil, err
	}
	who, err := sshsig.Verify(allowed, message, signature, time.Now())
	if err != nil {
		return op.Actor{}, nil, err
	}
	return op.Actor{Name: who, Via: op.ViaSSH}, signature, nil
}

func (a *App) allowedSigners(what string) (*sshsig.Allowed, error) {
	return AllowedSigners(a.cfg, what)
}

// checkVote verifies a vote that an SSH key signed, as of when it was cast; of one that was cast in an SSH session, which nothing signs, that
// dbops.yaml lets that person approve there.
func (a *App) checkVote(v state.Vote, planHash string) error {
	if v.Method == op.ViaSession {
		return a.checkSessionVote(v)
	}
	if v.Method != op.ViaSSH {
		return nil
	}
	allowed, err := a.allowedSigners("verify a vote")
	if err != nil {
		return err
	}
	who, err := sshsig.Verify(allowed, op.VoteMessage(planHash, true), []byte(v.Evidence), v.At)
	if err == nil && who != v.Actor {
		err = fmt.Errorf("it was signed by %s", who)
	}
	return err
}
