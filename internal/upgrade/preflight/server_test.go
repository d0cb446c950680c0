package preflight_test

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/pgtest"
	"dbops/internal/secret"
	"dbops/internal/upgrade/preflight"
)

// source connects as a cloud's administrator does: no superuser.
type source struct {
	*pgtest.Server
	queries atomic.Int64
}

func (s *source) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.queries.Add(1)
	return ctx
}

func (*source) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func start(t *testing.T, major int) *source {
	t.Helper()
	return &source{Server: pgtest.Start(t, major)}
}

func (s *source) of(t *testing.T, databases ...string) preflight.Source {
	t.Helper()
	return preflight.Source{Databases: databases, Connect: func(ctx context.Context, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.Config = *s.Config(t, database)
		cfg.Tracer = s
		return pgx.ConnectConfig(ctx, cfg)
	}}
}

// run asks, with all known of a roomy target.
func run(t *testing.T, src preflight.Source, target preflight.Target, o preflight.Options) *preflight.Report {
	t.Helper()
	if target.FreeBytes == nil {
		target.FreeBytes = new(int64(1 << 50))
	}
	r, err := preflight.Run(t.Context(), src, target, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// saw is a report's findings, a line each: check, its severity, objects.
func saw(r *preflight.Report) map[string]string {
	out := map[string]string{}
	for _, f := range r.Findings {
		name := f.Check
		if f.Unknown != "" {
			name += "?"
		}
		var objects []string
		for _, e := range f.Evidence {
			objects = append(objects, e.Object)
		}
		if more := f.Count - len(f.Evidence); more > 0 {
			objects = append(objects, fmt.Sprintf("+%d", more))
		}
		out[name] = string(f.Severity) + ": " + strings.Join(objects, " ")
	}
	return out
}

const clean = `create table plain (id bigint primary key, name text not null, at timestamptz default now());
create index on plain (lower(name)); create view v as select id, name from plain; insert into plain select i, 'a' from generate_series(1, 9) i;
analyze plain`

// fill runs statements as the administrator, who owns the database.
func (s *source) fill(t *testing.T, db, sql string) {
	t.Helper()
	conn, err := s.of(t).Connect(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
}

func TestACleanDatabaseHasNoFindings(t *testing.T) {
	for _, major := range []int{14, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := start(t, major)
			db := s.Database(t)
			s.fill(t, db, clean)
			running := goleak.IgnoreCurrent()
			for _, engine := range []preflight.Engine{preflight.Dump, preflight.Stream, preflight.Logical} {
				r := run(t, s.of(t, db), preflight.Target{Major: 18}, preflight.Options{Engine: engine})
				want := map[string]string{}
				if engine == preflight.Logical {
					want["logical-setup"] = "block: role postgres" // the only thing that a cloud's administrator lacks
				}
				if got := saw(r); !maps.Equal(got, want) {
					t.Errorf("%s: %+v", engine, r.Findings)
				}
				f := r.Facts
				if f.Major() != major || f.Superuser || f.Role != pgtest.User || len(f.Databases) != 1 || r.Checks < 50 {
					t.Errorf("%s: %d checks, facts %+v", engine, r.Checks, f)
				}
				d := f.Databases[0]
				if d.Name != db || d.Bytes == nil || *d.Bytes < 1<<20 || d.Rows != 9 || len(d.Largest) != 1 || d.Largest[0].Name != "public.plain" ||
					d.Objects.Tables != 1 || d.Objects.Indexes != 2 || d.Objects.Views != 1 || d.Encoding != "UTF8" {
					t.Errorf("%s: %+v", engine, d)
				}
			}
			goleak.VerifyNone(t, running)
		})
	}
}

// Where a role may not look, that is said; a check passes only what it has seen.
func TestARoleWithoutRightsIsToldWhatItCannotSee(t *testing.T) {
	s := start(t, 17)
	t.Cleanup(func() { s.Exec(t, "postgres", "DROP ROLE weak") })
	db := s.Database(t)
	s.fill(t, db, clean+"; create sequence hidden")
	s.Exec(t, db, "CREATE ROLE weak LOGIN PASSWORD 'weak'", "REVOKE SELECT ON pg_catalog.pg_trigger FROM PUBLIC")
	src := s.of(t, db)
	src.Connect = func(ctx context.Context, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.Config = *s.ConfigFor(t, "weak", secret.New("weak"), database)
		return pgx.ConnectConfig(ctx, cfg)
	}
	r := run(t, src, preflight.Target{Major: 18}, preflight.Options{})
	want := map[string]string{
		"ddl-now?": "warn: ", "disabled-triggers?": "warn: ", "long-transactions?": "warn: ", "sequences?": "warn: public.hidden",
		"foreign-owners": "block: postgres", "unreadable-tables": "block: public.hidden public.plain", "role-passwords": "warn: postgres",
	}
	if got := saw(r); !maps.Equal(got, want) {
		t.Errorf("%+v", r.Findings)
	}
	for _, f := range r.Findings {
		if f.Check == "disabled-triggers" && (f.Unknown != "permission denied for table pg_trigger" || f.Remedy == "") {
			t.Errorf("%+v", f)
		}
	}
}

// Sizes and views queue behind whoever changes a table. Nobody waits at night for that.
func TestALockedTableIsNotWaitedFor(t *testing.T) {
	s := start(t, 17)
	db := s.Database(t)
	s.fill(t, db, clean)
	holder := s.Superuser(t, db)
	if _, err := holder.Exec(t.Context(), "BEGIN; LOCK TABLE plain"); err != nil {
		t.Fatal(err)
	}
	r := run(t, s.of(t, db), preflight.Target{Major: 18}, preflight.Options{Timeout: 400 * time.Millisecond})
	want := map[string]string{"facts?": "warn: ", "system-views?": "info: ", "view-catalog-columns?": "warn: "}
	if got := saw(r); !maps.Equal(got, want) {
		t.Errorf("%+v", r.Findings)
	}
	if d := r.Facts.Databases; len(d) != 1 || d[0].Bytes == nil {
		t.Errorf("the database's own size needs no lock: %+v", d)
	}
}

func TestTwoThousandTablesTakeNoMoreQueriesThanOne(t *testing.T) {
	s := start(t, 17)
	db := s.Database(t)
	s.fill(t, db, clean)
	ask := func() (int64, *preflight.Report) {
		before := s.queries.Load()
		r := run(t, s.of(t, db), preflight.Target{Major: 18}, preflight.Options{Engine: preflight.Logical})
		return s.queries.Load() - before, r
	}
	small, _ := ask()
	s.fill(t, db, `do $$ begin for i in 1..2000 loop execute format('create table many_%s (id int, t text)', i); end loop; end $$`)
	large, r := ask()
	if small != large || large > 90 {
		t.Errorf("%d queries for one table, %d for 2,001", small, large)
	}
	want := map[string]string{
		"logical-setup": "block: role postgres", "replica-identity": "block: public.many_1 public.many_10 public.many_100 public.many_1000 public.many_1001 +1995",
	}
	if got := saw(r); !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if r.Facts.Databases[0].Objects.Tables != 2001 || len(r.Facts.Databases[0].Largest) != 10 {
		t.Errorf("%+v", r.Facts.Databases[0])
	}
	t.Logf("took %.2f s", r.Took)
}

func TestDatabasesAreAskedTogetherAndReportedInOrder(t *testing.T) {
	s := start(t, 17)
	one, two := s.Database(t), s.Database(t)
	s.fill(t, one, clean)
	s.fill(t, two, "create table b (a money); create table a (a money)")
	src := s.of(t, one, two, "not_there")
	var first []preflight.Finding
	for _, concurrency := range []int{1, 3} {
		r := run(t, src, preflight.Target{Major: 17}, preflight.Options{Concurrency: concurrency})
		if first == nil {
			first = r.Findings
		} else if !reflect.DeepEqual(first, r.Findings) {
			t.Errorf("the order depends on who was first:\n%+v\n%+v", first, r.Findings)
		}
		var lines []string
		for _, f := range r.Findings {
			lines = append(lines, f.Check+" "+f.Database)
		}
		want := []string{"connect not_there", "major ", "disk-space ", "money-columns " + two}
		if !slices.Equal(lines, want) || !r.Blocked() {
			t.Errorf("%q, want %q", lines, want)
		}
		if len(r.Facts.Databases) != 2 || r.Facts.Databases[0].Name != one || !slices.Contains(r.Facts.Others, "postgres") {
			t.Errorf("%+v", r.Facts)
		}
	}
}

// cutter closes the connection under one of the queries.
type cutter struct{ left int }

func (c *cutter) TraceQueryStart(ctx context.Context, conn *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	if c.left--; c.left == 0 {
		_ = conn.PgConn().Conn().Close()
	}
	return ctx
}

func (*cutter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func TestALostConnectionCostsOneCheck(t *testing.T) {
	s := start(t, 17)
	db := s.Database(t)
	s.fill(t, db, clean)
	src, tracer := s.of(t, db), &cutter{left: 30}
	src.Connect = func(ctx context.Context, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.Config, cfg.Tracer = *s.Config(t, database), tracer
		return pgx.ConnectConfig(ctx, cfg)
	}
	r := run(t, src, preflight.Target{Major: 18}, preflight.Options{})
	if len(r.Findings) != 1 || r.Findings[0].Unknown == "" || r.Findings[0].Severity == preflight.Block || len(r.Facts.Databases) != 1 {
		t.Errorf("%+v", r.Findings)
	}
}
