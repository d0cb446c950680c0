package audit

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/state/db"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		os.Exit(appendForever())
	}
	os.Exit(pgtest.Main(m))
}

// stores make a new store of either kind.
func stores() map[string]func(testing.TB) *db.DB {
	return map[string]func(testing.TB) *db.DB{
		"sqlite":   func(t testing.TB) *db.DB { t.Helper(); return sqlite(t, filepath.Join(t.TempDir(), "state.db")) },
		"postgres": postgres,
	}
}

func sqlite(t testing.TB, path string) *db.DB {
	t.Helper()
	d, err := db.OpenSQLite(t.Context(), path)
	return migrated(t, d, err)
}

func postgres(t testing.TB) *db.DB {
	t.Helper()
	s := pgtest.Start(t, 17)
	cfg := s.Config(t, s.Database(t))
	d, err := db.OpenPostgres(t.Context(), func(context.Context) (*pgconn.Config, error) { return cfg.Copy(), nil })
	return migrated(t, d, err)
}

func migrated(t testing.TB, d *db.DB, err error) *db.DB {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

// keysIn are those of one user, whose files are in dir.
func keysIn(dir string) Keys {
	return Keys{File: filepath.Join(dir, "audit.key"), Name: "alice@laptop", Witness: filepath.Join(dir, "witness.json")}
}

func open(t testing.TB, d *db.DB, keys Keys) *Log {
	t.Helper()
	l, err := Open(t.Context(), d, keys)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func add(t testing.TB, l *Log, entries ...Entry) []Entry {
	t.Helper()
	var written []Entry
	err := l.d.Tx(t.Context(), func(ctx context.Context, q db.Querier) error {
		written = nil
		for _, e := range entries {
			w, err := l.Append(ctx, q, e)
			if err != nil {
				return err
			}
			written = append(written, w)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func verify(t testing.TB, l *Log) Report {
	t.Helper()
	r, err := l.Verify(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// step are the two entries of a step that was done.
func step(run, name string) []Entry {
	e := Entry{
		Actor: "alice@example.com", Via: ViaAWS, Host: "laptop-7", Run: run, Kind: "upgrade", Step: name, Attempt: 1, Phase: Intent,
		Target: "prod/main", Plan: "sha256:3fe2", Changes: []Change{{"engine_version", "16.4", "17.2"}},
	}
	r := e
	r.Phase, r.Outcome, r.RequestID, r.Text = Result, Done, "4d2c0d7e-57f4", `it said: "available" <now>`
	return []Entry{e, r}
}
