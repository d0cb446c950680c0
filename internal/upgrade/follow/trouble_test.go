package follow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// The environment of a process of this test binary that begins a replication and kills itself.
const dieIn = "DBOPS_TEST_DIE_IN"

func reach(url, password string) Connect {
	return func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		c, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		c.Password = secret.New(password).Reveal()
		tune(c)
		return pgx.ConnectConfig(ctx, c)
	}
}

// beginAndDie is what such a process does: it dies while it keeps the snapshot.
func beginAndDie(spec string) {
	f := strings.Split(spec, "|") // twice: URL, password and database
	j := Job{Name: "killed", Source: reach(f[0], f[1]), Target: reach(f[3], f[4]), FullIdentity: true, From: Address{Database: f[2]}}
	if _, err := Begin(context.Background(), j); err != nil {
		println(err.Error())
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
}

const tSQL = "create table t (i int primary key, v int); insert into t select i, 0 from generate_series(1, 100) i; create table bare (i int); insert into bare values (1)"

// customer makes a login as good as a cloud gives it: no superuser, but it replicates and owns its database.
func customer(t testing.TB, b *base) {
	t.Helper()
	sql := "do $$ begin create role replicator login createrole replication password 'x-1'; exception when duplicate_object then null; end $$; alter database " + b.db + " owner to replicator;"
	if b.server.Major >= 16 {
		sql += "grant pg_create_subscription to replicator; grant create on database " + b.db + " to replicator"
	}
	b.exec(sql)
	t.Cleanup(func() { b.exec("alter database " + b.db + " owner to postgres") })
}

func (b *base) customer(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	c.Config = *b.server.ConfigFor(b.t, "replicator", secret.New("x-1"), b.db)
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

func TestACustomerWithoutSuperuser(t *testing.T) {
	t.Parallel()
	from, to := newBase(t, 16), newBase(t, 18)
	customer(t, from)
	customer(t, to)
	j := newJob(from, to)
	j.Source, j.Target, j.FullIdentity = from.customer, to.customer, true
	conn, err := j.Source(t.Context(), func(*pgx.ConnConfig) {})
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	must(t, script(t.Context(), conn, "create schema app; create table app.t (i int primary key, v text); insert into app.t values (1, 'a'); create table app.bare (i int); insert into app.bare values (1)"))
	problems, err := Check(t.Context(), j)
	if err != nil || len(problems) != 1 || problems[0].Check != "replica-identity" {
		t.Errorf("%+v, %v", problems, err)
	}
	s, err := Begin(t.Context(), j)
	must(t, err)
	copied(t, j, s)
	must(t, Attach(t.Context(), j))
	must(t, script(t.Context(), conn, "insert into app.t values (2, 'b'); update app.bare set i = 2"))
	_, err = Drain(t.Context(), j)
	must(t, err)
	same(t, "a customer's", from, to)
	to.exec("insert into app.t values (3, 'in the way')")
	must(t, script(t.Context(), conn, "insert into app.t values (3, 'c')"))
	if _, err = Drain(t.Context(), j); fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "failed 4 times in the same place") {
		t.Errorf("who may not see why: %v", err)
	}
	to.exec("delete from app.t where i = 3")
	_, err = Drain(t.Context(), j)
	must(t, err)
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)
	must(t, Reverse(t.Context(), j))
	to.exec("delete from app.t where i = 1; update app.bare set i = 3")
	_, err = ReverseDrain(t.Context(), j)
	must(t, err)
	same(t, "a customer's, back", to, from)
	must(t, ReverseEnd(t.Context(), j))
	clean(t, j, from, to)
}

