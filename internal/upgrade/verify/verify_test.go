package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/upgrade/stream"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// base is a database.
type base struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	conn   *pgx.Conn
}

func newBase(t testing.TB, major int) *base {
	t.Helper()
	b := &base{t: t, server: pgtest.Start(t, major)}
	b.db = b.server.Database(t)
	b.conn = b.server.Superuser(t, b.db)
	t.Cleanup(func() { // a subscription keeps its database
		b.server.Exec(t, b.db, `DO $$ DECLARE n name; BEGIN FOR n IN SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid AND datname = current_database() LOOP
 EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', n); EXECUTE format('DROP SUBSCRIPTION %I', n); END LOOP; END $$`)
	})
	return b
}

func (b *base) exec(sql string) {
	b.t.Helper()
	if _, err := b.conn.PgConn().Exec(b.t.Context(), sql).ReadAll(); err != nil {
		b.t.Fatalf("%.60s: %v", sql, err)
	}
}

func (b *base) connect(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c := b.conn.Config().Copy()
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

func zoo(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("../stream/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func compare(t testing.TB, j Job) *Report {
	t.Helper()
	r, err := Compare(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestACopyEqualsItsSourceUntilSomethingIsDone(t *testing.T) {
	for _, majors := range [][2]int{{14, 17}, {16, 18}} {
		t.Run(fmt.Sprintf("%d to %d", majors[0], majors[1]), func(t *testing.T) {
			from, to := newBase(t, majors[0]), newBase(t, majors[1])
			for _, s := range []*base{from, to} {
				s.exec(zoo(t, "roles.sql"))
			}
			from.exec(zoo(t, "zoo.sql"))
			from.exec("create table app.t_broken (a int); insert into app.t_broken values (1), (1)")
			if _, err := from.conn.Exec(t.Context(), "create unique index concurrently t_broken_i on app.t_broken (a)"); err == nil {
				t.Fatal("duplicates were indexed")
			}
			if _, err := stream.Copy(t.Context(), stream.Job{Source: from.connect, Target: to.connect}); err != nil {
				t.Fatal(err)
			}
			done := 0
			j := Job{Source: from.connect, Target: to.connect, Progress: func(p Progress) { done = p.Done }}
			r := compare(t, j)
			if !r.Equal || r.Err() != nil || done != len(r.Tables) || len(r.Tables) < 30 || r.LargeObjects.TargetRows != 103 {
				b, _ := json.MarshalIndent(r, "", " ")
				t.Fatalf("%v\n%s", r.Err(), b)
			}
			if text := strings.Join(r.Expected, "; "); !strings.Contains(text, "index app.t_broken_i is not valid on the source") {
				t.Errorf("expected: %s", text)
			}
			for _, other := range []Job{{Strong: true}, {CountOnly: true}, {Sample: 3}} {
				other.Source, other.Target = j.Source, j.Target
				if r := compare(t, other); !r.Equal {
					t.Errorf("%+v: %v", other, r.Err())
				}
			}
			for _, c := range []struct{ name, sql, undo, says string }{
				{"a row is missing", "insert into app.t_nopk values (1, 'x')", "truncate app.t_nopk", "app.t_nopk: 0 rows on the source, 1 on the target"},
				{"a value differs", "update app.t_binary set x = x + 1e-9 where id = 17", "update app.t_binary set x = 17 / 3.0 where id = 17", "app.t_binary: its 3000 rows are not the same"},
				{"null is not empty", "update app.\"Größe \"\"x\"\"\" set \"naïve\" = 'null' where \"Mixed Case\" = 3", "update app.\"Größe \"\"x\"\"\" set \"naïve\" = null where \"Mixed Case\" = 3", "its 5 rows are not the same"},
				{"a sequence stands elsewhere", "select setval('app.s_set', 42, true)", "select setval('app.s_set', 42, false)", "sequence app.s_set"},
				{"a large object differs", "select lo_put(min(oid), 0, '\\x00') from pg_largeobject_metadata", "select lo_put(min(oid), 0, '\\xde') from pg_largeobject_metadata", "large objects: its 103 rows"},
				{"a view shows something else", "create or replace view app.v_one as select id, 'sad'::app.mood as e from app.t_plain", "create or replace view app.v_one as select id, e from app.t_plain", "app.v_one"},
				{"an index is missing", "drop index app.t_coll_s_idx", "create index t_coll_s_idx on app.t_coll (s)", "t_coll_s_idx"},
				{"somebody else owns it", "alter table app.t_nopk owner to alice", "alter table app.t_nopk owner to app_owner", "owner of table app.t_nopk"},
				{"a privilege is missing", "revoke usage on schema app from readonly", "grant usage on schema app to readonly", "schema app"},
				{"an extension is missing", "drop extension btree_gist cascade", "", "extension btree_gist"},
			} {
				to.exec(c.sql)
				r := compare(t, j)
				var all []string
				for _, x := range r.Tables {
					if !x.Equal {
						all = append(all, x.Name+": "+x.Why)
					}
				}
				text := strings.Join(all, "; ") + fmt.Sprint(r.LargeObjects.Name+": "+r.LargeObjects.Why, "; sequence ", r.Sequences, "; owner of ", r.Owners, "; extension ", r.Extensions, r.Schema)
				text = strings.NewReplacer("sequence [{", "sequence ", "owner of [{", "owner of ", "extension [{", "extension ").Replace(text)
				if r.Equal || fault.KindOf(r.Err()) != fault.Findings || !strings.Contains(text, c.says) {
					t.Errorf("%s: equal %t: %s", c.name, r.Equal, text)
				}
				if c.undo != "" {
					to.exec(c.undo)
				}
			}
			if err := stream.Finish(t.Context(), to.connect); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestTheSourceIsComparedAsItWasCopied(t *testing.T) {
	from, to := newBase(t, 16), newBase(t, 18)
	from.exec("create table t (i int); insert into t values (1)")
	to.exec("create table t (i int); insert into t values (1)")
	keep := from.server.Superuser(t, from.db)
	var name string
	if _, err := keep.Exec(t.Context(), "begin isolation level repeatable read"); err != nil {
		t.Fatal(err)
	}
	if err := keep.QueryRow(t.Context(), "select pg_export_snapshot()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	from.exec("insert into t values (2)")
	j := Job{Source: from.connect, Target: to.connect}
	if r := compare(t, j); r.Equal {
		t.Error("the present is equal")
	}
	j.SourceSnapshot = name
	if r := compare(t, j); !r.Equal || !strings.Contains(r.Compared[0], "that was copied") {
		t.Errorf("%v", r.Err())
	}
	j.SourceSnapshot = "00000000-00000000-1"
	if _, err := Compare(t.Context(), j); err == nil || fault.HintOf(err) == "" {
		t.Errorf("a snapshot that is gone: %v", err)
	}
}

// What the formulas give must be the same everywhere, or every upgrade would look broken.
func TestSumsAreTheSameOnEveryMajor(t *testing.T) {
	const rows = `(values (1, 1.10::numeric, 'ü'::text, null::text, '2024-02-29 12:00+02'::timestamptz, 0.1::float8, '{"b":1,"a":[1,2]}'::jsonb, '[1,5)'::int4range, array['x', null], '\x00ff'::bytea, '1 mon 2 days'::interval, row(1, 'a b'), 'pg_class'::regclass, '12.5'::money, 'a & b'::tsquery, '10.0.0.0/8'::cidr)) t(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)`
	want := ""
	for _, major := range pgtest.Majors {
		b := newBase(t, major)
		s, err := openSide(t.Context(), "source", b.connect, "")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, c := range []*comparison{{from: s, to: s}, {from: s, to: s, Job: Job{Strong: true}}} {
			var sum string
			if err := s.keep.QueryRow(t.Context(), "select sum("+c.sum(row("t.*"))+")::text from "+rows).Scan(&sum); err != nil {
				t.Fatal(err)
			}
			got += sum + " "
		}
		s.close(t.Context())
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("PostgreSQL %d: %s, others: %s", major, got, want)
		}
	}
}
