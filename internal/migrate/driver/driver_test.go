package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/source"
	"dbops/internal/sandbox/pgtest"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(childVar); spec != "" {
		if err := child(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(pgtest.Main(m))
}

// stage is a database and a folder.
type stage struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	dir    string

	mu   sync.Mutex
	told []string
}

func newStage(t testing.TB, major int) *stage {
	t.Helper()
	s := &stage{t: t, server: pgtest.Start(t, major), dir: t.TempDir()}
	s.db = s.server.Database(t)
	return s
}

func (s *stage) write(files ...string) {
	s.t.Helper()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(s.dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) folder() *source.Folder {
	s.t.Helper()
	f, err := source.Read(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	return f
}

// jobs are all files of the folder above from, up.
func (s *stage) jobs(from int64) (jobs []Job) {
	s.t.Helper()
	for _, m := range s.folder().Migrations {
		if m.Version > from {
			jobs = append(jobs, Job{m, source.Up, m.Version})
		}
	}
	return jobs
}

// downs are all files of the folder from a version down to none.
func (s *stage) downs(from int64) (jobs []Job) {
	s.t.Helper()
	all := s.folder().Migrations
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].Version > from {
			continue
		}
		target := int64(database.NilVersion)
		if i > 0 {
			target = all[i-1].Version
		}
		jobs = append(jobs, Job{all[i], source.Down, target})
	}
	return jobs
}

func (s *stage) connect(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	c.Config = *s.server.Config(s.t, s.db)
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

func (s *stage) open(change ...func(*Options)) *Driver {
	s.t.Helper()
	o := Options{
		Connect: s.connect, What: "test/" + s.db, Who: Who{Actor: "alice", Tool: "dbops test", Run: "r1"},
		Tell: func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.told = append(s.told, text)
		},
	}
	for _, c := range change {
		c(&o)
	}
	d, err := Open(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = d.Close() })
	return d
}

func (s *stage) apply(jobs []Job, change ...func(*Options)) error {
	s.t.Helper()
	d := s.open(change...)
	defer d.Close()
	return d.Apply(s.t.Context(), s.at(), jobs)
}

// at is the version, -1 for none.
func (s *stage) at() int64 {
	s.t.Helper()
	if st := s.state(); st.Any {
		return st.Version
	}
	return -1
}

func (s *stage) state() State {
	s.t.Helper()
	st, err := ReadState(s.t.Context(), s.conn(), Table{})
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

func (s *stage) conn() *pgx.Conn {
	s.t.Helper()
	c, err := s.connect(s.t.Context(), func(*pgx.ConnConfig) {})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// one is the answer to a query of one value, as text.
func (s *stage) one(sql string) string {
	s.t.Helper()
	c := s.conn()
	defer c.Close(s.t.Context())
	var v any
	if err := c.QueryRow(s.t.Context(), sql).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return fmt.Sprint(v)
}

func (s *stage) exec(sql string) {
	s.t.Helper()
	c := s.conn()
	defer c.Close(s.t.Context())
	if _, err := c.Exec(s.t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// is compares version, dirty, and the entries as "version direction outcome".
func (s *stage) is(version int64, dirty bool, entries ...string) {
	s.t.Helper()
	st := s.state()
	var got []string
	for _, e := range st.Entries {
		got = append(got, fmt.Sprintf("%d %s %s", e.Version, e.Direction, e.Outcome))
	}
	if !st.Any {
		st.Version = -1
	}
	if st.Version != version || st.Dirty != dirty || !slices.Equal(got, entries) {
		s.t.Errorf("version %d, dirty %v, history %q; want %d, %v, %q", st.Version, st.Dirty, got, version, dirty, entries)
	}
}

func TestFilesAreAppliedWithTheirVersionAndTheirEntry(t *testing.T) {
	s := newStage(t, 17)
	for i := 1; i <= 100; i++ {
		s.write(fmt.Sprintf("%04d_t.up.sql", i), fmt.Sprintf("-- ü\ncreate table t%d(a int); insert into t%d values (1)", i, i), fmt.Sprintf("%04d_t.down.sql", i), fmt.Sprintf("drop table t%d", i))
	}
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	st := s.state()
	if st.Version != 100 || st.Dirty || len(st.Entries) != 100 || s.one("select count(*) from pg_tables where schemaname = 'public' and tablename like 't%'") != "100" {
		t.Errorf("version %d, %d entries", st.Version, len(st.Entries))
	}
	e := st.Entries[99]
	if e.Sum != s.folder().Migrations[99].Up.Sum || e.Actor != "alice" || e.Run != "r1" || e.Statements != 2 || e.Mode != "tx" || e.Took < 0 || e.Started.IsZero() || e.DBUser == "" {
		t.Errorf("%+v", e)
	}
	if err := s.apply(s.downs(100)); err != nil {
		t.Fatal(err)
	}
	if st := s.state(); st.Any || len(st.Entries) != 100 || st.Entries[0].Direction != "down" || s.one("select count(*) from pg_tables where schemaname = 'public' and tablename like 't%'") != "0" {
		t.Errorf("%+v", st)
	}
}

func TestAFailureHasAPlaceAndLeavesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		sql, want, excerpt string
	}{
		"position":    {"create table b();\nselect 'ü', nope;\n", `0002_x.up.sql:2:13: column "nope" does not exist (SQLSTATE 42703); nothing of the file is applied`, "2 | select 'ü', nope;\n                ^"},
		"no position": {"create table b();\n\ncreate table a(x int);", `0002_x.up.sql:3:1: relation "a" already exists (SQLSTATE 42P07); nothing of the file is applied`, "3 | create table a(x int);\n    ^"},
		"syntax":      {"/* ü */ begin;\ncreate table b();\nselct 1;\ncommit;", `0002_x.up.sql:3:1: syntax error at or near "selct" (SQLSTATE 42601); nothing of the file is applied`, "3 | selct 1;\n    ^"},
		"outer":       {"begin; /* ü */ create table b(); insert into b values (nope); commit", `0002_x.up.sql:1:56: column "nope" does not exist (SQLSTATE 42703); nothing of the file is applied`, ""},
		"detail":      {"create table b(i int primary key);\ninsert into b values (1),(1)", `0002_x.up.sql:2:1: duplicate key value violates unique constraint "b_pkey" (SQLSTATE 23505); Key (i)=(1) already exists.; nothing of the file is applied`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, 17)
			s.write("0001_a.up.sql", "create table a()", "0002_x.up.sql", c.sql, "0003_z.up.sql", "create table z()")
			err := s.apply(s.jobs(-1))
			var f *FileError
			if !errors.As(err, &f) || f.Error() != c.want || (c.excerpt != "" && f.Excerpt != c.excerpt) {
				t.Errorf("%v\n%s\nwant %s\n%s", err, f.Excerpt, c.want, c.excerpt)
			}
			s.is(1, false, "1 up ok", "2 up failed")
			if s.one("select to_regclass('b') is null and to_regclass('z') is null") != "true" {
				t.Error("something of it stayed")
			}
			s.write("0002_x.up.sql", "create table b()")
			if err := s.apply(s.jobs(1)); err != nil {
				t.Fatal(err)
			}
			s.is(3, false, "1 up ok", "2 up failed", "2 up ok", "3 up ok")
		})
	}
}

