package preflight

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/sandbox/pgtest"
)

func table() []check { return slices.Concat(serverChecks, databaseChecks, schemaChecks) }

func queries(t *testing.T) []string {
	t.Helper()
	files, err := fs.Glob(sqlFiles, "sql/*.sql")
	if err != nil || len(files) < 70 {
		t.Fatal(len(files), err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, "sql/"), ".sql")
	}
	return files
}

func TestEachCheckIsWholeAndEachQueryIsUsed(t *testing.T) {
	used := []string{"facts.server", "facts.database", "facts.largest", "facts.passwords"}
	seen := map[string]bool{}
	for _, c := range table() {
		if seen[c.name] || !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(c.name) {
			t.Errorf("%q is no name of its own", c.name)
		}
		seen[c.name] = true
		if c.severity == "" || c.what == "" || c.why == "" || c.remedy == "" && c.severity != Info {
			t.Errorf("%s is not whole: %+v", c.name, c)
		}
		sql, err := c.sql()
		if err != nil || strings.Contains(sql, ";") {
			t.Errorf("%s: its query is no single statement: %v", c.name, err)
		}
		file := c.file
		if file == "" {
			file = c.name
		}
		used = append(used, file)
		if c.hidden() != "" {
			used = append(used, c.name+".hidden")
		}
	}
	slices.Sort(used)
	got := queries(t)
	slices.Sort(got)
	if !slices.Equal(got, slices.Compact(used)) {
		t.Errorf("files %v\nused  %v", got, used)
	}
}

