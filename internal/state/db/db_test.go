package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"dbops/internal/fault"
	"dbops/internal/pg"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
)

// migrateVariable makes this test binary a process that opens a store and migrates it.
const migrateVariable = "DBOPS_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if where := os.Getenv(migrateVariable); where != "" {
		if err := migrateAt(where); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(pgtest.Main(m))
}

// migrateAt migrates the file at a path, or the database of a URL that carries its password.
func migrateAt(where string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := openAt(ctx, where)
	if err != nil {
		return err
	}
	_, _, err = d.Migrate(ctx)
	return errors.Join(err, d.Close())
}

func openAt(ctx context.Context, where string) (*DB, error) {
	u, err := url.Parse(where)
	if err != nil || u.Scheme == "" {
		return OpenSQLite(ctx, where)
	}
	word, _ := u.User.Password()
	return OpenPostgres(ctx, func(context.Context) (*pgconn.Config, error) {
		var port uint16
		if _, err := fmt.Sscan(u.Port(), &port); err != nil {
			return nil, err
		}
		return pg.Config(pg.Params{
			Host: u.Hostname(), Port: port, User: u.User.Username(), Password: secret.New(word), Database: strings.Trim(u.Path, "/"),
			SSLMode: "verify-full", CAFile: u.Query().Get("ca"),
		})
	})
}

// places make a new place for a store.
func places() map[string]func(t *testing.T) string {
	return map[string]func(t *testing.T) string{
		"sqlite": func(t *testing.T) string { t.Helper(); return filepath.Join(t.TempDir(), "folder", "state.db") },
		"postgres": func(t *testing.T) string {
			t.Helper()
			s := pgtest.Start(t, 17)
			u := url.URL{
				Scheme: "postgres", User: url.UserPassword(pgtest.User, s.Password.Reveal()), Host: fmt.Sprintf("%s:%d", s.Host, s.Port), Path: s.Database(t),
				RawQuery: url.Values{"ca": {s.CAFile}}.Encode(),
			}
			return u.String()
		},
	}
}

func open(t *testing.T, where string) *DB {
	t.Helper()
	d, err := openAt(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func failed(t *testing.T, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%s), want %s: %s", err, fault.KindOf(err), kind, text)
	}
}

func TestAMigrationThatIsKilledHasHappenedOrNot(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for kind, place := range places() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			killed := 0
			for range 30 {
				where := place(t)
				cmd := exec.CommandContext(t.Context(), self)
				cmd.Env = append(os.Environ(), migrateVariable+"="+where)
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				timer := time.AfterFunc(time.Duration(rand.IntN(60))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				if err := cmd.Wait(); err != nil {
					killed++
				}
				timer.Stop()
				d := open(t, where)
				if from, to, err := d.Migrate(t.Context()); err != nil || from != 0 && from != to {
					t.Fatalf("afterwards: from %d to %d, %v", from, to, err)
				}
				var n int
				if _, err := One(t.Context(), d.Read(), []any{&n}, "select count(*) from audit_head"); err != nil || n != 1 {
					t.Fatalf("%d heads, %v", n, err)
				}
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if killed == 0 {
				t.Error("no migration was killed: the test proves nothing")
			}
		})
	}
}

func TestManyMayMigrateAtOnce(t *testing.T) {
	for kind, place := range places() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			where := place(t)
			var did atomic.Int32
			var all errgroup.Group
			for range 8 {
				all.Go(func() error {
					d, err := openAt(t.Context(), where)
					if err != nil {
						return err
					}
					from, to, err := d.Migrate(t.Context())
					if from != to {
						did.Add(1)
					}
					return errors.Join(err, d.Close())
				})
			}
			if err := all.Wait(); err != nil || did.Load() != 1 {
				t.Errorf("%d did it, %v", did.Load(), err)
			}
		})
	}
}

func TestANewerStoreIsRefused(t *testing.T) {
	for kind, place := range places() {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d := open(t, place(t))
			if _, _, err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if from, to, err := d.Migrate(t.Context()); err != nil || from != to || from == 0 {
				t.Errorf("again: from %d to %d, %v", from, to, err)
			}
			if _, err := d.Read().Exec(t.Context(), "insert into state_version values (99)"); err != nil {
				t.Fatal(err)
			}
			_, _, err := d.Migrate(t.Context())
			failed(t, err, fault.Config, "it is of version 99")
			if fault.HintOf(err) != "upgrade dbops" {
				t.Errorf("the hint is %q", fault.HintOf(err))
			}
		})
	}
}

func TestAFileIsItsUsersAlone(t *testing.T) {
	t.Parallel()
	path := places()["sqlite"](t)
	d := open(t, path)
	if _, _, err := d.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want %s", name, info.Mode(), err, want)
		}
	}
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal", "foreign_keys": "1", "busy_timeout": "5000"} {
		var got string
		if _, err := One(t.Context(), d.Read(), []any{&got}, "pragma "+pragma); err != nil || got != want {
			t.Errorf("%s is %s, %v, want %s", pragma, got, err, want)
		}
	}
}

