package split_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"dbops/internal/migrate/split"
)

func texts(all []split.Statement) (out []string) {
	for _, s := range all {
		out = append(out, s.Text)
	}
	return out
}

func TestStatementsEndAtSemicolonsOutsideOfQuotesAndBodies(t *testing.T) {
	for name, c := range map[string]struct {
		sql  string
		want []string
	}{
		"plain":                 {"select 1; select 2", []string{"select 1", "select 2"}},
		"comments around":       {"-- a;\n/* b; /* c; */ ; */ select 1 ; -- d", []string{"select 1"}},
		"empty statements":      {";;\n;", nil},
		"string":                {"select 'a;b''c;';x", []string{"select 'a;b''c;'", "x"}},
		"escape string":         {`select E'a\';b';x`, []string{`select E'a\';b'`, "x"}},
		"backslash at end":      {`select 'a\';x`, []string{`select 'a\'`, "x"}},
		"quoted name":           {`select ";"";";x`, []string{`select ";"";"`, "x"}},
		"dollar":                {"do $$ begin; end $$; x", []string{"do $$ begin; end $$", "x"}},
		"dollar with tag":       {"do $a$ $$;$b$; $a$; x", []string{"do $a$ $$;$b$; $a$", "x"}},
		"parameter":             {"select $1; select a$b$; x", []string{"select $1", "select a$b$", "x"}},
		"rule":                  {"create rule r as on insert to t do (a; b); x", []string{"create rule r as on insert to t do (a; b)", "x"}},
		"atomic":                {"create function f() returns int begin atomic select case when true then 1 end; select 2; end; x", []string{"create function f() returns int begin atomic select case when true then 1 end; select 2; end", "x"}},
		"begin is not atomic":   {"begin; select 1; end; x", []string{"begin", "select 1", "end", "x"}},
		"unicode":               {"select 'ä;ö'; sélect 1", []string{"select 'ä;ö'", "sélect 1"}},
		"unmatched parenthesis": {"select 1); x", []string{"select 1)", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, problems := split.Split(c.sql)
			if len(problems) > 0 || !slices.Equal(texts(got), c.want) {
				t.Errorf("got %q and problems %v, want %q", texts(got), problems, c.want)
			}
		})
	}
}

func TestAStatementKnowsItsPlace(t *testing.T) {
	got, _ := split.Split("-- ä\nselect 1;\n  /* ö */ select 'ü'; select 3")
	var places [][2]int
	for _, s := range got {
		places = append(places, [2]int{s.Line, s.Column})
	}
	if want := [][2]int{{2, 1}, {3, 11}, {3, 23}}; !slices.Equal(places, want) { // in characters, not bytes
		t.Errorf("places %v, want %v", places, want)
	}
}

func TestWhatNoServerTakesIsAProblem(t *testing.T) {
	for sql, want := range map[string]string{
		"select 'a":             "1:8 a quote ' is not closed",
		"\nselect \"a":          "2:8 a quote \" is not closed",
		"do $x$ a":              "1:4 a quote $x$ is not closed",
		"select 1 /* /* */":     "1:10 a comment /* is not closed",
		"\\connect x\nselect 1": `1:1 psql's command \connect is not SQL`,
		"select 1 \\gexec":      `1:10 psql's command \gexec is not SQL`,
		"select 1;\ncopy t (a) from stdin with (format csv);\n1'\n\\.\nselect 2;": "2:1 COPY ... FROM STDIN needs data from a client",
	} {
		t.Run(sql, func(t *testing.T) {
			st, problems := split.Split(sql)
			if len(problems) != 1 {
				t.Fatalf("problems %v", problems)
			}
			p := problems[0]
			if got := fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Text); got != want || p.Remedy == "" {
				t.Errorf("%s (%s), want %s", got, p.Remedy, want)
			}
			if strings.Contains(sql, "copy t") && st[len(st)-1].Text != "select 2" { // what follows the data is read
				t.Errorf("statements %q", texts(st))
			}
		})
	}
}

