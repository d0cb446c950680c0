// Package statetest gives tests stores of either kind, so that each test of what stands on a store runs on both.
package statetest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// Kinds are the databases that a store can be in.
var Kinds = []string{"sqlite", "postgres"}

// Place is where a store of a test is: other processes of the test can open it, too.
type Place struct {
	Dir string // of the key, the witness, and the SQLite file

	// Of PostgreSQL; Host is empty for SQLite.
	Host, Database, Password, CAFile string
	Port                             uint16
}

// New returns a place for a new store.
func New(t testing.TB, kind string) Place {
	t.Helper()
	p := Place{Dir: t.TempDir()}
	if kind == "postgres" {
		s := pgtest.Start(t, 17)
		p.Host, p.Port, p.Password, p.CAFile, p.Database = s.Host, s.Port, s.Password.Reveal(), s.CAFile, s.Database(t)
	}
	return p
}

// Open opens the store as a user of its own.
func (p Place) Open(ctx context.Context, user string) (*state.Store, error) {
	var d *db.DB
	var err error
	if p.Host != "" {
		d, err = db.OpenPostgres(ctx, p.login)
	} else {
		d, err = db.OpenSQLite(ctx, filepath.Join(p.Dir, "state.db"))
	}
	if err != nil {
		return nil, err
	}
	return state.Open(ctx, d, audit.Keys{
		File: filepath.Join(p.Dir, user+".key"), Name: user, Witness: filepath.Join(p.Dir, user+".witness"),
	})
}

func (p Place) login(context.Context) (*pgconn.Config, error) {
	return pg.Config(pg.Params{
		Host: p.Host, Port: p.Port, User: pgtest.User, Password: secret.New(p.Password), Database: p.Database, SSLMode: "verify-full", CAFile: p.CAFile,
	})
}

// placeVariable hands a place to a child process of the test.
const placeVariable = "DBOPS_TEST_PLACE"

// Env is the place as a variable of the environment of a child process, which finds it with [FromEnv].
func (p Place) Env(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return placeVariable + "=" + string(b)
}

// FromEnv is the place that the parent process gave; ok is false if this is no child.
func FromEnv() (p Place, ok bool) {
	return p, json.Unmarshal([]byte(os.Getenv(placeVariable)), &p) == nil
}

// Store opens the store for the length of a test.
func (p Place) Store(t testing.TB) *state.Store {
	t.Helper()
	s, err := p.Open(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Each runs test over a store of each kind.
func Each(t *testing.T, test func(t *testing.T, p Place)) {
	t.Helper()
	for _, kind := range Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, New(t, kind))
		})
	}
}

// EndLeases ends the leases of killed processes in PostgreSQL, as time would. In a file nobody waits for that: a lock tells who is alive.
func (p Place) EndLeases(t testing.TB) {
	t.Helper()
	if p.Host == "" {
		return
	}
	s, err := p.Open(t.Context(), "undertaker")
	if err != nil {
		t.Fatal(err)
	}
	err = s.Tx(t.Context(), "end leases", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveOtherRunners(ctx, "") })
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}
