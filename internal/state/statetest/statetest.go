// Package statetest gives tests stores of either kind, so that each test of what stands on a store runs on both.
package statetest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// Kinds are the databases that a store can be in.
var Kinds = []string{"sqlite", "postgres"}

// Place is where a store of a test is: other processes of the test can open it, too.
type Place struct {
	Dir    string         // of the key, the witness, and the SQLite file
	Server *pgconn.Config // of PostgreSQL; nil for SQLite
}

// New returns a place for a new store.
func New(t testing.TB, kind string) Place {
	t.Helper()
	p := Place{Dir: t.TempDir()}
	if kind == "postgres" {
		s := pgtest.Start(t, 17)
		p.Server = s.Config(t, s.Database(t))
	}
	return p
}

// Open opens the store as a user of its own.
func (p Place) Open(ctx context.Context, user string) (*state.Store, error) {
	var d *db.DB
	var err error
	if p.Server != nil {
		d, err = db.OpenPostgres(ctx, func(context.Context) (*pgconn.Config, error) { return p.Server.Copy(), nil })
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
