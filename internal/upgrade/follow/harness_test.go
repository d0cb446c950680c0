package follow

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/upgrade/stream"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(dieIn); spec != "" {
		beginAndDie(spec)
		os.Exit(1)
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "3") // they wait for servers; each of those runs no more than four subscriptions
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

func newBase(t testing.TB, major int, sql ...string) *base {
	t.Helper()
	b := &base{t: t, server: pgtest.Start(t, major)}
	b.db = b.server.Database(t)
	b.conn = b.server.Superuser(t, b.db)
	t.Cleanup(func() { // what a failed test leaves keeps the database
		b.server.Exec(t, b.db, "SET default_transaction_read_only = off", `DO $$ DECLARE n name; BEGIN FOR n IN SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid AND datname = current_database() LOOP
 EXECUTE format('ALTER SUBSCRIPTION %I DISABLE', n); EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', n); EXECUTE format('DROP SUBSCRIPTION %I', n); END LOOP;
 PERFORM pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE database = current_database() AND active; END $$`,
			"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()")
	})
	b.exec("alter system set wal_retrieve_retry_interval = '250ms'", "select pg_reload_conf()") // how soon a worker that failed tries again
	b.exec(sql...)
	return b
}

func (b *base) exec(sql ...string) {
	b.t.Helper()
	for _, q := range sql {
		if _, err := b.conn.PgConn().Exec(context.WithoutCancel(b.t.Context()), q).ReadAll(); err != nil {
			b.t.Fatalf("%.80s: %v", q, err)
		}
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
	c := b.conn.Config().Copy()
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

// address is where other servers reach it. PostgreSQL 14 finds no address in a certificate.
func (b *base) address() Address {
	return Address{Host: "localhost", Port: int(b.server.Port), Database: b.db, SSLMode: "verify-full", RootCert: b.server.CAFile}
}

func newJob(from, to *base) Job {
	return Job{Name: from.t.Name(), Source: from.connect, Target: to.connect, From: from.address(), Back: to.address()}
}

// copied copies what the slot's snapshot shows.
func copied(t testing.TB, j Job, s *Slot) {
	t.Helper()
	if _, err := stream.Copy(t.Context(), stream.Job{Source: stream.Connect(j.Source), Target: stream.Connect(j.Target), Snapshot: s.Snapshot}); err != nil {
		t.Fatal(err)
	}
	if err := stream.Finish(t.Context(), stream.Connect(j.Target)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
}

// pair are two databases that hold the same.
func pair(t testing.TB, from, to int, sql string) (a, b *base) {
	t.Helper()
	return newBase(t, from, sql), newBase(t, to, sql)
}

// following begins and attaches where nothing has to be copied.
func following(t testing.TB, j Job) {
	t.Helper()
	s, err := Begin(t.Context(), j)
	must(t, err)
	s.Close()
	must(t, Attach(t.Context(), j))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is every row of every table, and every sequence.
func (b *base) content() string {
	b.t.Helper()
	var out strings.Builder
	names, err := column[string](b.t.Context(), b.conn, `select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'S') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by c.relkind::text, n.nspname, c.relname`)
	must(b.t, err)
	for _, name := range names {
		columns := "x::text"
		if b.text("select relkind::text from pg_class where oid = "+literal(name)+"::regclass") == "S" {
			columns = "last_value || ' ' || is_called"
		}
		fmt.Fprintf(&out, "%s\n%s\n", name, b.text("select coalesce(string_agg(v, chr(10) order by v collate \"C\"), '') from (select "+columns+" as v from only "+name+" x) y"))
	}
	return out.String()
}

// traces are what is left of a replication.
func (b *base) traces(j Job) string {
	b.t.Helper()
	return b.text(strings.ReplaceAll(`select coalesce(string_agg(x, ', '), '') from (
 select 'role ' || rolname as x from pg_roles where rolname ~ '$' union all select 'slot ' || slot_name from pg_replication_slots where slot_name ~ '$' or database = current_database()
 union all select 'publication ' || pubname from pg_publication union all select 'subscription ' || subname from pg_subscription s join pg_database d on d.oid = subdbid and datname = current_database()
 union all select 'identity of ' || oid::regclass from pg_class where relreplident = 'f' and relname not like '%full%'
 union all select 'origin ' || roname from pg_replication_origin where not exists (select from pg_subscription where 'pg_' || oid = roname)) y`, "$", j.called("")))
}

func clean(t testing.TB, j Job, all ...*base) {
	t.Helper()
	for _, b := range all {
		if left := b.traces(j); left != "" {
			t.Errorf("left on PostgreSQL %d: %s", b.server.Major, left)
		}
	}
}

func same(t testing.TB, what string, a, b *base) {
	t.Helper()
	x, y := strings.Split(a.content(), "\n"), strings.Split(b.content(), "\n")
	for i := range max(len(x), len(y)) {
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			t.Fatalf("%s: %d and %d lines; line %d differs:\n%s\n---\n%s", what, len(x), len(y), i+1, strings.Join(x[max(0, min(i-2, len(x))):min(len(x), i+3)], "\n"), strings.Join(y[max(0, min(i-2, len(y))):min(len(y), i+3)], "\n"))
		}
	}
}

// eventually waits until something is so.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	until := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(until) {
			t.Fatalf("in vain: %s", what)
		}
		must(t, pause(t.Context(), 50*time.Millisecond))
	}
}

// master logs in as the server's first user, who may neither replicate nor see all.
func (b *base) master(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	c.Config = *b.server.Config(b.t, b.db)
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}
