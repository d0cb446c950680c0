package lint_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
)

// offline lints one file without a connection.
func offline(t *testing.T, sql string, known lint.Offline) []lint.Finding {
	t.Helper()
	return check(t, lint.New(), known, lint.Input{Path: "1_x.up.sql", SQL: sql, Direction: source.Up})
}

func check(t *testing.T, l *lint.Linter, known lint.Catalog, in ...lint.Input) []lint.Finding {
	t.Helper()
	found, err := l.Check(t.Context(), in, known)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// worse are the rules of findings that are no notes, in order.
func worse(found []lint.Finding) string {
	var out []string
	for _, f := range found {
		if f.Severity != lint.Info {
			out = append(out, string(f.Severity)+" "+f.Rule)
		}
	}
	return strings.Join(out, ", ")
}

func TestWhatIsFoundWithoutAConnection(t *testing.T) {
	for name, c := range map[string]struct{ sql, want string }{
		"a constant default is free":              {"alter table t add column a int not null default 7", ""},
		"now() is free":                           {"alter table t add column a timestamptz not null default now()", ""},
		"current_timestamp is free":               {"alter table t add column a timestamptz default current_timestamp", ""},
		"a function that is not known":            {"alter table t add column a int default f()", "warn add-column-volatile-default"},
		"a new table blocks nobody":               {"create table t (a int); create index on t (a); alter table t alter a set not null; alter table t add check (a > 0); drop table t", ""},
		"a new table, with its schema":            {"create table public.t (a int); create index on t (a)", ""},
		"a table made by a query is new":          {"create table t as select 1 as a; create index on t (a)", ""},
		"a renamed new table is new":              {"create table t (a int); alter table t rename to w; create index on w (a)", ""},
		"another schema's table is not":           {"create table s.t (a int); create index i on t (a)", "error index-not-concurrent"},
		"the proof of NOT NULL":                   {"alter table t add constraint c check (a is not null) not valid; alter table t validate constraint c; alter table t alter a set not null", "error validate-same-tx"},
		"no proof while it is not valid":          {"alter table t add constraint c check (a is not null) not valid; alter table t alter a set not null", "error set-not-null"},
		"no proof once it is dropped":             {"alter table t add constraint c check (a is not null); alter table t drop constraint c; alter table t alter a set not null", "error add-check, error set-not-null"},
		"NOT VALID is fine":                       {"alter table t add constraint c check (a > 0) not valid", ""},
		"a foreign key NOT VALID is fine":         {"alter table t add foreign key (a) references u not valid", ""},
		"USING INDEX is fine":                     {"alter table t add constraint c unique using index i", ""},
		"concurrently alone is fine":              {"create index concurrently i on t (a)", ""},
		"concurrently and something else":         {"create index concurrently i on t (a); create index concurrently j on t (b)", "warn cic-in-tx, warn cic-in-tx"},
		"concurrently in a transaction":           {"begin; create index concurrently i on t (a); commit", "warn tx-control, error cic-in-tx"},
		"concurrently after a transaction":        {"begin; select 1; commit; create index concurrently i on t (a)", "warn tx-control, warn cic-in-tx"},
		"if not exists":                           {"create index concurrently if not exists i on t (a)", "warn cic-if-not-exists"},
		"with a timeout":                          {"set statement_timeout = '5s'; create index concurrently i on t (a)", "warn cic-in-tx, warn cic-timeout"},
		"with no timeout":                         {"set statement_timeout = 0; create index concurrently i on t (a)", "warn cic-in-tx"},
		"ONLY the parent":                         {"create index i on only p (a)", ""},
		"a partitioned table of an earlier one":   {"reindex schema s", "error reindex-system"},
		"int to bigint":                           {"alter table t alter a type bigint", "error alter-type-rewrite"},
		"to text, from who knows what":            {"alter table t alter a type text", "warn alter-type-rewrite"},
		"to text, from varchar, as a file says":   {"create table w (a int); alter table t add a varchar(3); alter table t alter a type text", ""},
		"to timestamptz":                          {"alter table t alter a type timestamptz", "warn session-timezone"},
		"to timestamptz, in UTC":                  {"set local timezone = 'UTC'; alter table t alter a type timestamptz", "warn alter-type-reindex"},
		"a required column":                       {"alter table t add a int not null", "error add-required-column"},
		"renames":                                 {"alter table t rename a to b; alter type e rename value 'a' to 'b'", "error rename-column, error rename-enum-value"},
		"renaming an index or constraint is fine": {"alter index i rename to j; alter table t rename constraint a to b", ""},
		"drops":                               {"drop table t; alter table u drop column a; drop index i; drop schema s", "error drop-table, error drop-column, warn multi-table-tx, warn drop-index, error drop-schema"},
		"an index on a new table may go":      {"create table t (a int); create index i on t (a); drop index i", ""},
		"dropping a view or function is fine": {"drop view v; drop function f()", ""},
		"cascade":                             {"drop type e cascade", "error cascade"},
		"truncate":                            {"truncate t", "error truncate"},
		"whole tables":                        {"vacuum full t", "error vacuum-full"},
		"a plain vacuum":                      {"vacuum t", ""},
		"refresh concurrently":                {"refresh materialized view concurrently m", ""},
		"two tables":                          {"alter table t add a int; alter table u add a int", "warn multi-table-tx"},
		"two tables, one of them new":         {"create table t (); alter table t add a int; alter table u add a int", ""},
		"transactions":                        {"begin; select 1; commit; begin; select 2; commit", "warn tx-control"},
		"one transaction around":              {"begin; select 1; commit", ""},
		"a transaction that stays open":       {"begin; select 1", "warn tx-control, error uncommitted-tx"},
		"set":                                 {"set search_path = a", "warn session-set"},
		"set local, set role none":            {"set local search_path = a; reset all", ""},
		"set_config":                          {"select set_config('search_path', '', false), pg_catalog.set_config('x.y', '', true)", "warn session-set"},
		"a new value is used":                 {"alter type e add value 'x'; insert into t values ('x')", "error enum-add-used"},
		"a new value is used in a default":    {"alter type e add value 'x'; alter table t alter a set default 'x'", "error enum-add-used"},
		"a new value of a new type":           {"create type e as enum ('a'); alter type e add value 'x'; select 'x'::e", ""},
		"a new value in a function's body":    {"alter type e add value 'x'; create function f() returns text language sql as $$ select 'x' $$", ""},
		"rows, all":                           {"update t set a = 1", "error backfill-in-ddl"},
		"rows, by a condition":                {"update t set a = 1 where b > 2", "warn backfill-in-ddl"},
		"rows, few":                           {"update t set a = 1 where b = 2 and c is null; delete from t where id in (1, 2)", ""},
		"rows, not few":                       {"delete from t where id not in (1, 2); delete from t where a = 1 or b > 2", "warn backfill-in-ddl, warn backfill-in-ddl"},
		"rows, a batch":                       {"delete from t where ctid in (select ctid from t where a > 2 limit 1000)", ""},
		"rows, with a lock held":              {"alter table t add a int; update t set a = 1 where b > 2", "error backfill-in-ddl"},
		"rows of a new table":                 {"create table t (a int); update t set a = 1", ""},
		"the history":                         {"delete from schema_migrations where version = 1", "warn touches-history"},
		"roles and files":                     {"create role x superuser; copy t from program 'x'; copy t to '/x'; alter system set a = 1; create extension plpython3u", "error cloud-superuser, warn cloud-role, error cloud-superuser, error cloud-superuser, error cloud-superuser, warn cloud-extension"},
		"extensions that both clouds have":    {`create extension "uuid-ossp"; create extension if not exists pg_trgm`, ""},
		"a psql command":                      {"\\connect x\nselect 1", "error not-sql"},
		"nothing":                             {"-- nothing yet\n", ""},
		"empty":                               {"", "warn empty-up"},
		"a partition":                         {"create table q partition of p for values in (1)", "warn create-partition"},
		"a partition of a new table":          {"create table p (a int) partition by list (a); create table q partition of p for values in (1); create index on p (a)", ""},
		"an index of a partitioned table":     {"alter table p attach partition q for values in (1); alter table p detach partition q", "warn attach-no-check, warn detach, warn multi-table-tx"},
		"attach with a check":                 {"alter table q add constraint c check (a = 1); alter table p attach partition q for values in (1)", "error add-check"},
		"detach concurrently is fine":         {"alter table p detach partition q concurrently", ""},
		"a table that may be there":           {"create table t (a int); drop table t; create table if not exists t (a int); create index i on t (a)", ""},
		"a name in quotes":                    {`create index "I" on "S"."T" (a)`, "error index-not-concurrent"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := worse(offline(t, c.sql, lint.Offline{})); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
			}
		})
	}
}