// Every query runs on every major, in a transaction that cannot write, by a role that is no superuser.
func TestEveryQueryReadsOnlyOnEveryMajor(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := pgtest.Start(t, major)
			conn := admin(t, s, s.Database(t))
			for _, name := range queries(t) {
				if name == "database-collation-version" && major < 15 || name == "facts.passwords" { // for later majors; for whoever may
					continue
				}
				sql, err := readSQL(name)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(name, "facts.") {
					sql = bounded(sql, shown)
				}
				tx, err := conn.BeginTx(t.Context(), pgx.TxOptions{AccessMode: pgx.ReadOnly})
				if err != nil {
					t.Fatal(err)
				}
				args := []any{pgx.QueryExecModeExec}
				if strings.Contains(sql, "$1") {
					args = append(args, 18)
				}
				_, err = tx.Exec(t.Context(), "SET LOCAL search_path = pg_catalog, pg_temp")
				if err == nil {
					_, err = tx.Exec(t.Context(), sql, args...)
				}
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := tx.Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// What a session could write, it is kept from by the server.
func TestTheSessionCannotWrite(t *testing.T) {
	s := pgtest.Start(t, 17)
	db := s.Database(t)
	x := &session{database: db, timeout: time.Second, connect: func(context.Context, string) (*pgx.Conn, error) { return admin(t, s, db), nil }}
	_, err := query(t.Context(), x, "CREATE TABLE a (b int)", 0, scanRow)
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "25006" {
		t.Errorf("got %v, want a refusal to write", err)
	}
}

// Five minutes are too long for a test, so it asks with none.
func TestALongTransactionIsSeen(t *testing.T) {
	s := pgtest.Start(t, 17)
	db := s.Database(t)
	conn := s.Superuser(t, db)
	if _, err := conn.Exec(t.Context(), "BEGIN; SELECT 'a secret'"); err != nil {
		t.Fatal(err)
	}
	x := &session{database: db, timeout: time.Second, connect: func(context.Context, string) (*pgx.Conn, error) { return admin(t, s, db), nil }}
	sql, err := readSQL("long-transactions")
	if err != nil {
		t.Fatal(err)
	}
	rows, err := query(t.Context(), x, bounded(strings.Replace(sql, "5 minutes", "0 minutes", 1), shown), 0, scanRow)
	want := "pid " + strconv.FormatUint(uint64(conn.PgConn().PID()), 10)
	i := slices.IndexFunc(rows, func(r row) bool { return r.object == want })
	if err != nil || i < 0 || !strings.HasSuffix(rows[i].detail, "idle in transaction") || strings.Contains(rows[i].detail, "secret") {
		t.Errorf("%v, want %s; %v", rows, want, err)
	}
}

// admin connects as a cloud's administrator.
func admin(t *testing.T, s *pgtest.Server, db string) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig("")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Config = *s.Config(t, db)
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func TestJudges(t *testing.T) {
	rows := func(pairs ...string) (out []row) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, row{object: pairs[i], detail: pairs[i+1]})
		}
		return out
	}
	offers := map[string][]string{"hstore": {"1.8", "1.4"}, "citext": {}}
	tests := map[string]struct {
		judge   func(given, []row) ([]row, string)
		in      given
		rows    []row
		want    []string
		unknown bool
	}{
		"an extension that the target lacks":       {missingExtensions, given{target: Target{Major: 18, Extensions: offers}}, rows("hstore", "1.8", "postgis", "3"), []string{"postgis"}, false},
		"extensions of a target nobody knows":      {missingExtensions, given{target: Target{Major: 18}}, rows("hstore", "1.8", "adminpack", "2.1"), []string{"adminpack"}, true},
		"an extension that went later":             {missingExtensions, given{target: Target{Major: 16, Extensions: map[string][]string{"adminpack": nil}}}, rows("adminpack", "2.1"), nil, false},
		"no extensions, nothing to be unknown":     {missingExtensions, given{target: Target{Major: 18}}, nil, nil, false},
		"a version that the target lacks":          {otherVersions, given{target: Target{Major: 18, Extensions: offers}}, rows("hstore", "1.9", "citext", "1", "gone", "1"), []string{"hstore"}, false},
		"a version that it has":                    {otherVersions, given{target: Target{Major: 18, Extensions: offers}}, rows("hstore", "1.4"), nil, false},
		"a setting that went on the way":           {settings, given{source: Facts{Version: 160004}, target: Target{Major: 18}}, rows("server", "old_snapshot_threshold"), []string{"server"}, false},
		"a setting that goes later":                {settings, given{source: Facts{Version: 140004}, target: Target{Major: 16}}, rows("server", "old_snapshot_threshold"), nil, false},
		"a setting that the target's list lacks":   {settings, given{source: Facts{Version: 140004}, target: Target{Major: 16, Settings: []string{"work_mem"}}}, rows("a", "Work_Mem", "b", "nonesuch", "c", "app.x", "d", "role"), []string{"b"}, false},
		"passwords whose verifiers were read":      {passwords, given{source: Facts{Passwords: true}}, rows("alice", ""), nil, false},
		"passwords that nobody reads":              {passwords, given{}, rows("alice", ""), []string{"alice"}, false},
		"a timeout that our own session was given": {ownTimeouts, given{runtime: map[string]string{"lock_timeout": "1"}}, rows("lock_timeout", "1", "statement_timeout", "2"), []string{"statement_timeout"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bad, unknown := tt.judge(tt.in, tt.rows)
			var got []string
			for _, r := range bad {
				got = append(got, r.object)
			}
			if !slices.Equal(got, tt.want) || (unknown != "") != tt.unknown {
				t.Errorf("got %v, unknown %q; want %v, unknown %v", got, unknown, tt.want, tt.unknown)
			}
		})
	}
}

