package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/secret"
)

// moving is a control plane and a store of secrets whose answers change, and are counted.
type moving struct {
	cloud.Provider
	host, word  atomic.Pointer[string]
	asked, read atomic.Int32
	forgot      atomic.Int32
	down        atomic.Bool
}

func (m *moving) Get(context.Context, string) (*cloud.Instance, error) {
	m.asked.Add(1)
	if m.down.Load() {
		return nil, fault.Newf(fault.Unavailable, "ask", "503")
	}
	return &cloud.Instance{Endpoints: []cloud.Endpoint{{Host: *m.host.Load(), Port: 5432}}}, nil
}

func (m *moving) ForgetLogin() { m.forgot.Add(1) }

type store struct{ m *moving }

func (s store) Get(context.Context, secret.Ref) (secret.Value, error) {
	s.m.read.Add(1)
	if s.m.down.Load() {
		return secret.Value{}, fault.Newf(fault.Unavailable, "read", "503")
	}
	return secret.New(*s.m.word.Load()), nil
}

func newMoving(t *testing.T) (*App, *moving) {
	t.Helper()
	m := &moving{}
	m.is("one.example.com", "first")
	cfg := &config.Config{Path: "/etc/dbops.yaml", Environments: map[string]*config.Environment{"prod": {
		Name: "prod",
		Instances: map[string]*config.Instance{"main": {
			RDS: &config.RDS{Region: "eu-west-1", Identifier: "main"},
			Logins: map[config.Access]*config.Login{
				config.Read:  {User: "reader", IAM: true},
				config.Write: {User: "writer", Secret: "aws-sm:writer"},
			},
		}},
	}}}
	a := New(cfg, Options{StateDir: t.TempDir(), RuntimeDir: t.TempDir()})
	t.Cleanup(func() { must(t, a.Close()) })
	a.secrets = secret.NewResolver(map[string]secret.Open{secret.SchemeAWS: func(context.Context) (secret.Source, error) { return store{m}, nil }})
	inst, err := a.instance("prod", "main")
	must(t, err)
	a.providers[keyOf("prod", "main", inst)] = m
	return a, m
}

func (m *moving) is(host, word string) {
	m.host.Store(&host)
	m.word.Store(&word)
}

func TestAProxysLoginsAreRememberedUntilTheyFail(t *testing.T) {
	a, m := newMoving(t)
	up := a.upstream("prod", "shop", "shop", "main", config.Write)
	login := func() string {
		t.Helper()
		cfg, err := up.Config(t.Context())
		must(t, err)
		return cfg.Host + " " + cfg.Password
	}
	for range 100 {
		if got := login(); got != "one.example.com first" {
			t.Fatal(got)
		}
	}
	if m.asked.Load() != 1 || m.read.Load() != 1 {
		t.Errorf("100 logins asked %d times where it is, and read the secret %d times", m.asked.Load(), m.read.Load())
	}
	m.is("two.example.com", "second")
	if got := login(); got != "one.example.com first" {
		t.Errorf("before anything failed: %s", got)
	}
	// What fails is asked for anew, and nothing else.
	if !up.Stale(fmt.Errorf("connect: %w", &pgconn.PgError{Code: "28P01"})) {
		t.Error("a password that is refused is not stale")
	}
	if got := login(); got != "one.example.com second" {
		t.Errorf("after a password was refused: %s", got)
	}
	if !up.Stale(errors.New("connection refused")) {
		t.Error("an address that refuses is not stale")
	}
	if got := login(); got != "two.example.com second" {
		t.Errorf("after an address did not answer: %s", got)
	}
	for _, err := range []error{
		&pgconn.PgError{Code: "53300"}, &pgconn.PgError{Code: "3D000"}, &pgconn.PgError{}, context.Canceled, fault.Newf(fault.Denied, "ask", "no"),
	} {
		if up.Stale(err) {
			t.Errorf("%v is taken for stale", err)
		}
	}
	// Nor does a control plane that is down take away what is known.
	m.down.Store(true)
	up.Stale(errors.New("connection refused"))
	up.Stale(&pgconn.PgError{Code: "28P01"})
	if got := login(); got != "two.example.com second" {
		t.Errorf("with the control plane down: %s", got)
	}
}

func TestACloudsLoginThatIsRefusedIsForgotten(t *testing.T) {
	a, m := newMoving(t)
	up := a.upstream("prod", "shop", "shop", "main", config.Read)
	if !up.Stale(&pgconn.PgError{Code: "28000"}) || m.forgot.Load() != 1 {
		t.Error("the credentials were not forgotten")
	}
}

func TestHintsForRefusedLoginsNameWhatRenewsThem(t *testing.T) {
	rds, google, plain := &config.RDS{Profile: "corp"}, &config.CloudSQL{}, &config.Postgres{}
	iam := map[config.Access]*config.Login{config.Read: {User: "reader", IAM: true}}
	for want, inst := range map[string]*config.Instance{
		"aws sso login --profile corp":          {RDS: rds, Logins: iam},
		"gcloud auth application-default login": {CloudSQL: google, Logins: iam},
		"the password in file:word":             {Postgres: plain, Logins: map[config.Access]*config.Login{config.Read: {User: "reader", Secret: "file:word"}}},
		"PGPASSWORD":                            {Postgres: plain},
	} {
		if got := loginHint(inst, config.Read); !strings.Contains(got, want) {
			t.Errorf("%q does not say %q", got, want)
		}
	}
}