func TestModes(t *testing.T) {
	for sql, want := range map[string]string{
		"create table a()": "tx",
		"begin; create table a(); create table b(); commit;":      "tx outer",
		"BEGIN TRANSACTION; select 1; END;":                       "tx outer",
		"begin isolation level serializable; select 1; commit":    "stepwise it has transactions of its own",
		"begin; select 1; commit; begin; select 2; commit":        "stepwise it has transactions of its own",
		"create unique index concurrently i on t(a)":              "stepwise CREATE UNIQUE INDEX CONCURRENTLY cannot run in a transaction",
		"set x=1; drop index concurrently i":                      "stepwise DROP INDEX CONCURRENTLY cannot run in a transaction",
		"reindex (verbose) table concurrently t":                  "stepwise REINDEX CONCURRENTLY cannot run in a transaction",
		"alter table p detach partition q concurrently":           "stepwise DETACH PARTITION CONCURRENTLY cannot run in a transaction",
		"vacuum analyze t":                                        "stepwise VACUUM cannot run in a transaction",
		"alter type e add value 'x'":                              "tx",
		"create index i on t(concurrently)":                       "tx",
		"create index \"concurrently\" on t(a)":                   "tx",
		"-- a\n-- dbops:no-transaction\nupdate t set a=1":         "stepwise it says -- dbops:no-transaction",
		"-- +goose NO TRANSACTION\nselect 1":                      "stepwise it says -- +goose no transaction",
		"select 1;\n-- dbops:no-transaction":                      "tx",
		"begin; create index concurrently i on t(a); commit":      "stepwise CREATE INDEX CONCURRENTLY cannot run in a transaction",
		"savepoint a; create table a(); rollback to a; release a": "tx",
		"rollback": "stepwise it has transactions of its own",
	} {
		t.Run(sql, func(t *testing.T) {
			f := split.Read(sql)
			got := string(f.Mode)
			if f.Outer {
				got += " outer"
			}
			if f.Why != "" {
				got += " " + f.Why
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"select 1;", "do $a$;$a$", "e'\\'", "/*/**/", "copy a from stdin;\n\\.\n", "create f begin atomic case end; end"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		st, problems := split.Split(sql)
		end := 0
		for _, s := range st {
			if s.Start < end || s.End < s.Start || sql[s.Start:s.End] != s.Text || s.Text == "" {
				t.Fatalf("%q: statement %+v after %d", sql, s, end)
			}
			if line, column := split.Place(sql, s.Start); line != s.Line || column != s.Column {
				t.Fatalf("%q: statement at %d:%d, not %d:%d", sql, line, column, s.Line, s.Column)
			}
			end = s.End
		}
		if len(problems) == 0 && len(st) > 0 { // what it returns is what it would return of each alone
			for _, s := range st {
				if again, _ := split.Split(s.Text); len(again) != 1 || again[0].Text != s.Text {
					t.Fatalf("%q: %q is not one statement", sql, s.Text)
				}
			}
		}
	})
}

func TestNamesOfConcurrentIndexes(t *testing.T) {
	for sql, want := range map[string][2]string{
		"create index concurrently i on t(a)":                                                {"i", "t"},
		"create /* x */ unique index concurrently if not exists \"I x\" on only s.\"T\" (a)": {`"I x"`, `s."T"`},
		"CREATE INDEX CONCURRENTLY ON public.t USING btree (a)":                              {"", "public.t"},
		"create index i on t(a)":                                                             {"", ""},
	} {
		st, _ := split.Split(sql)
		if index, table := st[0].IndexNames(); [2]string{index, table} != want {
			t.Errorf("%s: %q on %q", sql, index, table)
		}
	}
	st, _ := split.Split(`drop index concurrently if exists a, s."b, c" cascade`)
	if got := st[0].DroppedIndexes(); !slices.Equal(got, []string{"a", `s."b, c"`}) {
		t.Errorf("dropped %q", got)
	}
}