func TestChecksConcernTheirMajorsAndEngine(t *testing.T) {
	tests := []struct {
		check          string
		source, target int
		engine         Engine
		want           bool
	}{
		{"postfix-operators", 13, 16, Dump, true},
		{"postfix-operators", 14, 16, Dump, false},
		{"unlogged-partitioned", 16, 17, Dump, false},
		{"unlogged-partitioned", 16, 18, Dump, true},
		{"database-collation-version", 14, 18, Dump, false},
		{"replica-identity", 14, 18, Stream, false},
		{"replica-identity", 14, 18, Logical, true},
		{"tables-with-oids", 11, 14, Dump, true},
	}
	for _, tt := range tests {
		for _, c := range table() {
			if c.name == tt.check && c.applies(tt.source, Target{Major: tt.target}, tt.engine) != tt.want {
				t.Errorf("%+v", tt)
			}
		}
	}
}

func TestSpaceOfTheTarget(t *testing.T) {
	has := func(free, size int64) []Finding {
		d := DatabaseFacts{Name: "a", Bytes: &size, Largest: []TableFact{{Bytes: 50}}}
		return space([]DatabaseFacts{d}, 1, Target{FreeBytes: &free})
	}
	if got := has(160, 100); len(got) != 0 {
		t.Errorf("enough: %+v", got)
	}
	if got := has(159, 100); len(got) != 1 || got[0].Severity != Block || got[0].Unknown != "" {
		t.Errorf("too little: %+v", got)
	}
	for name, got := range map[string][]Finding{
		"no target":       space([]DatabaseFacts{{Name: "a"}}, 1, Target{}),
		"an unread size":  space([]DatabaseFacts{{Name: "a"}}, 1, Target{FreeBytes: new(int64(10))}),
		"a lost database": space(nil, 1, Target{FreeBytes: new(int64(10))}),
	} {
		if len(got) != 1 || got[0].Severity != Warn || got[0].Unknown == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestWhyAQuestionHadNoAnswer(t *testing.T) {
	tests := map[string]error{
		"permission denied for table a":                    &pgconn.PgError{Code: "42501", Message: "permission denied for table a"},
		"no answer within 1s":                              &pgconn.PgError{Code: "57014"},
		"an object is locked by a session that changes it": &pgconn.PgError{Code: "55P03"},
		"column a does not exist (SQLSTATE 42703)":         &pgconn.PgError{Code: "42703", Message: "column a does not exist"},
	}
	for want, err := range tests {
		if got, _ := reason(err, time.Second, "r"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got, _ := reason(context.DeadlineExceeded, time.Second, "r"); got != "no answer within 1s" {
		t.Error(got)
	}
}

func TestFindingsAreBoundedAndOneLine(t *testing.T) {
	c := check{name: "a", severity: Block, superuser: true, what: "w", remedy: "DROP {object} -- {detail} {role}"}
	rows := []row{{object: "x\ny\x1b[31m", detail: strings.Repeat("é", 500), total: 9}, {}, {}, {}, {}, {}, {}}
	f := c.finding("d", Facts{Role: `o"k`}, rows)
	if f.Text != "w: x y [31m and 8 more" || len(f.Evidence) != shown || f.Count != 9 || f.Severity != Block || len([]rune(f.Evidence[0].Detail)) != 200 ||
		!strings.HasPrefix(f.Remedy, "DROP x y [31m -- é") || !strings.HasSuffix(f.Remedy, `"o""k"`) {
		t.Errorf("%+v", f)
	}
	if f := c.finding("d", Facts{Superuser: true}, rows); f.Severity != Warn {
		t.Errorf("a superuser can: %+v", f)
	}
}

func TestReportInJSON(t *testing.T) {
	r := Report{Schema: Schema, Target: 18, Engine: Dump, Findings: []Finding{{Check: "a", Severity: Warn, Evidence: []Evidence{}}}, Took: seconds(1234567 * time.Microsecond)}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b, &back); err != nil || !reflect.DeepEqual(back, r) || !strings.Contains(string(b), `"schema":"dbops/upgrade-preflight/v1"`) ||
		!strings.Contains(string(b), `"took_seconds":1.235`) || !strings.Contains(string(b), `"evidence":[]`) {
		t.Errorf("%v: %s", err, b)
	}
}

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