func TestWhatAFileSetsEndsWithIt(t *testing.T) {
	s := newStage(t, 17)
	s.server.Exec(t, s.db, "create role other_"+s.db, "grant other_"+s.db+" to "+pgtest.User, "grant create on schema public to other_"+s.db)
	t.Cleanup(func() { s.server.Exec(t, "postgres", "drop role if exists other_"+s.db) })
	t.Cleanup(func() { s.server.Exec(t, s.db, "drop owned by other_"+s.db) })
	s.write("1_a.up.sql", "select pg_catalog.set_config('search_path', '', false); set standard_conforming_strings = off; set lock_timeout = 7; set role other_"+s.db+"; create table public.a()",
		"2_b.up.sql", "create table b as select current_setting('lock_timeout') l, current_setting('standard_conforming_strings') c, current_user::text u")
	if err := s.apply(s.jobs(-1)); err != nil {
		t.Fatal(err)
	}
	if got := s.one("select l || ' ' || c || ' ' || u from b"); got != "2s on "+pgtest.User {
		t.Errorf("the second file saw %s", got)
	}
	if got := s.one("select tableowner from pg_tables where tablename = 'a'"); got != "other_"+s.db {
		t.Errorf("a belongs to %s", got)
	}
}

func TestStepwiseFilesAreResumed(t *testing.T) {
	s := newStage(t, 17)
	s.write("1_a.up.sql", "create table a(i int, j int); insert into a select g, g % 2 from generate_series(1, 100) g",
		"2_x.up.sql", "set lock_timeout = 0;\ncreate index concurrently a_i on a(i);\ncreate table b();\nbegin; create table c();\ncreate table d(); commit;\ncreate unique index concurrently a_j on a(j);\nset x.y = '1'; create table e as select current_setting('x.y') v;")
	err := s.apply(s.jobs(-1))
	var f *FileError
	if !errors.As(err, &f) || f.Line != 6 || f.State != "23505" || f.Statement != 8 || !strings.Contains(f.Error(), "; 7 of its 10 statements are done and stay") {
		t.Fatalf("%v", err)
	}
	s.is(2, true, "1 up ok", "2 up failed")
	if got := s.one("select string_agg(indexrelid::regclass::text || ' ' || indisvalid, ', ') from pg_index where indrelid = 'a'::regclass"); got != "a_i true" {
		t.Errorf("indexes: %s", got)
	}
	s.exec("delete from a where i > 2")
	st := s.state()
	if e := st.Entries[1]; e.Done != 7 || e.Statements != 10 || e.Mode != "stepwise" {
		t.Errorf("%+v", e)
	}
	d := s.open()
	if err := d.Resume(t.Context(), s.jobs(1)[0]); err != nil {
		t.Fatal(err)
	}
	s.is(2, false, "1 up ok", "2 up ok")
	if s.one("select v from e") != "1" || s.one("select count(*) from pg_index where indrelid = 'a'::regclass and indisvalid") != "2" {
		t.Error("not all of it is there")
	}
}