func TestWhatWasKilledIsBegunAgainOrEnded(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 15, 18, tSQL)
	j := newJob(from, to)
	j.Name, j.FullIdentity = "killed", true
	for _, b := range []*base{from, to} {
		b.exec("create role killed login superuser password 'x-1'")
		t.Cleanup(func() { b.exec("drop role killed") })
	}
	killed := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
		url := func(b *base) string { return strings.Replace(b.server.URL(b.db), "postgres@", "killed@", 1) }
		cmd.Env = append(os.Environ(), dieIn+"="+strings.Join([]string{url(from), "x-1", from.db, url(to), "x-1", to.db}, "|"))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%v: %s", err, out)
		}
	}
	killed()
	killed()
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)

	killed()
	kept, err := Begin(t.Context(), j) // of a process that was cut off
	must(t, err)
	defer kept.Close()
	s, err := Begin(t.Context(), j)
	must(t, err)
	if s.Name != kept.Name || s.Snapshot == kept.Snapshot {
		t.Errorf("%+v and %+v", s, kept)
	}
	s.Close()
	from.exec("insert into t values (101, 1); update bare set i = 7")
	// Between the login and the subscription.
	conn, err := j.forward().from.open(t.Context())
	must(t, err)
	defer shut(t.Context(), conn)
	if _, err := j.forward().makeLogin(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		must(t, Attach(t.Context(), j))
	}
	if _, err := j.forward().makeLogin(t.Context(), conn); err != nil { // and a password that the subscription does not know
		t.Fatal(err)
	}
	must(t, Attach(t.Context(), j))
	_, err = Drain(t.Context(), j)
	must(t, err)
	same(t, "after all that", from, to)
	if _, err := Begin(t.Context(), j); fault.KindOf(err) != fault.Blocked || fault.HintOf(err) == "" {
		t.Errorf("begun again while it follows: %v", err)
	}
	if err := Reverse(t.Context(), j); fault.KindOf(err) != fault.Blocked {
		t.Errorf("back while it follows: %v", err)
	}

	// One server is away, then the other, then both are there.
	gone := func(context.Context, func(*pgx.ConnConfig)) (*pgx.Conn, error) { return nil, errors.New("no route") }
	without := j
	without.Source = gone
	for range 2 {
		if err := Detach(t.Context(), without); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("without the source: %v", err)
		}
	}
	clean(t, j, to)
	from.exec("update bare set i = 8; delete from bare") // still has an identity
	if err := Reverse(t.Context(), j); fault.KindOf(err) != fault.Blocked {
		t.Errorf("back while a slot is left: %v", err)
	}
	without = j
	without.Target = gone
	for range 2 {
		if err := Detach(t.Context(), without); fault.KindOf(err) != fault.Unavailable {
			t.Errorf("without the target: %v", err)
		}
	}
	from.exec("insert into bare values (9)")
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)
}

func TestCancelledAnywhereItGoesOn(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 14, 17, tSQL)
	j := newJob(from, to)
	j.FullIdentity = true
	// Each session that is opened is the last one once.
	cut := func(do func(context.Context, Job) error) {
		t.Helper()
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			opened := 0
			last := func(c Connect) Connect {
				return func(cctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
					if opened++; opened >= n {
						cancel()
					}
					return c(cctx, tune)
				}
			}
			k := j
			k.Source, k.Target = last(j.Source), last(j.Target)
			err := do(ctx, k)
			cancel()
			if err == nil {
				return
			}
			if n > 20 {
				t.Fatalf("in the end: %v", err)
			}
			if fault.HintOf(err) == "" {
				t.Errorf("no hint: %v", err)
			}
		}
	}
	var s *Slot
	cut(func(ctx context.Context, k Job) (err error) {
		s, err = Begin(ctx, k)
		return err
	})
	s.Close()
	from.exec("insert into t values (101, 1); update bare set i = 7")
	cut(Attach)
	cut(func(ctx context.Context, k Job) error { _, err := Drain(ctx, k); return err })
	cut(Sequences)
	same(t, "cancelled on the way", from, to)
	cut(Detach)
	clean(t, j, from, to)
	cut(Reverse)
	for _, again := range []error{Attach(t.Context(), j), func() error { _, err := Begin(t.Context(), j); return err }()} {
		if fault.KindOf(again) != fault.Blocked || fault.HintOf(again) == "" {
			t.Errorf("forth while it goes back: %v", again)
		}
	}
	to.exec("update t set v = 9 where i < 5; update bare set i = 8")
	cut(func(ctx context.Context, k Job) error { _, err := ReverseDrain(ctx, k); return err })
	same(t, "cancelled on the way back", to, from)
	cut(ReverseEnd)
	clean(t, j, from, to)
}

func TestWhatTheTargetRefusesIsToldInItsWords(t *testing.T) {
	t.Parallel()
	for _, majors := range [][2]int{{15, 18}, {16, 14}} { // the second is a way back
		t.Run(fmt.Sprintf("%d to %d", majors[0], majors[1]), func(t *testing.T) {
			t.Parallel()
			const sql = `create table "T t" (i int primary key, v text); create table child (i int primary key); insert into child values (1), (2)`
			from, to := pair(t, majors[0], majors[1], sql)
			j := newJob(from, to)
			following(t, j)
			from.exec(`insert into "T t" values (1, 'before'); update "T t" set v = 'é' where i = 1; delete from child where i = 2`)
			if _, err := Drain(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			to.exec(`insert into "T t" values (7, 'in the way')`)
			from.exec(`begin; insert into "T t" values (6, null); truncate child; insert into "T t" values (7, 'it''s \ me'); commit`)
			const words = `insert into "public"."T t": duplicate key value violates unique constraint "T t_pkey": Key (i)=(7) already exists`
			_, err := Drain(t.Context(), j)
			if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), words) || fault.HintOf(err) == "" {
				t.Fatalf("%v", err)
			}
			eventually(t, "a look finds it, too", func() bool {
				l, err := Look(t.Context(), j)
				return err != nil && l.Error == words && l.Bytes > 0
			})
			to.exec(`delete from "T t" where i = 7`)
			_, err = Drain(t.Context(), j)
			must(t, err)
			same(t, "mended", from, to)

			to.exec("drop table child")
			from.exec("insert into child values (3)")
			if _, err := Drain(t.Context(), j); err == nil || !strings.Contains(err.Error(), `relation "public.child" does not exist`) {
				t.Errorf("a table is missing: %v", err)
			}
			must(t, Detach(t.Context(), j))
			clean(t, j, from, to)
		})
	}
}

