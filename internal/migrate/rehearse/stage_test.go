package rehearse

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/sandbox/pgtest"
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

// stage is a database that has had some files, and a folder with more.
type stage struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	dir    string
	cache  string
	conn   *pgx.Conn
}

// newStage applies the files, by name and text.
func newStage(t testing.TB, major int, files ...string) *stage {
	t.Helper()
	s := &stage{t: t, server: pgtest.Start(t, major), dir: t.TempDir(), cache: t.TempDir()}
	s.db = s.server.Database(t)
	s.write(files...)
	var err error
	if s.conn, err = s.connect(t.Context(), func(*pgx.ConnConfig) {}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.conn.Close(context.Background()) })
	d, err := driver.Open(t.Context(), driver.Options{Connect: s.connect, What: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var jobs []driver.Job
	for _, m := range s.folder().Migrations {
		jobs = append(jobs, driver.Job{Migration: m, Direction: source.Up, Target: m.Version})
	}
	err = d.Lock() // which makes the tables
	if err == nil {
		err = d.Unlock()
	}
	if err == nil && len(jobs) > 0 {
		err = d.Apply(t.Context(), int64(database.NilVersion), jobs)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
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

func (s *stage) exec(sql string) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.t.Context(), sql); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// request rehearses what is pending.
func (s *stage) request(change ...func(*Request)) Request {
	s.t.Helper()
	st, err := driver.ReadState(s.t.Context(), s.conn, driver.Table{})
	if err != nil {
		s.t.Fatal(err)
	}
	q := Request{What: "test/" + s.db, Folder: s.folder(), State: st, Target: s.conn, Connect: s.connect, CacheDir: s.cache, Version: "test"}
	for _, m := range q.Folder.Migrations {
		if !st.Any || m.Version > st.Version {
			q.Jobs = append(q.Jobs, driver.Job{Migration: m, Direction: source.Up, Target: m.Version})
		}
	}
	for _, c := range change {
		c(&q)
	}
	return q
}

func (s *stage) run(change ...func(*Request)) *Report {
	s.t.Helper()
	r, err := Run(s.t.Context(), s.request(change...))
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// bench is a scratch server with a copy of the schema.
func (s *stage) bench(q Request) *bench {
	s.t.Helper()
	tg, err := lookAt(s.t.Context(), q)
	if err != nil {
		s.t.Fatal(err)
	}
	b, err := open(s.t.Context(), q, tg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := b.close(); err != nil {
			s.t.Error(err)
		}
	})
	if err := b.copySchema(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return b
}

func text(t testing.TB, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := WriteText(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// effects are all that the statements of a report do, each with its line.
func effects(r *Report) (out []string) {
	for _, f := range r.Facts.Files {
		for _, s := range f.Statements {
			for _, e := range r.Effects(s) {
				out = append(out, fmt.Sprintf("%d: %s", s.Line, e))
			}
		}
	}
	return out
}

func same(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}
