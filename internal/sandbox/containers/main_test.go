package containers_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/pg"
	"dbops/internal/sandbox/containers"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

const password = "correct-horse-battery"

// place is a database with a container's two roles, and what is delivered to it.
type place struct {
	server    *pgtest.Server
	database  string
	prefix    string
	delivered atomic.Pointer[delivery]
}

type delivery struct{ text, version string }

// setUp makes roles NAME_a and NAME_b, which may both log in, and delivers the first.
func setUp(t *testing.T) *place {
	t.Helper()
	p := &place{server: pgtest.Start(t, 15)}
	p.database = p.server.Database(t)
	p.prefix = "app_" + p.database
	verifier, err := pg.Verifier(secret.New(password))
	if err != nil {
		t.Fatal(err)
	}
	p.server.Exec(t, p.database, "CREATE TABLE done (n int)", "INSERT INTO done VALUES (0)", "GRANT ALL ON done TO PUBLIC")
	for _, slot := range []string{"_a", "_b"} {
		p.server.Exec(t, p.database, "CREATE ROLE "+p.prefix+slot+" LOGIN PASSWORD '"+verifier+"'")
		t.Cleanup(func() {
			p.server.Exec(t, p.database, "DROP OWNED BY "+p.prefix+slot)
			p.server.Exec(t, "postgres", "DROP ROLE "+p.prefix+slot)
		})
	}
	p.deliver(t, "a", nil)
	return p
}

// deliver delivers the credential of a slot, with some keys changed.
func (p *place) deliver(t *testing.T, slot string, change map[string]any) {
	t.Helper()
	m := map[string]any{
		"engine": "postgres", "username": p.prefix + "_" + slot, "password": password, "slot": slot, "host": p.server.Host,
		"port": p.server.Port, "dbname": p.database, "sslmode": "verify-full", "a_key_of_tomorrow": []int{1},
	}
	maps.Copy(m, change)
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p.delivered.Store(&delivery{string(text), "version-of-" + slot})
}

func (p *place) source(context.Context) (secret.Value, string, error) {
	d := p.delivered.Load()
	if d == nil {
		return secret.Value{}, "", errors.New("nothing is delivered")
	}
	return secret.New(d.text), d.version, nil
}

func (p *place) trust(t *testing.T) containers.Trust {
	t.Helper()
	roots, err := pg.LoadCAs(p.server.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return func(_, host string) (*tls.Config, error) {
		return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host}, nil
	}
}

func (p *place) start(t *testing.T, o containers.Options) *containers.Container {
	t.Helper()
	c := containers.Start(t.Context(), containers.Spec{
		Environment: "test", Name: "shop-api", Platform: "command", Source: p.source, Trust: p.trust(t),
		Load: map[string]containers.Load{p.database: {Read: "SELECT n FROM done WHERE $1 > 0", Write: "UPDATE done SET n = n + 1 WHERE $1 > 0"}},
	}, o)
	t.Cleanup(c.Close)
	if err := c.Started(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

// eventually waits until f is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not happen: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sessionsOf counts the sessions that a role has on the server.
func (p *place) sessionsOf(t *testing.T, slot string) (n int) {
	t.Helper()
	q := "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'shop-api'"
	if err := p.server.Superuser(t, "postgres").QueryRow(t.Context(), q, p.prefix+"_"+slot).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
