package lint_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
	"dbops/internal/sandbox/pgtest"
)

// played is a catalog that knows one table.
type played struct{ lint.Relation }

func (p played) Look(context.Context, lint.Question) (*lint.Facts, error) {
	return &lint.Facts{Connected: true, Major: 16, Relations: map[lint.Name]lint.Relation{{Rel: "orders"}: p.Relation}}, nil
}

func (played) Syntax(_ context.Context, s []string) ([]*lint.SyntaxError, error) {
	return make([]*lint.SyntaxError, len(s)), nil
}

func TestTheRealTableDecides(t *testing.T) {
	const day = 86400
	for name, c := range map[string]struct {
		sql  string
		of   lint.Relation
		want string // of the first finding
	}{
		"40 GB under traffic": {
			"alter table orders alter id type bigint",
			lint.Relation{Kind: "r", Bytes: 40 << 30, Rows: 120e6, Reads: 1200 * day, Writes: 30 * day, Seconds: day},
			"error; blocks reads and writes while it writes 40 GB and its indexes anew; orders: 40 GB, about 120,000,000 rows, 1,200 scans and 30 rows written a second",
		},
		"empty": {
			"alter table public.orders alter id type bigint",
			lint.Relation{Kind: "r", Seconds: day},
			"info; blocks reads and writes while it writes the whole table and its indexes anew; public.orders: empty table, fine",
		},
		"of milliseconds": {"create index i on orders (id)", lint.Relation{Kind: "r", Bytes: 80 << 10, Rows: 900, Reads: 5, Seconds: day}, "info; blocks writes while it builds the index; orders: 80 kB, about 900 rows, under 0.1 scans and no rows written a second"},
		"of a second":     {"create index i on orders (id)", lint.Relation{Kind: "r", Bytes: 20 << 20, Rows: -1, Reads: 5, Seconds: 1}, "warn; blocks writes while it builds the index; orders: 20 MB, 5.0 scans and no rows written a second"},
		"of unknown size": {"create index i on orders (id)", lint.Relation{Kind: "r", Bytes: -1, Rows: -1}, "error; blocks writes while it builds the index; orders: of unknown size: somebody holds it, no reads or writes seen"},
		"that nobody uses": {
			"drop trigger x on orders",
			lint.Relation{Kind: "r", Bytes: 40 << 30, Rows: 1, Seconds: day},
			"info; blocks reads and writes for a moment, and while it waits behind what runs; orders: 40 GB, about 1 rows, no reads or writes seen",
		},
		"that nobody was seen to use yet": {
			"drop trigger x on orders",
			lint.Relation{Kind: "r", Bytes: 40 << 30, Rows: 1, Seconds: 60},
			"warn; blocks reads and writes for a moment, and while it waits behind what runs; orders: 40 GB, about 1 rows, no reads or writes seen",
		},
		"rows that go": {"drop table orders", lint.Relation{Kind: "r", Bytes: 8192, Rows: 3, Seconds: day}, "error; blocks reads and writes for a moment, and while it waits behind what runs; orders: 8.0 kB, about 3 rows, no reads or writes seen"},
		"a required column of an empty table": {
			"alter table orders add column a int not null", lint.Relation{Kind: "r", Seconds: day}, "info; blocks reads and writes; orders: empty table, fine",
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := check(t, lint.New(), played{c.of}, lint.Input{Path: "1_x.up.sql", SQL: c.sql, Direction: source.Up})
			f := found[slices.IndexFunc(found, func(f lint.Finding) bool { return f.Blocks != "" })]
			if got := string(f.Severity) + "; " + f.Blocks + "; " + f.Seen; got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAConnectionTells(t *testing.T) {
	s := pgtest.Start(t, 16)
	name := s.Database(t)
	conn, other := s.Superuser(t, name), s.Superuser(t, name)
	run(t, conn, `create table p (id int, note text) partition by range (id); create table p1 partition of p for values from (0) to (100000);
		insert into p select i, 'x' from generate_series(1, 50000) i; create table empty (id int, note text); create schema s; create table s.t (v varchar(10), n text not null, c int);
		insert into s.t select 'x', 'x', 1 from generate_series(1, 50000); create index t_v on s.t (v); create table held (id int); insert into held values (1);
		alter table s.t add constraint proof check (c is not null); create function calm() returns int immutable language sql as 'select 1'`)
	run(t, other, "begin; lock table held")
	defer run(t, other, "rollback")
	for sql, want := range map[string]string{
		"create index i on p (id)":                                              "warn partitioned-index",
		"create index i on empty (id)":                                          "",
		"alter table s.t alter v type varchar(20)":                              "",
		"alter table s.t alter v type varchar(5)":                               "warn alter-type-rewrite",
		"alter table s.t alter n set not null":                                  "",
		"alter table s.t alter c set not null":                                  "",
		"alter table s.t add column x int default calm()":                       "",
		"alter table held add constraint c check (id > 0)":                      "error add-check",
		"create table if not exists s.t (a int); create index i on s.t (c)":     "warn index-not-concurrent",
		"create table if not exists fresh (a int); create index i on fresh (a)": "",
		"drop index s.t_v":                                                      "warn drop-index",
		"alter table nowhere add constraint c check (a>0)":                      "error add-check",
		"create extension not_to_be_had":                                        "error cloud-extension",
		"selct 'ä', 1":                                                          "error syntax",
		"select 1 from nowhere; alter table nowhere add a int; create index concurrently on nowhere (a)": "warn cic-in-tx",
		"create table v (a int, b int generated always as (a) virtual)":                                  "error syntax",
	} {
		found := look(t, conn, sql)
		if got := worse(found); got != want {
			t.Errorf("%s: %s, want %s: %+v", sql, got, want, found)
		}
	}
	f := look(t, conn, "drop index s.t_v")[0]
	if f.Object != "s.t" || !strings.HasPrefix(f.Seen, "s.t: 1.8 MB") {
		t.Errorf("the table of an index: %+v", f)
	}
	f = look(t, conn, "select 1;\nselect 'ä' fro m m")[0]
	if f.Line != 2 || f.Column != 16 || f.Rule != "syntax" || !strings.Contains(f.Why, `PostgreSQL 16 says: syntax error at or near "m"`) {
		t.Errorf("the place of a mistake: %+v", f)
	}
	many := strings.Repeat("select 1;\n", 500) + "selct 2"
	if f = look(t, conn, many)[0]; f.Line != 501 {
		t.Errorf("the last of many: %+v", f)
	}
	var n int
	if err := conn.QueryRow(t.Context(), "select count(*) from pg_class where relname in ('v', 'i')").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d things were made: %v", n, err)
	}
}
