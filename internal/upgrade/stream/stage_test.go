package stream

import (
	"bytes"
	"context"
	_ "embed"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/pgtest"
)

//go:embed testdata/zoo.sql
var zooSQL string

//go:embed testdata/roles.sql
var rolesSQL string

func TestMain(m *testing.M) {
	if spec := os.Getenv(dieIn); spec != "" {
		copyAndDie(spec)
		os.Exit(1)
	}
	if spec := os.Getenv(benchIn); spec != "" {
		if err := copyAndTell(spec); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// roles belong to a server, and are made once.
var roles struct {
	sync.Mutex
	made map[int]bool
}

// side is a database.
type side struct {
	t      testing.TB
	server *pgtest.Server
	db     string
	conn   *pgx.Conn
}

// newSide makes a database and fills it.
func newSide(t testing.TB, major int, sql ...string) *side {
	t.Helper()
	s := &side{t: t, server: pgtest.Start(t, major)}
	roles.Lock()
	defer roles.Unlock()
	if roles.made == nil {
		roles.made = map[int]bool{}
	}
	if !roles.made[major] {
		s.server.Exec(t, "postgres", rolesSQL)
		roles.made[major] = true
	}
	s.db = s.server.Database(t)
	s.conn = s.server.Superuser(t, s.db)
	t.Cleanup(s.unsubscribe)
	for _, q := range sql {
		s.exec(q)
	}
	return s
}

// unsubscribe lets the database be dropped.
func (s *side) unsubscribe() {
	s.server.Exec(s.t, s.db, `DO $$ DECLARE n name; BEGIN FOR n IN SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid AND datname = current_database() LOOP
 EXECUTE format('ALTER SUBSCRIPTION %I SET (slot_name = NONE)', n); EXECUTE format('DROP SUBSCRIPTION %I', n); END LOOP; END $$`)
}

func (s *side) exec(sql string) {
	s.t.Helper()
	if _, err := s.conn.PgConn().Exec(context.WithoutCancel(s.t.Context()), sql).ReadAll(); err != nil {
		s.t.Fatalf("%.60s: %v", sql, err)
	}
}

func (s *side) text(sql string) string {
	s.t.Helper()
	var v string
	if err := s.conn.QueryRow(s.t.Context(), sql).Scan(&v); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func (s *side) connect(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c := s.conn.Config().Copy()
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

// end ends the sessions of a copy, as a server that restarts does.
func (s *side) end(which string) {
	s.t.Helper()
	s.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and application_name = 'dbops upgrade' and pid <> pg_backend_pid() " + which)
}

func job(from, to *side) Job {
	return Job{Source: from.connect, Target: to.connect}
}

// inRanges is a copy that is split where it can be.
func inRanges(from, to *side) Job {
	j := job(from, to)
	j.SplitBytes, j.Jobs = 64<<10, 4
	return j
}

// dumped is the whole database as the newest pg_dump tells it, without what differs between two runs.
func (s *side) dumped() string {
	s.t.Helper()
	var out bytes.Buffer
	j := job(s, s)
	j.defaults()
	err := j.run(s.t.Context(), program{name: "pg_dump", major: 18, connect: s.connect, tune: readOnly, out: &out, args: []string{"--large-objects"}})
	if err != nil {
		s.t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, `\restrict`) || strings.HasPrefix(l, `\unrestrict`) || strings.HasPrefix(l, "-- Dumped")
	})
	for i := 0; i < len(lines); i++ { // the order of rows is nobody's promise
		if strings.HasPrefix(lines[i], "COPY ") && strings.HasSuffix(lines[i], " FROM stdin;") {
			first := i + 1
			for ; lines[i] != `\.`; i++ {
			}
			slices.Sort(lines[first:i])
		}
	}
	return strings.Join(lines, "\n")
}

// same fails with the first lines that differ.
func same(t *testing.T, what, a, b string) {
	t.Helper()
	if a == b {
		return
	}
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range max(len(x), len(y)) {
		if i >= len(x) || i >= len(y) || x[i] != y[i] {
			t.Fatalf("%s: line %d differs:\n%s\n---\n%s", what, i+1, strings.Join(x[i:min(len(x), i+4)], "\n"), strings.Join(y[i:min(len(y), i+4)], "\n"))
		}
	}
}
