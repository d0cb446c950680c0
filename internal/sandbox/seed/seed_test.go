package seed

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/config"
	"dbops/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec(data string) Database {
	d := Database{
		Name: data, Owner: data + "_owner", Master: "master", IAMGroup: "rds_iam",
		Roles: DBOps(secret.New("read-password"), secret.New("write-password"), secret.New("admin-password")),
	}
	d.Roles = append(d.Roles, Role{Name: "sre@example.com", IAM: true})
	if data == "shop" {
		d.Containers = []Container{
			{Name: "shop-api", Access: config.Write, Password: secret.New("api-password")},
			{Name: "reports", Password: secret.New("reports-password")},
		}
	}
	return d
}

// One server of each major holds all databases; the rows must be the same on all of them.
func TestSeed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	rows := map[string]map[string]string{} // by database: table and the hash of its rows
	for _, major := range majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			s := start(t, major)
			for _, name := range Names() {
				began := time.Now()
				if err := Apply(t.Context(), s.DB, spec(name)); err != nil {
					t.Fatal(err)
				}
				t.Logf("%s took %s", name, time.Since(began).Round(time.Millisecond))
				got := hashes(t, s.super(t, name))
				mu.Lock()
				if other, ok := rows[name]; ok && !maps.Equal(got, other) {
					t.Errorf("%s: the rows are not those of the other major:\n%v\n%v", name, got, other)
				}
				rows[name] = got
				mu.Unlock()
				t.Run(name+" belongs to its owner", func(t *testing.T) { owned(t, s, name) })
				t.Run(name+" keeps its own rules", func(t *testing.T) { consistent(t, s.super(t, name)) })
				t.Run(name+" can be made again", func(t *testing.T) { again(t, s, name, got) })
				t.Run(name+" gives its rights by access", func(t *testing.T) { accesses(t, s, name) })
			}
			t.Run("containers have slots that act as their group", func(t *testing.T) { containers(t, s) })
			t.Run("a rotated password is left alone", func(t *testing.T) { rotated(t, s) })
			t.Run("a token login has no password", func(t *testing.T) { tokens(t, s) })
			for _, name := range Names() {
				t.Run(name+" migrates up and down", func(t *testing.T) { migrates(t, s, name) })
			}
			t.Run("the server never sees a password", func(t *testing.T) { unseen(t, s) })
			t.Run("an interrupted one is finished by the next", func(t *testing.T) { interrupted(t, s) })
		})
	}
}

// hashes returns the hash of each table's rows, whatever their order, and asserts that there are some.
func hashes(t *testing.T, conn *pgx.Conn) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, table := range tables(t, conn, "r", "m") {
		var n int
		var hash string
		err := conn.QueryRow(t.Context(), `SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric)::text, '') FROM `+table+` t`).Scan(&n, &hash)
		if err != nil {
			t.Fatal(table, err)
		}
		if n == 0 && table != "events.inbox" && table != "audit.order_changes_rest" {
			t.Errorf("%s is empty", table)
		}
		out[table] = strconv.Itoa(n) + " " + hash
	}
	return out
}

func tables(t *testing.T, conn *pgx.Conn, kinds ...string) []string {
	t.Helper()
	return column(t, conn, `SELECT format('%I.%I', nspname, relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind::text = ANY ($1) AND nspname !~ '^(pg_|information_schema)' ORDER BY 1`, kinds)
}

func column(t *testing.T, conn *pgx.Conn, sql string, args ...any) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func owned(t *testing.T, s server, data string) {
	t.Helper()
	got := column(t, s.super(t, data), `
		SELECT format('%s %s of %s', kind, name, owner::regrole) FROM (
			SELECT 'table' AS kind, oid::regclass::text AS name, relowner AS owner, relnamespace AS ns, oid FROM pg_class WHERE relkind <> 't' AND relkind <> 'i'
			UNION ALL SELECT 'function', oid::regprocedure::text, proowner, pronamespace, oid FROM pg_proc
			UNION ALL SELECT 'type', oid::regtype::text, typowner, typnamespace, oid FROM pg_type
			UNION ALL SELECT 'schema', nspname, nspowner, oid, oid FROM pg_namespace
		) o
		WHERE owner::regrole::text <> $1 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')
		AND ns::regnamespace::text !~ '^(pg_|information_schema|public$)'
		UNION ALL SELECT 'database of ' || datdba::regrole FROM pg_database WHERE datname = current_database() AND datdba::regrole::text <> $1`, data+"_owner")
	if len(got) > 0 {
		t.Error(strings.Join(got, "\n"))
	}
	var may bool
	conn := s.login(t, "dbops_read", "read-password", data)
	if err := conn.QueryRow(t.Context(), `SELECT has_schema_privilege('public', 'CREATE')`).Scan(&may); err != nil || may {
		t.Errorf("anybody may create in public: %t, %v", may, err)
	}
}

