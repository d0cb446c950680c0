package driver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/source"
)

const childVar = "DBOPS_TEST_MIGRATE_CHILD"

// child is the process that is killed: it dies at the n-th thing that outlives it.
func child(spec string) error {
	var n, seen int
	var url, dir string
	if _, err := fmt.Sscan(spec, &n, &url, &dir); err != nil {
		return err
	}
	folder, err := source.Read(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	d, err := Open(ctx, Options{
		What: "child", Who: Who{Run: "child"},
		Connect: func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
			c, err := pgx.ParseConfig(url)
			if err != nil {
				return nil, err
			}
			tune(c)
			return pgx.ConnectConfig(ctx, c)
		},
		hook: func(at string) {
			if at == "sending" {
				return
			}
			if seen++; seen == n {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		},
	})
	if err != nil {
		return err
	}
	var jobs []Job
	for _, m := range folder.Migrations {
		jobs = append(jobs, Job{m, source.Up, m.Version})
	}
	return d.Apply(ctx, -1, jobs)
}

// child is a process that applies the stage's folder, and dies at the n-th thing that outlives it.
func (s *stage) child(n int) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	url := fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=require", pgtestUser, s.server.Password.Reveal(), s.server.Port, s.db)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %s %s", childVar, n, url, s.dir))
	return cmd
}

func TestKilledAtEveryStatement(t *testing.T) {
	s := newStage(t, 16)
	files := []string{
		"1_a.up.sql", "create table a(i int); insert into a select generate_series(1, 10)",
		"2_b.up.sql", "create table b()",
		"3_step.up.sql", "set x.y = '1'; create index concurrently a_i on a(i); create table c(); begin; create table d(); insert into a values (11); commit; drop index concurrently a_i; create index concurrently a_i2 on a(i); insert into a values (12)",
		"4_d.up.sql", "insert into a values (13)",
	}
	s.write(files...)
	want := "10,11,12,13"
	for n := 1; ; n++ {
		s.db = s.server.Database(t)
		cmd := s.child(n)
		out, err := cmd.CombinedOutput()
		if err == nil {
			if n < 14 {
				t.Errorf("attempt %d: %s", n, out)
			}
			break // it was not killed any more: every place was tried
		}
		if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !w.Signaled() {
			t.Fatalf("attempt %d: %v: %s", n, err, out)
		}
		s.until("the killed session is gone", "select count(*) = 0 from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
		s.truth(n)
		st := s.state()
		d := s.open()
		if e, cut := st.Unfinished(); cut {
			if err := d.Resume(t.Context(), s.jobs(-1)[e.Version-1]); err != nil {
				t.Fatalf("killed at %d: resume: %v", n, err)
			}
			st = s.state()
		}
		at := st.Version
		if !st.Any {
			at = -1
		}
		if err := d.Apply(t.Context(), at, s.jobs(at)); err != nil {
			t.Fatalf("killed at %d: %v", n, err)
		}
		if got := s.one("select string_agg(i::text, ',' order by i) from a where i >= 10"); got != want {
			t.Errorf("killed at %d: rows %s", n, got)
		}
		if got := s.one("select string_agg(c.relname || i.indisvalid, ',') from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = 'a'::regclass"); got != "a_i2true" {
			t.Errorf("killed at %d: indexes %s", n, got)
		}
		s.is(4, false, "1 up ok", "2 up ok", "3 up ok", "4 up ok")
	}
}

// truth compares what the database says of itself with what is there.
func (s *stage) truth(n int) {
	s.t.Helper()
	st := s.state()
	there := func(what string) bool { return s.one("select to_regclass('"+what+"') is not null") == "true" }
	for version, table := range map[int64]string{1: "a", 2: "b"} {
		if there(table) != (st.Any && st.Version >= version) {
			s.t.Errorf("killed at %d: version %d, and table %s is there: %v", n, st.Version, table, there(table))
		}
	}
	e, cut := st.Unfinished()
	if st.Dirty != cut || (cut && e.Version != 3) {
		s.t.Errorf("killed at %d: dirty %v, unfinished %+v", n, st.Dirty, e)
	}
	if cut && (there("c") != (e.Done >= 3) || there("d") != (e.Done >= 7)) {
		s.t.Errorf("killed at %d: %d statements are said to be done; c is there: %v, d is there: %v", n, e.Done, there("c"), there("d"))
	}
}

func TestKilledInTheMiddleOfAStatement(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a()", "2_slow.up.sql", "create table b(); select pg_sleep(300)")
	cmd := s.child(1000)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("the slow file is run", "select exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// The server looks once a second whether its client is still there.
	s.until("the server gives up", "select not exists (select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database())")
	s.is(1, false, "1 up ok")
	if s.one("select to_regclass('b') is null") != "true" {
		t.Error("half of the file stayed")
	}
}