func TestNotesAreFoundToo(t *testing.T) {
	found := offline(t, "create table t (id serial primary key, j json, at timestamp, c char(3), fk int references u); do $$ begin end $$; create index "+strings.Repeat("i", 70)+" on t (j)", lint.Offline{})
	var got []string
	for _, f := range found {
		got = append(got, f.Rule)
	}
	slices.Sort(got)
	if want := "create-table-fk do-block long-identifier missing-timeout type-char type-int-key type-json type-serial type-timestamp"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestASafeFormCanBePasted(t *testing.T) {
	for sql, want := range map[string]string{
		"create unique index i on t (a)":                             "-- alone in its file:\ncreate unique index CONCURRENTLY i on t (a);",
		`alter table "T" add constraint c check (a > 0)`:             "alter table \"T\" add constraint c check (a > 0) NOT VALID;\n-- in a later file:\nALTER TABLE \"T\" VALIDATE CONSTRAINT c;",
		"alter table t add foreign key (a, b) references s.u (c, d)": "ALTER TABLE t ADD CONSTRAINT t_a_b_fkey FOREIGN KEY (a, b) REFERENCES s.u (c, d) NOT VALID;\n-- in a later file:\nALTER TABLE t VALIDATE CONSTRAINT t_a_b_fkey;",
		`alter table t add unique (a, "order")`:                      "-- in a file of its own:\nCREATE UNIQUE INDEX CONCURRENTLY t_a_order_key ON t (a, \"order\");\n-- then:\nALTER TABLE t ADD CONSTRAINT t_a_order_key UNIQUE USING INDEX t_a_order_key;",
		"alter table t add x int, add check ((a > 0) and b <> '(')":  "ALTER TABLE t ADD CONSTRAINT t_check CHECK ((a > 0) and b <> '(') NOT VALID;\n-- in a later file:\nALTER TABLE t VALIDATE CONSTRAINT t_check;",
		"drop index s.i":                   "-- alone in its file:\nDROP INDEX CONCURRENTLY s.i;",
		"set search_path = a":              "set LOCAL search_path = a;",
		"alter table p detach partition q": "-- alone in its file:\nalter table p detach partition q CONCURRENTLY;",
		"alter table t add column a varchar(20) default gen_random_uuid()::text":      "ALTER TABLE t ADD COLUMN a varchar(20);\nALTER TABLE t ALTER COLUMN a SET DEFAULT ...;\n-- in a later file with -- dbops:no-transaction: fill the old rows in batches",
		"refresh materialized view m":                                                 "REFRESH MATERIALIZED VIEW CONCURRENTLY m;",
		"reindex (verbose) table t":                                                   "-- alone in its file:\nreindex (verbose) table CONCURRENTLY t;",
		"alter table t alter column n type numeric(3,1), alter column n drop default": "ALTER TABLE t ADD COLUMN n_new numeric(3,1);\n-- write both columns in the code, fill the old rows in batches, read the new one, and in a later release:\nALTER TABLE t DROP COLUMN n;",
	} {
		found := offline(t, sql, lint.Offline{})
		if i := slices.IndexFunc(found, func(f lint.Finding) bool { return f.Rewrite == want }); i < 0 {
			t.Errorf("%s: nothing says\n%s\nof %+v", sql, want, found)
		}
	}
}

func TestVersionsDecide(t *testing.T) {
	newer := "alter table t add constraint n not null a not valid"
	for major, want := range map[int]string{0: "not-judged", 18: "not-judged", 16: "syntax"} {
		if found := offline(t, newer, lint.Offline{Major: major}); len(found) != 1 || found[0].Rule != want || found[0].Column != 32 {
			t.Errorf("%d: %+v, want %s", major, found, want)
		}
	}
	found := offline(t, newer+"; create index i on t (a)", lint.Offline{}) // one that is not known does not hide the others
	if got := worse(found); got != "error index-not-concurrent" || found[1].Line != 1 || found[1].Column != 54 {
		t.Errorf("%s: %+v", got, found)
	}
	f := offline(t, "alter table t alter a set not null", lint.Offline{Major: 18})[0]
	if !strings.Contains(f.Rewrite, "ADD CONSTRAINT t_a_not_null NOT NULL a NOT VALID") {
		t.Errorf("18: %s", f.Rewrite)
	}
	for provider, want := range map[string]string{"rds": "", "cloudsql": "warn cloud-extension", "postgres": "", "": "warn cloud-extension"} {
		if got := worse(offline(t, "create extension aws_s3", lint.Offline{Provider: provider})); got != want {
			t.Errorf("%s: %s, want %s", provider, got, want)
		}
	}
}

func TestACommentAllowsAFinding(t *testing.T) {
	for name, c := range map[string]struct{ sql, want string }{
		"above":              {"-- why\n-- dbops:allow index-not-concurrent it is small\ncreate index i on t (a)", ""},
		"behind":             {"create index i on t (a); -- dbops:allow index-not-concurrent it is small\nselect 1", ""},
		"in a long one":      {"--dbops:allow drop-column gone\nalter table t\n  add a int,\n  drop column b", ""},
		"of another rule":    {"-- dbops:allow add-check it is small\ncreate index i on t (a)", "warn allow, error index-not-concurrent"},
		"without a reason":   {"-- dbops:allow index-not-concurrent\ncreate index i on t (a)", "warn allow, error index-not-concurrent"},
		"of no rule":         {"-- dbops:allow index because\nselect 1", "warn allow"},
		"of the next only":   {"-- dbops:allow index-not-concurrent it is small\ncreate index i on t (a);\ncreate index j on t (b)", "error index-not-concurrent"},
		"in a string":        {"select '\n-- dbops:allow index-not-concurrent it is small\n'; create index i on t (a)", "error index-not-concurrent"},
		"of a syntax error":  {"-- dbops:allow syntax I insist\nselct 1", "warn allow, error syntax"},
		"of two":             {"-- dbops:allow rename-table a\n-- dbops:allow cascade b\nalter table t rename to u;", "warn allow"},
		"of the whole file":  {"-- dbops:allow multi-table-tx quiet hours\nalter table t add a int;\nalter table u add a int", "warn allow, warn multi-table-tx"},
		"at its second part": {"alter table t add a int;\n-- dbops:allow multi-table-tx quiet hours\nalter table u add a int", ""},
	} {
		t.Run(name, func(t *testing.T) {
			found := offline(t, c.sql, lint.Offline{Major: 16})
			if got := worse(found); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.sql, got, c.want)
			}
			for _, f := range found {
				if f.Allowed != "" && f.Severity != lint.Info {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func migrations(t *testing.T, files map[string]string) *source.Folder {
	t.Helper()
	dir := t.TempDir()
	for name, sql := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(sql), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := source.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilesThatRunTogetherAndFilesThatDoNot(t *testing.T) {
	f := migrations(t, map[string]string{
		"1_a.up.sql": "create table t (a varchar(3) not null, b int)", "1_a.down.sql": "drop table t",
		"2_b.up.sql": "create index i on t (a)", "2_b.down.sql": "drop index i",
		"3_c.up.sql": "alter table t alter a type text; alter table t add constraint c check (b is not null) not valid", "3_c.down.sql": "alter table t drop constraint c",
		"4_d.up.sql": "alter table t validate constraint c; alter table t alter b set not null", "4_d.down.sql": "alter table t alter b drop not null",
		"5_e.up.sql": "alter type e add value 'x'", "5_e.down.sql": "select 1",
		"6_f.up.sql": "alter type e add value 'y'", "6_f.down.sql": "-- dbops: irreversible: values stay\n",
		"9_g.up.sql": "drop table t",
	})
	in := lint.Inputs(f)
	if got, want := worse(check(t, lint.New(), lint.Offline{}, in...)), "warn enum-add-down, warn missing-down"; got != want {
		t.Errorf("together: %s, want %s", got, want)
	}
	if got, want := worse(check(t, &lint.Linter{Apart: true}, lint.Offline{}, in...)), "error index-not-concurrent, warn drop-index, warn enum-add-down, warn missing-down, error drop-table"; got != want {
		t.Errorf("apart: %s, want %s", got, want)
	}
	for i := range in {
		in[i].Old = in[i].Migration.Version < 4
	}
	if got, want := worse(check(t, lint.New(), lint.Offline{}, in...)), "warn enum-add-down, warn missing-down, error drop-table"; got != want {
		t.Errorf("of the new ones: %s, want %s", got, want)
	}
}

func TestWhatIsWrongWithAFolderIsAFinding(t *testing.T) {
	f := migrations(t, map[string]string{"1_a.up.sql": "select 1", "01_b.up.sql": "select 1", "x.sql": "", "2_c.up.sqll": "", "3_d.up.sql": "\\d", "4_e.up.sql": "select '\xff'", "5_f.down.sql": ""})
	var got []string
	for _, found := range lint.FolderFindings(f) {
		got = append(got, string(found.Severity)+" "+found.Rule+" "+filepath.Base(found.File))
	}
	slices.Sort(got)
	if want := "error file-name 1_a.up.sql|error file-name 2_c.up.sqll|error not-sql 3_d.up.sql|error not-sql 4_e.up.sql|warn file-name x.sql"; strings.Join(got, "|") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "|"), want)
	}
	if got, want := worse(check(t, lint.New(), lint.Offline{}, lint.Inputs(f)...)), "warn missing-down, warn missing-down, warn missing-down, warn missing-up, warn empty-down"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDropsTellsWhatDataGoes(t *testing.T) {
	got, err := lint.Drops("drop table if exists s.a, b cascade; alter table t drop column x, drop constraint c, add y int; drop schema z;\ntruncate u; delete from v; delete from w where a = 1; drop index i; drop materialized view m; drop view n")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, d := range got {
		texts = append(texts, d.String())
	}
	want := "table s.a, table b, column t.x, schema z, all rows of u, all rows of v, some rows of w, materialized view m"
	if strings.Join(texts, ", ") != want || !got[0].Cascade || got[2].Cascade || got[4].Line != 2 {
		t.Errorf("got %s, want %s: %+v", strings.Join(texts, ", "), want, got)
	}
	if _, err := lint.Drops("drop tabel t"); err == nil {
		t.Error("a statement that is not known drops nothing")
	}
}

func TestEveryRuleSaysWhatAPersonNeeds(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range lint.Rules() {
		if seen[r.ID] || r.Title == "" || r.Why == "" || r.Severity == "" || r.Harm == "" || (r.Severity == lint.Error && r.Rewrite == "" && r.Harm != "fails" && r.ID != "index-not-concurrent" && !strings.HasPrefix(r.ID, "add-")) {
			t.Errorf("%+v", r)
		}
		seen[r.ID] = true
	}
}

func TestReports(t *testing.T) {
	found := offline(t, "create index i on t (a);\n-- dbops:allow drop-table a, b: 50%\ndrop table t; alter table t enable row level security", lint.Offline{})
	found[0].File = "a b,c:d.sql"
	r := lint.NewReport(1, found, false)
	if got, want := r.Summary(), "1 file: 1 error, 0 warnings, 2 notes, 1 allowed"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if !r.Fails(lint.Error) || lint.NewReport(1, found[1:], true).Fails(lint.Warn) {
		t.Error("an error fails, what is allowed does not")
	}
	i := slices.IndexFunc(r.Findings, func(f lint.Finding) bool { return f.Rule == "index-not-concurrent" })
	r.Findings[0], r.Findings[i] = r.Findings[i], r.Findings[0]
	r.Findings[0].File = "a b,c:d.sql"
	t.Run("text", func(t *testing.T) {
		want := `x a b,c:d.sql:1:1  index-not-concurrent
  lock  SHARE on t: blocks writes while it builds the index
  why   index i is built while nobody can write to t; CREATE INDEX without CONCURRENTLY keeps writers out until it is done
  do    -- alone in its file:
        create index CONCURRENTLY i on t (a);

- 1_x.up.sql:3:1  drop-table is allowed: a, b: 50%

`
		if got := r.Text(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("github", func(t *testing.T) {
		want := "::error file=a b%2Cc%3Ad.sql,line=1,col=1,title=dbops migrate lint%3A index-not-concurrent::SHARE on t: blocks writes while it builds the index. index i is built while nobody can write to t; CREATE INDEX without CONCURRENTLY keeps writers out until it is done.%0A-- alone in its file:%0Acreate index CONCURRENTLY i on t (a);\n"
		if got := r.GitHub(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("sarif", func(t *testing.T) { sarifShape(t, r) })
}

// sarifShape holds a report against what SARIF 2.1.0 requires, and what GitHub reads.
func sarifShape(t *testing.T, r *lint.Report) {
	t.Helper()
	text, err := json.Marshal(r.SARIF("1.2.3"))
	if err != nil {
		t.Fatal(err)
	}
	var log struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			ColumnKind string
			Tool       struct {
				Driver struct {
					Name, Version string
					Rules         []struct {
						ID                                      string
						ShortDescription, FullDescription, Help struct{ Text string }
						DefaultConfiguration                    struct{ Level string }
					}
				}
			}
			Results []struct {
				RuleID, Level string
				RuleIndex     int
				Message       struct{ Text string }
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
				PartialFingerprints map[string]string
				Suppressions        []struct{ Kind, Justification string }
			}
		}
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&log); err != nil && !strings.Contains(err.Error(), "markdown") {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if log.Version != "2.1.0" || log.Schema == "" || len(log.Runs) != 1 || run.Tool.Driver.Name == "" || run.ColumnKind != "unicodeCodePoints" {
		t.Errorf("%s", text)
	}
	levels := []string{"none", "note", "warning", "error"}
	for _, rule := range run.Tool.Driver.Rules {
		if rule.ID == "" || rule.ShortDescription.Text == "" || rule.FullDescription.Text == "" || rule.Help.Text == "" || !slices.Contains(levels, rule.DefaultConfiguration.Level) {
			t.Errorf("rule %+v", rule)
		}
	}
	for _, res := range run.Results {
		at := res.Locations[0].PhysicalLocation
		if run.Tool.Driver.Rules[res.RuleIndex].ID != res.RuleID || !slices.Contains(levels, res.Level) || res.Message.Text == "" || at.Region.StartLine < 1 || at.Region.StartColumn < 1 || len(res.PartialFingerprints) != 1 {
			t.Errorf("result %+v", res)
		}
	}
	if uri := run.Results[0].Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != "a%20b%2Cc:d.sql" && uri != "a%20b,c:d.sql" {
		t.Errorf("URI %s", uri)
	}
	if s := run.Results[1].Suppressions; len(s) != 1 || s[0].Kind != "inSource" || s[0].Justification != "a, b: 50%" {
		t.Errorf("suppressions %+v", s)
	}
}

func TestCheckEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lint.New().Check(ctx, []lint.Input{{SQL: "select 1"}, {SQL: "select 1"}}, lint.Offline{}); err == nil {
		t.Error("it went on")
	}
}