func TestATableThatIsMadeMeanwhileIsNotLeftOut(t *testing.T) {
	t.Parallel()
	from, to := newBase(t, 16, "create table t (i int primary key)"), newBase(t, 18)
	j := newJob(from, to)
	made, most := 0, 1
	j.Source = func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		return from.connect(ctx, func(c *pgx.ConnConfig) {
			if tune(c); c.RuntimeParams["replication"] != "" && made < most {
				made++
				from.exec(fmt.Sprintf("create table late_%d (i int primary key)", made))
			}
		})
	}
	s, err := Begin(t.Context(), j)
	must(t, err)
	s.Close()
	if n := from.text("select string_agg(tablename, ' ' order by tablename) from pg_publication_tables"); n != "late_1 t" {
		t.Errorf("published: %s", n)
	}
	most = 100
	if _, err := Begin(t.Context(), j); fault.KindOf(err) != fault.Stale || !strings.Contains(err.Error(), `table "public"."late_4" was created`) {
		t.Errorf("a schema that never rests: %v", err)
	}
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)
}

func TestThePasswordIsInNoErrorAndNoLog(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 17, 18, "create table t (i int primary key)")
	to.exec("alter database " + to.db + " set log_statement = 'ddl'; alter database " + to.db + " set log_min_duration_statement = -1")
	j := newJob(from, to)
	s, err := Begin(t.Context(), j)
	must(t, err)
	s.Close()
	lost := j
	lost.From.Port, lost.From.Database = 1, j.From.Database
	if err := Attach(t.Context(), lost); fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "could not connect to the publisher") {
		t.Errorf("nobody is there: %v", err)
	}
	must(t, Attach(t.Context(), j))
	var password string
	for _, kv := range strings.Fields(to.text("select subconninfo from pg_subscription s join pg_database d on d.oid = subdbid and datname = current_database()")) {
		if v, ok := strings.CutPrefix(kv, "password="); ok {
			password = strings.Trim(v, "'")
		}
	}
	must(t, Attach(t.Context(), j))
	_, err = Drain(t.Context(), j)
	must(t, err)
	must(t, Detach(t.Context(), j))
	for _, b := range []*base{from, to} {
		log, err := os.ReadFile(filepath.Join(filepath.Dir(b.text("show data_directory")), "postgres.log"))
		must(t, err)
		if len(password) < 20 || strings.Contains(string(log), password) || strings.Contains(string(log), "password='") || b == to && !strings.Contains(string(log), "current_setting('dbops.conninfo')") {
			t.Errorf("the log of PostgreSQL %d holds the password, or not what was done", b.server.Major)
		}
	}
	clean(t, j, from, to)
}

func TestAnAlteredSchemaIsStale(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 16, 18, "create table app_t (i int primary key); create function f() returns int language sql as 'select 1'")
	j := newJob(from, to)
	following(t, j)
	for _, c := range []struct{ sql, undo, says string }{
		{"alter table app_t add v text", "alter table app_t drop v", "table public.app_t was altered"},
		{"create table more (i int primary key)", "drop table more", "table public.more was created"},
		{"create or replace function f() returns int language sql as 'select 2'", "create or replace function f() returns int language sql as 'select 1'", "function public.f() was altered"},
	} {
		from.exec(c.sql)
		_, err := Look(t.Context(), j)
		_, derr := Drain(t.Context(), j)
		for _, err := range []error{err, derr} {
			if fault.KindOf(err) != fault.Stale || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
				t.Errorf("%s: %v", c.sql, err)
			}
		}
		from.exec(c.undo)
	}
	_, err := Drain(t.Context(), j)
	must(t, err)
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)
	if _, err := Drain(t.Context(), j); fault.KindOf(err) != fault.NotFound {
		t.Errorf("drained when all is over: %v", err)
	}
}
