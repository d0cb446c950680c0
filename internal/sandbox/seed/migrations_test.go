package seed

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// catalogue is what a migration can change.
func catalogue(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	return column(t, conn, `
		SELECT format('%s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
		FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum JOIN pg_class c ON c.oid = attrelid
		WHERE attnum > 0 AND NOT attisdropped AND relnamespace::regnamespace::text !~ '^(pg_|information_schema|public)'
		UNION ALL SELECT pg_get_constraintdef(oid) || ' ' || conname || ' ' || convalidated FROM pg_constraint WHERE connamespace::regnamespace::text !~ '^(pg_|information_schema|public)'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname !~ '^(pg_|information_schema|public)'
		UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^(pg_|information_schema|public)'
		UNION ALL SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'
		UNION ALL SELECT extname FROM pg_extension
		UNION ALL SELECT typname || enumlabel FROM pg_enum JOIN pg_type t ON t.oid = enumtypid
		ORDER BY 1`)
}

// migrates takes the seeded database up to the newest version, down to nothing, and then up again, each file up, down and up, as
// the admin role would.
func migrates(t *testing.T, s server, data string) {
	t.Helper()
	conn := s.login(t, "dbops_admin", "admin-password", data)
	if _, err := conn.Exec(t.Context(), "SET ROLE "+data+"_owner"); err != nil {
		t.Fatal(err)
	}
	version := column(t, conn, "SELECT version || ' ' || dirty FROM public.schema_migrations")
	if !slices.Equal(version, []string{fmt.Sprintf("%d false", Applied(data))}) {
		t.Fatalf("at version %v", version)
	}
	up, down := numbered(t, data)
	seeded := catalogue(t, conn)
	execute := func(file string) {
		t.Helper()
		sql, err := fs.ReadFile(Migrations(data), file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.PgConn().Exec(t.Context(), string(sql)).ReadAll(); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	n := int(Applied(data))
	if len(up) <= n {
		t.Fatal("nothing is pending")
	}
	for _, file := range up[n:] { // with the rows in place
		execute(file)
	}
	for i := range up {
		if i == len(up)-n && !slices.Equal(seeded, catalogue(t, conn)) {
			t.Errorf("what is pending leaves\n%s", difference(seeded, catalogue(t, conn)))
		}
		execute(down[len(up)-1-i])
	}
	if got := catalogue(t, conn); !slices.Equal(got, []string{"information_schema", "plpgsql", "public"}) {
		t.Errorf("all the way down leaves %q", got)
	}
	for i := range up {
		before := catalogue(t, conn)
		if i == n && !slices.Equal(before, seeded) {
			t.Errorf("the seeded database is not what its migrations make:\n%s", difference(seeded, before))
		}
		execute(up[i])
		if slices.Equal(before, catalogue(t, conn)) {
			t.Errorf("%s changes nothing", up[i])
		}
		execute(down[i])
		if after := catalogue(t, conn); !slices.Equal(before, after) {
			t.Errorf("%s leaves\n%s", down[i], difference(before, after))
		}
		execute(up[i])
	}
}

func difference(a, b []string) string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, "- "+s)
		}
	}
	for _, s := range b {
		if !slices.Contains(a, s) {
			out = append(out, "+ "+s)
		}
	}
	return strings.Join(out, "\n")
}

// numbered lists the files of a database, each going up with the one that goes down.
func numbered(t *testing.T, data string) (up, down []string) {
	t.Helper()
	shape := regexp.MustCompile(`^\d{6}_[a-z0-9_]+\.(up|down)\.sql$`)
	entries, err := fs.ReadDir(Migrations(data), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !shape.MatchString(e.Name()) {
			t.Errorf("%s: odd name", e.Name())
		}
		if name, ok := strings.CutSuffix(e.Name(), ".up.sql"); ok {
			up, down = append(up, e.Name()), append(down, name+".down.sql")
		}
	}
	for i, f := range up {
		if !strings.HasPrefix(f, fmt.Sprintf("%06d_", i+1)) {
			t.Errorf("%s is not number %d", f, i+1)
		}
	}
	if len(entries) != 2*len(up) {
		t.Errorf("%d files for %d migrations", len(entries), len(up))
	}
	return up, down
}