func TestVersionsOfSQLiteAreCompared(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b  string
		older bool
	}{{"3.51.2", "3.51.3", true}, {"3.51.3", "3.51.3", false}, {"3.9.9", "3.51.3", true}, {"3.100.0", "3.51.3", false}, {"4.0.0", "3.51.3", false}, {"3.53.4", "3.51.3", false}} {
		if older(c.a, c.b) != c.older {
			t.Errorf("%s is older than %s: %v", c.a, c.b, !c.older)
		}
	}
	if err := checkSQLite(t.Context(), open(t, filepath.Join(t.TempDir(), "s.db"))); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfSQLiteSayWhatToDo(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	d := open(t, path)
	if _, err := d.Read().Exec(t.Context(), "create table big (x blob)"); err != nil {
		t.Fatal(err)
	}
	fill := func(d *DB) error {
		_, err := d.Read().Exec(t.Context(), "insert into big values (zeroblob(1000000))")
		return Fault("fill", err)
	}
	full := open(t, path)
	full.SQL.SetMaxOpenConns(1)
	if _, err := full.Read().Exec(t.Context(), "pragma max_page_count = 20"); err != nil {
		t.Fatal(err)
	}
	failed(t, fill(full), fault.Unavailable, "full")
	readonly := open(t, path)
	readonly.SQL.SetMaxOpenConns(1)
	if _, err := readonly.Read().Exec(t.Context(), "pragma query_only = on"); err != nil {
		t.Fatal(err)
	}
	failed(t, fill(readonly), fault.Config, "readonly")
	tx, err := d.SQL.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	impatient := open(t, path)
	impatient.SQL.SetMaxOpenConns(1)
	if _, err := impatient.Read().Exec(t.Context(), "pragma busy_timeout = 1"); err != nil {
		t.Fatal(err)
	}
	failed(t, fill(impatient), fault.Busy, "locked")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = OpenSQLite(t.Context(), garbage)
	failed(t, err, fault.Internal, "not a database")
	if !strings.Contains(fault.HintOf(err), "damaged") {
		t.Errorf("the hint is %q", fault.HintOf(err))
	}
}

func TestEveryErrorOfTheStoreIsAFault(t *testing.T) {
	t.Parallel()
	code := func(c string) error { return fmt.Errorf("exec: %w", &pgconn.PgError{Code: c, Message: "m"}) }
	own := fault.Newf(fault.Stale, "x", "y")
	for _, c := range []struct {
		name string
		err  error
		kind fault.Kind
		hint string
	}{
		{"a full disk", code("53100"), fault.Unavailable, "full"},
		{"a standby", code("25006"), fault.Unavailable, "primary"},
		{"no right", code("42501"), fault.Denied, ""},
		{"a wrong password", code("28P01"), fault.Denied, "login"},
		{"no such database", code("3D000"), fault.Config, "CREATE DATABASE"},
		{"a shutdown", code("57P01"), fault.Unavailable, "went away"},
		{"a statement that took too long", code("57014"), fault.Unavailable, "went away"},
		{"a lost connection", code("08006"), fault.Unavailable, "went away"},
		{"no connection left", code("53300"), fault.Unavailable, "max_connections"},
		{"a conflict", code("40001"), fault.Busy, "try again"},
		{"a deadlock", code("40P01"), fault.Busy, "try again"},
		{"a lock", code("55P03"), fault.Busy, "try again"},
		{"anything else", code("42601"), fault.Internal, ""},
		{"a connection that was cut", io.ErrUnexpectedEOF, fault.Unavailable, "does not answer"},
		{"a connection that was closed", fmt.Errorf("%w", net.ErrClosed), fault.Unavailable, "does not answer"},
		{"a connection in use no more", errors.New("conn closed"), fault.Unavailable, "does not answer"},
		{"nobody there", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, fault.Unavailable, "does not answer"},
		{"a deadline", context.DeadlineExceeded, fault.Unavailable, "does not answer"},
		{"a person's wish", context.Canceled, fault.Interrupted, ""},
		{"the engine's own words", errors.New("commit: disk I/O error (778)"), fault.Unavailable, "make room"},
		{"a fault", own, fault.Stale, ""},
		{"a bug", errors.New("x"), fault.Internal, ""},
	} {
		err := Fault("do it", c.err)
		if fault.KindOf(err) != c.kind || !strings.Contains(fault.HintOf(err), c.hint) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v is %s, with the hint %q", c.name, err, fault.KindOf(err), fault.HintOf(err))
		}
	}
	if Fault("do it", nil) != nil {
		t.Error("no error is one")
	}
}
