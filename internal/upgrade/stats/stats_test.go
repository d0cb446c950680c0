package stats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
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

// base is a database, which belongs to a role that is no superuser.
type base struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	conn   *pgx.Conn // of the owner
}

func newBase(t testing.TB, major int, sql ...string) *base {
	t.Helper()
	b := &base{t: t, server: pgtest.Start(t, major)}
	b.db = b.server.Database(t)
	var err error
	if b.conn, err = b.connect(t.Context(), func(*pgx.ConnConfig) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.conn.Close(context.WithoutCancel(t.Context())) })
	for _, q := range sql {
		b.exec(q)
	}
	return b
}

func (b *base) exec(sql string) {
	b.t.Helper()
	if _, err := b.conn.PgConn().Exec(b.t.Context(), sql).ReadAll(); err != nil {
		b.t.Fatalf("%.80s: %v", sql, err)
	}
}

func (b *base) text(sql string) string {
	b.t.Helper()
	var v string
	if err := b.conn.QueryRow(b.t.Context(), sql).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (b *base) connect(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	cfg.Config = *b.server.Config(b.t, b.db)
	tune(cfg)
	return pgx.ConnectConfig(ctx, cfg)
}

// shop is a schema with what statistics there are, and names of all sorts. Nobody analyses it but the tests.
const shop = `create schema "Läden"; create domain price as numeric check (value > 0);
create table "Läden"."Aufträge" ("Nr" int primary key, "größe" text, at timestamptz, "cost" price, tags text[], during int4range) with (autovacuum_enabled = off);
insert into "Läden"."Aufträge" select i, 'Größe ' || i % 7, '2026-01-01'::timestamptz + i * interval '1 hour', i % 50 + 1, array['t' || i % 3, 'x'], int4range(i, i + i % 9) from generate_series(1, 2000) i;
create table plain (i int, j int, k text) with (autovacuum_enabled = off); insert into plain select i, i % 10, repeat('k', i % 4) from generate_series(1, 5000) i; create index plain_j on plain (j);
create table empty (i int) with (autovacuum_enabled = off);
create table ext (a int, b int) with (autovacuum_enabled = off); insert into ext select i % 20, i % 20 from generate_series(1, 1000) i; create statistics "Ext" on a, b from ext;
create table expr (v text) with (autovacuum_enabled = off); insert into expr select 'V' || i from generate_series(1, 1000) i; create index "Expr_i" on expr (lower(v));
create table part (i int, v text) partition by range (i); create table part_1 partition of part for values from (0) to (500) with (autovacuum_enabled = off); create table part_2 partition of part for values from (500) to (1001) with (autovacuum_enabled = off);
insert into part select i, 'p' || i % 5 from generate_series(1, 1000) i;
create table mother (i int) with (autovacuum_enabled = off); create table child () inherits (mother) with (autovacuum_enabled = off); insert into mother select i from generate_series(1, 100) i; insert into child select i from generate_series(101, 300) i;
create materialized view mv as select j, count(*) as n from plain group by j`

// statistics are a database's, a line each, as all majors have them.
func (b *base) statistics(where string) string {
	b.t.Helper()
	return b.text(`select coalesce(string_agg(concat_ws('|', schemaname, tablename, attname, inherited, null_frac, avg_width, n_distinct, most_common_vals, most_common_freqs, histogram_bounds, correlation, most_common_elems, most_common_elem_freqs, elem_count_histogram), E'\n'
 order by schemaname, tablename, attname, inherited), '') from pg_stats where schemaname in ('public', 'Läden') and ` + where)
}

// lacking are the tables that have rows and no statistics of their columns.
func (b *base) lacking() string {
	b.t.Helper()
	return b.text(`select coalesce(string_agg(c.relname, ' ' order by c.relname), '') from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'm', 'p') and n.nspname in ('public', 'Läden') and c.relname <> 'empty'
 and not exists (select from pg_stats s where s.schemaname = n.nspname and s.tablename = c.relname)`)
}

func TestStatisticsAreCarriedToTheNewest(t *testing.T) {
	for _, major := range []int{15, 16} {
		t.Run(fmt.Sprintf("from %d", major), func(t *testing.T) {
			from, to := newBase(t, major, shop), newBase(t, 18, shop)
			from.exec("analyze; create table later (i int); insert into later values (1)")
			to.exec("create table later (i int); insert into later values (1); drop table empty; create table gone_before (i int)")
			from.exec(`create table "Läden"."it's \gone" (i int); insert into "Läden"."it's \gone" values (1); analyze "Läden"."it's \gone"`)
			j := Job{Source: from.connect, Target: to.connect, Dir: short(t)}
			var tables []string
			j.Progress = func(_, _ int, table string) { tables = append(tables, table) }
			res, err := Carry(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if res.Way != Carried || res.Why != "" || len(res.LeftOut) != 2 || res.LeftOut[0].Table != `"Läden"."it's \gone"` || res.LeftOut[1].Table != `"public"."empty"` || !strings.Contains(res.LeftOut[0].Why, "does not exist") {
				t.Errorf("result: %+v", res)
			}
			slices.Sort(tables)
			if got := strings.Join(tables, " "); got != `"public"."ext" "public"."gone_before" "public"."later"` {
				t.Errorf("analysed %s", got)
			}
			const carried = "tablename not in ('ext', 'later', 'gone_before', E'it\\'s \\\\gone')"
			if a, b := from.statistics(carried), to.statistics(carried); a != b || strings.Count(a, "\n") < 20 || !strings.Contains(a, "Läden|Aufträge|größe") || !strings.Contains(a, "Expr_i") {
				t.Errorf("on the source\n%s\non the target\n%s", a, b)
			}
			if a, b := from.text("select reltuples::text || relpages from pg_class where relname = 'Aufträge'"), to.text("select reltuples::text || relpages from pg_class where relname = 'Aufträge'"); a != b {
				t.Errorf("size %s and %s", a, b)
			}
			if to.text("select count(*)::text from pg_stats_ext where statistics_name = 'Ext' and dependencies is not null") != "1" {
				t.Error("the extended statistics are not there")
			}
			tables = nil
			if res, err = Carry(t.Context(), j); err != nil || res.Analyzed != 0 || len(tables) != 0 {
				t.Errorf("a second time: %+v, %v", res, err)
			}
			if left, err := os.ReadDir(j.Dir); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func TestTablesAreAnalysedWhereNothingCanBeCarried(t *testing.T) {
	for name, c := range map[string]struct {
		major int
		why   string
		tune  func(*Job)
	}{
		"an older target": {17, "from 18 on", func(*Job) {}},
		"no client programs": {18, "none here", func(j *Job) {
			j.Tool = func(context.Context, string, int) (string, error) { return "", errors.New("none here") }
		}},
		"older client programs": {18, "older than the target", func(j *Job) { j.Tool = script(j.Dir, `echo "pg_dump (PostgreSQL) 17.2"`) }},
		"a program that fails": {18, "it will not", func(j *Job) {
			j.Tool = script(j.Dir, `[ "$1" = --version ] && echo "pg_dump (PostgreSQL) 18.1" || { echo "$(basename "$0"): error: it will not" >&2; exit 1; }`)
		}},
		"a program that cannot run": {18, "does not run", func(j *Job) { j.Tool = script(j.Dir, "exit 3") }},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := newBase(t, 14, "select"), newBase(t, c.major, shop)
			to.server.Exec(t, to.db, `create table not_ours (i int) with (autovacuum_enabled = off); insert into not_ours values (1)`)
			last, total := 0, 0
			j := Job{Source: from.connect, Target: to.connect, Dir: short(t), Progress: func(done, of int, _ string) { last, total = done, of }}
			c.tune(&j)
			res, err := Carry(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			if res.Way != Analyzed || !strings.Contains(res.Why, c.why) || res.Analyzed < 10 || last != total || total != res.Tables {
				t.Errorf("result: %+v, %d of %d", res, last, total)
			}
			if got := to.lacking(); got != "not_ours" && got != "" {
				t.Errorf("without statistics: %s", got)
			}
			if !strings.Contains(to.statistics("inherited"), "public|part|i|t") || !strings.Contains(to.statistics("inherited"), "mother") {
				t.Error("parents have none of what they inherit")
			}
		})
	}
}

// short is a folder whose path leaves room for that of a socket.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "stats-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func script(dir, sh string) func(context.Context, string, int) (string, error) {
	return func(_ context.Context, name string, _ int) (string, error) {
		path := dir + "/" + name
		return path, os.WriteFile(path, []byte("#!/bin/sh\n"+sh+"\n"), 0o700)
	}
}

func TestATableThatMayNotBeAnalysedIsTold(t *testing.T) {
	for _, major := range []int{14, 17, 18} {
		b := newBase(t, major, "create table t (i int) with (autovacuum_enabled = off); insert into t values (1); create table broken (i int) with (autovacuum_enabled = off); insert into broken values (0)")
		b.exec("create function f(i int) returns int language sql immutable as 'select 1 / i'; create role " + b.db + "_stranger login password 'stranger-word'")
		b.exec("create index on broken (f(i)) where i > 0; grant create on schema public to " + b.db + "_stranger")
		t.Cleanup(func() {
			b.server.Exec(t, b.db, "drop owned by "+b.db+"_stranger", "drop role "+b.db+"_stranger")
		})
		as := func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			cfg, err := pgx.ParseConfig("")
			if err != nil {
				return nil, err
			}
			cfg.Config = *b.server.ConfigFor(t, b.db+"_stranger", secret.New("stranger-word"), b.db)
			tune(cfg)
			return pgx.ConnectConfig(ctx, cfg)
		}
		own, err := as(t.Context(), func(*pgx.ConnConfig) {})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := own.Exec(t.Context(), "create table mine with (autovacuum_enabled = off) as select i from generate_series(1, 9) i"); err != nil {
			t.Fatal(err)
		}
		_ = own.Close(t.Context())
		res, err := Analyze(t.Context(), Job{Target: as})
		if err != nil || res.Analyzed != 1 || len(res.LeftOut) != 2 || !strings.Contains(res.LeftOut[0].Why, "analyze") {
			t.Errorf("%d: %+v, %v", major, res, err)
		}
		if got := b.lacking(); got != "broken t" {
			t.Errorf("%d: without statistics: %s", major, got)
		}
	}
}

func TestAnAnalysisIsCancelledAndRunAgain(t *testing.T) {
	b := newBase(t, 17, "create table large (i int, v text) with (autovacuum_enabled = off)", "insert into large select i, repeat('v', 900) from generate_series(1, 12000) i",
		`create table "Small" (i int) with (autovacuum_enabled = off); insert into "Small" values (1)`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var did []string
	j := Job{Target: b.connect, Jobs: 1, Progress: func(done, of int, table string) {
		if did = append(did, fmt.Sprint(done, of, table)); done == 2 {
			cancel()
		}
	}}
	if _, err := Analyze(ctx, j); fault.KindOf(err) != fault.Interrupted || fault.HintOf(err) == "" {
		t.Fatal(err)
	}
	bounds := func() string {
		return b.text("select cardinality(histogram_bounds::text::text[])::text from pg_stats where tablename = 'large' and attname = 'i'")
	}
	if got := bounds(); got != "11" || len(did) != 2 || !strings.HasSuffix(did[0], `"large"`) {
		t.Errorf("%s bounds after the quick pass: %v", got, did)
	}
	did, j.Progress = nil, func(done, of int, table string) { did = append(did, fmt.Sprintf("%d/%d %s", done, of, table)) }
	if res, err := Analyze(t.Context(), j); err != nil || res.Analyzed != 2 {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := bounds(); got != "101" || strings.Join(did, " ") != `1/2 "public"."Small" 2/2 "public"."large"` {
		t.Errorf("%s bounds: %v", got, did)
	}
}

func TestACancelledStatementEndsOnTheServer(t *testing.T) {
	b := newBase(t, 18, "create table held (i int) with (autovacuum_enabled = off); insert into held values (1)")
	b.exec("begin; lock table held in share update exclusive mode")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Analyze(ctx, Job{Target: b.connect, Jobs: 1})
		done <- err
	}()
	watch := b.server.Superuser(t, b.db)
	count := func() (n int) {
		if err := watch.QueryRow(t.Context(), "select count(*) from pg_stat_activity where datname = current_database() and query like 'analyze%' and state = 'active'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, "it waits", func() bool { return count() == 1 })
	cancel()
	if err := <-done; fault.KindOf(err) != fault.Interrupted {
		t.Error(err)
	}
	until(t, "it waits no more", func() bool { return count() == 0 })
	b.exec("rollback")
}

func TestALostConnectionIsTakenUpAgain(t *testing.T) {
	b := newBase(t, 17, "create table a (i int) with (autovacuum_enabled = off); insert into a values (1); create table b with (autovacuum_enabled = off) as select * from a; create table c with (autovacuum_enabled = off) as select * from a")
	n := 0
	res, err := Analyze(t.Context(), Job{Target: b.connect, Jobs: 1, Progress: func(int, int, string) {
		if n++; n == 1 {
			b.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = 'dbops statistics'")
		}
	}})
	if err != nil || res.Analyzed != 3 || len(res.LeftOut) != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestAThousandSmallTables(t *testing.T) {
	const make = `do $$ begin for i in 1 .. 1000 loop execute format('create table m%s (i int) with (autovacuum_enabled = off)', i); execute format('insert into m%s values (1), (2)', i); if i %% 250 = 0 then commit; end if; end loop; end $$`
	many := strings.ReplaceAll(make, "%%", "%")
	from, to := newBase(t, 16, many), newBase(t, 18, many)
	from.exec("analyze")
	for name, f := range map[string]func(context.Context, Job) (Result, error){"analysed": Analyze, "carried": Carry} {
		began := time.Now()
		res, err := f(t.Context(), Job{Source: from.connect, Target: to.connect})
		if err != nil || res.Way != strings.Replace(name, "s", "z", 1) || res.Tables != 1000 {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
		t.Logf("%s in %s", name, time.Since(began))
	}
	if got := to.lacking(); got != "" {
		t.Errorf("without statistics: %s", got)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
