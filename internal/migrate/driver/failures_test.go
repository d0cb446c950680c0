package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
)

// What follows are the failures of golang-migrate's own driver, each as it ends here.

// until waits for something to be so.
func (s *stage) until(what, sql string) {
	s.t.Helper()
	c := s.conn()
	defer c.Close(s.t.Context())
	for end := time.Now().Add(30 * time.Second); ; {
		var ok bool
		if err := c.QueryRow(s.t.Context(), sql).Scan(&ok); err != nil {
			s.t.Fatal(err)
		}
		if ok {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func impatient(o *Options) { o.Patience, o.LockTimeout = 400*time.Millisecond, 100*time.Millisecond }

func TestAnotherMigrationIsWaitedForAndNamed(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()")
	h, _, err := find(t.Context(), s.conn(), Table{Name: DefaultTable})
	if err != nil {
		t.Fatal(err)
	}
	ids, err := h.lockIDs()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids { // as golang-migrate opened by a URL, and by a connection
		holder := s.conn()
		if _, err := holder.Exec(t.Context(), "select pg_advisory_lock("+id+")"); err != nil {
			t.Fatal(err)
		}
		pid := fmt.Sprint(holder.PgConn().PID())
		err := s.apply(s.jobs(-1), impatient)
		if fault.KindOf(err) != fault.Busy || !strings.Contains(err.Error(), "session "+pid+" of "+pgtestUser) {
			t.Errorf("%v", err)
		}
		if who, err := Holder(t.Context(), s.conn(), Table{}); err != nil || !strings.Contains(who, pid) {
			t.Errorf("holder %q, %v", who, err)
		}
		if st := s.state(); st.Exists || st.Any { // looking waits for nothing, and makes nothing
			t.Errorf("%+v", st)
		}
		if err := holder.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.until("the lock is free", "select count(*) = 0 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
	}
	if err := s.apply(s.jobs(-1)); err != nil { // who gave up holds nothing
		t.Fatal(err)
	}
	s.is(1, false, "1 up ok")
}

func TestASessionThatIsEndedLeavesNoDirt(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_slow.up.sql", "create table b(); select pg_sleep(60)", "3_c.up.sql", "create table c()")
	failed := make(chan error, 1)
	jobs := s.jobs(-1)
	d := s.open()
	go func() { failed <- d.Apply(t.Context(), -1, jobs) }()
	s.until("the second file is run", "select exists (select from pg_stat_activity where query like '%pg_sleep(60)%' and wait_event = 'PgSleep')")
	s.server.Exec(t, s.db, "select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()")
	err := <-failed
	var f *FileError
	if !errors.As(err, &f) || !f.Lost || f.File != "2_slow.up.sql" {
		t.Errorf("%v", err)
	}
	s.is(1, false, "1 up ok")
	s.write("2_slow.up.sql", "create table b()")
	if err := d.Apply(t.Context(), 1, s.jobs(1)); err != nil { // the same driver goes on
		t.Fatal(err)
	}
	s.is(3, false, "1 up ok", "2 up ok", "3 up ok")
}

func TestAStatementThatTakesTooLongIsTakenBack(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a();\nselect pg_sleep(60)")
	d := s.open(func(o *Options) { o.StatementTimeout = 200 * time.Millisecond })
	var f *FileError
	if err := d.Apply(t.Context(), -1, s.jobs(-1)); !errors.As(err, &f) || f.State != "57014" || f.Line != 2 {
		t.Errorf("%v", err)
	}
	s.is(-1, false, "1 up failed")
	s.write("1_a.up.sql", "create table a()")
	if err := d.Apply(t.Context(), -1, s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
}

func TestStoppingIsNoSuccess(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_slow.up.sql", "create table b(); select pg_sleep(60)", "3_c.up.sql", "create table c()")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	jobs := s.jobs(-1)
	d := s.open(func(o *Options) { o.Grace = 50 * time.Millisecond })
	go func() { failed <- d.Apply(ctx, -1, jobs) }()
	s.until("the second file is run", "select exists (select from pg_stat_activity where query like '%pg_sleep(60)%' and wait_event = 'PgSleep')")
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	s.is(1, false, "1 up ok", "2 up cancelled")
	if n := s.one("select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"); n != "0" {
		t.Errorf("%s sessions go on in the server", n)
	}
	s.write("2_slow.up.sql", "create table b()")
	if err := s.apply(s.jobs(1)); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedDownFileIsToldFromAFailedUpFile(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "1_a.down.sql", "drop table a", "2_b.up.sql", "create table b()", "2_b.down.sql", "drop table nope")
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(s.downs(2)); err == nil {
		t.Error("no error")
	}
	s.is(2, false, "1 up ok", "2 up ok", "2 down failed")
}

func TestAFileThatFailsInItsOwnTransactionKeepsNoLock(t *testing.T) {
	for name, sql := range map[string]string{
		"one transaction": "BEGIN;\ncreate table a();\ncreate table a();\nCOMMIT;",
		"two":             "BEGIN;create table z();COMMIT; BEGIN;\ncreate table a();\ncreate table a();\nCOMMIT;",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, 17)
			s.write("1_a.up.sql", sql)
			d := s.open()
			var f *FileError
			if err := d.Apply(t.Context(), -1, s.jobs(-1)); !errors.As(err, &f) || f.State != "42P07" || f.Line != 3 {
				t.Errorf("%v", err)
			}
			if n := s.one("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"); n != "0" {
				t.Errorf("%s locks are kept", n)
			}
			if n := s.one("select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()"); n != "0" {
				t.Errorf("%s sessions are in a transaction", n)
			}
			st := s.state()
			if stepwise := name == "two"; st.Dirty != stepwise {
				t.Errorf("dirty is %v", st.Dirty)
			}
			if e, ok := st.Unfinished(); ok && e.Done != 3 { // what its first transaction did stays, and is known
				t.Errorf("%d statements done", e.Done)
			}
		})
	}
}

func TestThreeProcessesBuildAnIndexConcurrently(t *testing.T) {
	s := newStage(t, 17)
	s.exec("create table big as select g id, g::text t from generate_series(1, 50000) g")
	s.write("1_a.up.sql", "select 1", "2_i.up.sql", "create index concurrently big_t on big(t)")
	var wg sync.WaitGroup
	var won atomic.Int32
	for range 3 {
		cmd := s.child(1000)
		wg.Go(func() {
			out, err := cmd.CombinedOutput()
			if err == nil {
				won.Add(1)
			} else if !strings.Contains(string(out), "somebody else migrated it") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d processes applied the files", won.Load())
	}
	if got := s.one("select count(*) from pg_index where indrelid = 'big'::regclass and indisvalid"); got != "1" {
		t.Errorf("%s valid indexes", got)
	}
	if st := s.state(); st.Version != 2 || st.Dirty {
		t.Errorf("version %d, dirty %v", st.Version, st.Dirty)
	}
}

func TestADumpDoesNotHoldUpMigrations(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_b.up.sql", "create table b()")
	if err := s.apply(s.jobs(-1)[:1]); err != nil {
		t.Fatal(err)
	}
	dump := s.conn()
	if _, err := dump.Exec(t.Context(), "begin isolation level repeatable read; lock table schema_migrations, dbops.migration_history in access share mode", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(s.jobs(1), impatient); err != nil {
		t.Fatal(err)
	}
	s.is(2, false, "1 up ok", "2 up ok")
}

func TestErrorsShowNoMoreThanALine(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a(x text);\ninsert into a values ('hunter2');\nselect nope;")
	err := s.apply(s.jobs(-1))
	var f *FileError
	if !errors.As(err, &f) || strings.Contains(f.Error()+f.Excerpt, "hunter2") {
		t.Errorf("%v\n%s", err, f.Excerpt)
	}
	if s.one("select count(*) from dbops.migration_history h where h::text like '%hunter2%'") != "0" {
		t.Error("the history holds the text of the file")
	}
}

func TestAFailureLeavesNoGoroutines(t *testing.T) {
	s := newStage(t, 17)
	s.write("01_a.up.sql", "select nope")
	for i := 2; i < 60; i++ {
		s.write(fmt.Sprintf("%02d_a.up.sql", i), "select 1")
	}
	d := s.open()
	jobs := s.jobs(-1)
	before := runtime.NumGoroutine()
	for range 3 {
		if err := d.Apply(t.Context(), -1, jobs); err == nil {
			t.Fatal("no error")
		}
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
}

func TestAnEnumValueIsUsedInItsFileIfThatIsNotOneTransaction(t *testing.T) {
	s := newStage(t, 17)
	s.exec("create type e as enum ('a'); create table t(x e)")
	s.write("1_a.up.sql", "alter type e add value 'b'; insert into t values ('b')")
	var f *FileError
	if err := s.apply(s.jobs(-1)); !errors.As(err, &f) || f.State != "55P04" {
		t.Errorf("%v", err)
	}
	s.write("1_a.up.sql", "-- dbops:no-transaction\nalter type e add value 'b'; insert into t values ('b')")
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	if s.one("select count(*) from t where x = 'b'") != "1" {
		t.Error("the row is not there")
	}
}

func TestVersionsInSchemasAndTablesOfTheirOwn(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table here(a int)")
	for _, table := range []Table{{Schema: "billing"}, {Name: "ops.mig"}, {Schema: "Über", Name: `a"b`}} {
		if err := s.apply(s.jobs(-1), func(o *Options) { o.Table = table }); err != nil {
			t.Fatalf("%+v: %v", table, err)
		}
		if table.Name == "ops.mig" {
			s.exec("drop table here")
		}
		st, err := ReadState(t.Context(), s.conn(), table)
		if err != nil || st.Version != 1 || len(st.Entries) != 1 {
			t.Errorf("%+v: %+v, %v", table, st, err)
		}
	}
	if got := s.one("select string_agg(table_schema, ' ' order by table_schema) from information_schema.tables where table_name = 'here'"); got != "billing Über" {
		t.Errorf("tables in %s", got)
	}
	s.exec(`alter database "` + s.db + `" set search_path = nowhere`)
	if err := s.apply(s.jobs(-1)); fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), "no schema of the search path exists") {
		t.Errorf("%v", err)
	}
}

func TestATableOfAnotherToolIsToldApart(t *testing.T) {
	s := newStage(t, 17)
	s.exec("create table schema_migrations(version text primary key)") // Rails
	_, err := ReadState(t.Context(), s.conn(), Table{})
	if fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), "not golang-migrate's table") {
		t.Errorf("%v", err)
	}
}

func TestWhoMayOnlyReadSeesTheState(t *testing.T) {
	s := newStage(t, 17)
	role := "reader_" + s.db
	s.server.Exec(t, s.db, "create role "+role, "grant "+role+" to "+pgtestUser, "alter default privileges for role "+pgtestUser+" in schema public grant select on tables to "+role)
	t.Cleanup(func() { s.server.Exec(t, s.db, "drop owned by "+role, "drop role "+role) })
	reader := s.conn()
	if _, err := reader.Exec(t.Context(), "set role "+role+"; set default_transaction_read_only = on", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	if st, err := ReadState(t.Context(), reader, Table{}); err != nil || st.Exists {
		t.Errorf("%+v, %v", st, err)
	}
	s.write("1_a.up.sql", "create table a()")
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	if st, err := ReadState(t.Context(), reader, Table{}); err != nil || st.Version != 1 || len(st.Entries) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestARowForEachVersionStaysSo(t *testing.T) { // Encore
	s := newStage(t, 17)
	s.exec("create table schema_migrations(version bigint primary key, dirty boolean not null); insert into schema_migrations values (1, false), (3, false)")
	s.write("1_a.up.sql", "select 1", "2_b.up.sql", "create table b()", "2_b.down.sql", "drop table b", "3_c.up.sql", "select 1", "4_d.up.sql", "create table d()", "4_d.down.sql", "drop table d")
	all := s.jobs(-1)
	if err := s.apply([]Job{all[1], all[3]}); err != nil {
		t.Fatal(err)
	}
	if got := s.one("select string_agg(version::text || dirty, ' ' order by version) from schema_migrations"); got != "1false 2false 3false 4false" {
		t.Errorf("versions %s", got)
	}
	if err := s.apply(s.downs(4)[:1]); err != nil {
		t.Fatal(err)
	}
	if got := s.one("select string_agg(version::text, ' ' order by version) from schema_migrations"); got != "1 2 3" {
		t.Errorf("versions %s", got)
	}
}

func TestTrafficIsDelayedByNoMoreThanTheLockTimeout(t *testing.T) {
	const lockTimeout = 200 * time.Millisecond
	s := newStage(t, 17)
	s.exec("create table hot(id int primary key, x int); insert into hot select g, g from generate_series(1, 100) g")
	s.write("1_a.up.sql", "alter table hot add column y int")
	reader := s.conn()
	if _, err := reader.Exec(t.Context(), "begin; select * from hot", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var slowest, queries atomic.Int64
	for range 3 {
		c := s.conn()
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				begun := time.Now()
				if _, err := c.Exec(t.Context(), "select x from hot where id = 5"); err != nil {
					t.Error(err)
					return
				}
				queries.Add(1)
				for took := int64(time.Since(begun)); ; {
					old := slowest.Load()
					if took <= old || slowest.CompareAndSwap(old, took) {
						break
					}
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	d := s.open(func(o *Options) { o.LockTimeout = lockTimeout })
	applied := make(chan error, 1)
	jobs := s.jobs(-1)
	go func() { applied <- d.Apply(t.Context(), -1, jobs) }()
	attempts := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(slices.DeleteFunc(slices.Clone(s.told), func(text string) bool { return !strings.Contains(text, "attempt") }))
	}
	for end := time.Now().Add(60 * time.Second); attempts() < 3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("told %q", s.told)
		}
	}
	if err := reader.Close(t.Context()); err != nil { // the reader ends, and the migration gets through
		t.Fatal(err)
	}
	if err := <-applied; err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	s.is(1, false, "1 up ok")
	// The margin is for a busy machine; without the time-out a query would wait until the reader ends, which here takes three attempts.
	if took := time.Duration(slowest.Load()); took > 3*lockTimeout || queries.Load() < 50 {
		t.Errorf("the slowest of %d queries took %s, with a lock time-out of %s", queries.Load(), took, lockTimeout)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if told := strings.Join(s.told, "\n"); !strings.Contains(told, fmt.Sprintf("kept by session %d of %s", reader.PgConn().PID(), pgtestUser)) && !strings.Contains(told, "idle in transaction") {
		t.Errorf("nobody is named: %s", told)
	}
}

func TestBlockersAreEndedOnRequestOnly(t *testing.T) {
	s := newStage(t, 17)
	s.exec("create table hot(id int)")
	s.write("1_a.up.sql", "alter table hot add column y int")
	blocker := s.conn()
	if _, err := blocker.Exec(t.Context(), "begin; select * from hot", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	var f *FileError
	if err := s.apply(s.jobs(-1), func(o *Options) { o.LockTimeout, o.Patience = 700*time.Millisecond, time.Second }); !errors.As(err, &f) || f.State != "55P03" ||
		!strings.Contains(f.Error(), fmt.Sprintf("the lock was kept by session %d", blocker.PgConn().PID())) {
		t.Errorf("%v", err)
	}
	if _, err := blocker.Exec(t.Context(), "select 1"); err != nil {
		t.Fatalf("the blocker was ended, and nobody asked for it: %v", err)
	}
	if err := s.apply(s.jobs(-1), func(o *Options) { o.LockTimeout, o.EndBlockers = 700*time.Millisecond, true }); err != nil {
		t.Fatal(err)
	}
	if _, err := blocker.Exec(t.Context(), "select 1"); err == nil {
		t.Error("the blocker goes on")
	}
}

// cutter is a connection whose answers are lost from some moment on.
type cutter struct {
	net.Conn
	cut  *atomic.Bool
	wait func()
}

func (c cutter) Read(b []byte) (int, error) {
	if c.cut.Load() {
		c.wait()
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Read(b)
}

func TestACommitWhoseAnswerIsLostIsFoundInTheHistory(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_b.up.sql", "create table b()", "3_c.up.sql", "create table c()", "4_d.up.sql", "create table d()")
	var cut atomic.Bool
	sent := 0
	d := s.open(func(o *Options) {
		o.Connect = func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			return s.connect(ctx, func(c *pgx.ConnConfig) {
				tune(c)
				dial := c.DialFunc
				c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
					conn, err := dial(ctx, network, addr)
					if err != nil || sent > 1 {
						return conn, err
					}
					return cutter{conn, &cut, func() { s.until("both are committed", "select to_regclass('c') is not null") }}, nil
				}
			})
		}
		o.hook = func(at string) {
			if at == "sending" {
				if sent++; sent == 2 { // the second and third file together
					cut.Store(true)
				}
			}
		}
	})
	if err := d.Apply(t.Context(), -1, s.jobs(-1)[:3]); err != nil {
		t.Fatal(err)
	}
	if !cut.Load() {
		t.Error("no answer was lost")
	}
	s.is(3, false, "1 up ok", "2 up ok", "3 up ok")
	if err := d.Apply(t.Context(), 3, s.jobs(3)); err != nil { // over the new session
		t.Fatal(err)
	}
}

func TestAFileThatEndsItsOwnSessionIsToldSo(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a();\nselect pg_terminate_backend(pg_backend_pid());", "2_b.up.sql", "create table b()")
	var f *FileError
	if err := s.apply(s.jobs(-1)); !errors.As(err, &f) || !f.Lost || f.File != "1_a.up.sql" {
		t.Errorf("%v", err)
	}
	s.is(-1, false)
	if s.one("select to_regclass('a') is null") != "true" {
		t.Error("half of it stayed")
	}
}

func TestAReplicaIsNotMigrated(t *testing.T) {
	server := pgtest.StartOwn(t, 17)
	s := &stage{t: t, server: server, dir: t.TempDir(), db: server.Database(t)}
	s.write("1_a.up.sql", "create table a()")
	var data string
	if err := server.Superuser(t, s.db).QueryRow(t.Context(), "show data_directory").Scan(&data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := server.World.Restart(t.Context(), nil); err != nil { // it follows nobody, and is a standby all the same
		t.Fatal(err)
	}
	d := s.open()
	if err := d.Apply(t.Context(), -1, s.jobs(-1)); fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), "it is a read replica") {
		t.Errorf("%v", err)
	}
	if st := s.state(); !st.Replica || st.Exists { // looking works there
		t.Errorf("%+v", st)
	}
	if err := os.Remove(filepath.Join(data, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	if err := server.World.Restart(t.Context(), nil); err != nil { // so that its database can be dropped
		t.Fatal(err)
	}
}

const pgtestUser = "postgres"

func TestAVersionWithoutAFileFailsLikeOthers(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_b.down.sql", "select 1")
	if err := s.apply(s.jobs(-1)[:1]); err != nil {
		t.Fatal(err)
	}
	holder := s.conn()
	if _, err := holder.Exec(t.Context(), "begin; lock table schema_migrations in exclusive mode", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	var f *FileError
	if err := s.apply(s.jobs(1), impatient); !errors.As(err, &f) || f.State != "55P03" {
		t.Errorf("%v", err)
	}
	if _, err := holder.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	if err := s.apply(s.jobs(1)); err != nil {
		t.Fatal(err)
	}
	s.is(2, false, "1 up ok", "2 up failed", "2 up ok")
}