// consistent checks what the quick way of filling does not: foreign keys, and constraints of triggers.
func consistent(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	keys := column(t, conn, `SELECT format('ALTER TABLE %s DROP CONSTRAINT %I, ADD %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
		FROM pg_constraint WHERE contype = 'f' AND conparentid = 0`)
	if len(keys) == 0 {
		t.Error("there are no foreign keys")
	}
	for _, sql := range keys {
		if _, err := tx.Exec(t.Context(), sql); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
	var n int
	if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_class WHERE relname = 'entries'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	if n == 1 {
		err := tx.QueryRow(t.Context(), `SELECT count(*) FROM (SELECT FROM ledger.entries GROUP BY transaction HAVING sum(cents) <> 0) q`).Scan(&n)
		if err != nil || n != 0 {
			t.Errorf("%d transactions do not balance, %v", n, err)
		}
	}
}

func again(t *testing.T, s server, data string, before map[string]string) {
	t.Helper()
	if err := Apply(t.Context(), s.DB, spec(data)); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, hashes(t, s.super(t, data))) {
		t.Error("the rows changed")
	}
}

// interrupted cuts Apply short at every connection, and in the middle of the rows.
func interrupted(t *testing.T, s server) {
	t.Helper()
	d := spec("events")
	d.Name, d.Data = "cut short", "events"
	lost := errors.New("no connection")
	for calls := range 4 {
		left := calls
		err := Apply(t.Context(), func(ctx context.Context, database string) (*pgx.Conn, error) {
			if left--; left < 0 {
				return nil, lost
			}
			return s.DB(ctx, database)
		}, d)
		if !errors.Is(err, lost) {
			t.Fatalf("cut at %d: %v", calls, err)
		}
		if calls < 2 {
			continue
		}
		// Made and empty, or whole.
		if n := len(tables(t, s.super(t, d.Name), "r")); (calls == 2) != (n == 0) {
			t.Errorf("cut at %d leaves %d tables", calls, n)
		}
	}

	d.Name = "killed"
	watcher, ended := s.super(t, "postgres"), make(chan error, 1)
	go func() { ended <- Apply(t.Context(), s.DB, d) }()
	deadline := time.Now().Add(30 * time.Second)
	for killed := false; !killed; {
		if time.Now().After(deadline) {
			t.Fatal("the rows were never seen being put in")
		}
		err := watcher.QueryRow(t.Context(), `SELECT coalesce(bool_or(pg_terminate_backend(pid)), false) FROM pg_stat_activity
			WHERE datname = 'killed' AND state = 'active' AND query LIKE '-- Believable%'`).Scan(&killed)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-ended; code(err) != "57P01" {
		t.Fatalf("killed in the middle: %v", err)
	}
	if n := len(tables(t, s.super(t, d.Name), "r")); n != 0 {
		t.Errorf("killed in the middle leaves %d tables", n)
	}
	if err := Apply(t.Context(), s.DB, d); err != nil {
		t.Fatal(err)
	}
	whole := hashes(t, s.super(t, d.Name))
	if !strings.HasPrefix(whole["events.events_2026_10"], "15756 ") {
		t.Error(whole)
	}
}

func TestApplyRefusesDataThatDoesNotExist(t *testing.T) {
	t.Parallel()
	err := Apply(t.Context(), nil, Database{Name: "shop2"})
	if err == nil || err.Error() != `seed shop2: there is no data named "shop2"` {
		t.Error(err)
	}
	if _, err := fs.ReadDir(Migrations("../data"), "."); err == nil {
		if entries, _ := fs.ReadDir(Migrations("../data"), "."); len(entries) > 0 {
			t.Errorf("%d files of an unknown name", len(entries))
		}
	}
	if Applied("shop2") != 0 {
		t.Error("an unknown name is at a version")
	}
}
