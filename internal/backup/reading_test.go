package backup

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
)

// as logs in to a server as a role.
func as(t *testing.T, s *pgtest.Server, role string) dial {
	t.Helper()
	return func(ctx context.Context, database string) (*pgx.Conn, error) {
		cfg, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		cfg.Config = *s.ConfigFor(t, role, s.Password, database)
		return pgx.ConnectConfig(ctx, cfg)
	}
}

func TestADatabaseIsReadWithoutItsContents(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			s := pgtest.Start(t, major)
			db := s.Database(t)
			reader := "reader_" + db
			s.Exec(t, db, `create role `+reader+` login password '`+s.Password.Reveal()+`'`,
				`create schema shop; grant usage on schema shop to `+reader,
				`create table shop.item (id int primary key check (id > 0), name text default 'x' not null, twice int generated always as (id * 2) stored)`,
				`create table shop."Odd ""Name" (id int references shop.item)`,
				`create table shop.big as select i, repeat('x', 100) as pad from generate_series(1, 20000) i`,
				`create table shop.raw as select i from generate_series(1, 20000) i`,
				`create table shop.secret (id int)`, `create table shop.mine (id int); alter table shop.mine enable row level security`,
				`create table shop.part (id int) partition by range (id); create table shop.part_1 partition of shop.part for values from (1) to (100)`,
				`create unlogged table shop.cache (id int)`, `create materialized view shop.names as select name from shop.item`,
				`create type shop.mood as enum ('good', 'bad'); create domain shop.positive as int check (value > 0)`,
				`create function shop.one(a int) returns int language sql as 'select 1'; create procedure shop.two() language sql as 'select 1'`,
				`create policy own on shop.mine using (id = 1)`,
				`insert into shop.item (id) select generate_series(1, 10); insert into shop.part values (5)`,
				`grant select on all tables in schema shop to `+reader+`; revoke select on shop.secret from `+reader, `analyze shop.big`)
			t.Cleanup(func() { s.Exec(t, db, `drop owned by `+reader, `drop role `+reader) })

			r, err := read(t.Context(), &op.Session{}, as(t, s, reader), []string{db, "no_such_database"}, 300_000)
			if err != nil {
				t.Fatal(err)
			}
			d := r.Databases[db]
			if r.Databases["no_such_database"].Problem == "" || d.Problem != "" || d.Bytes == 0 || r.At.Before(r.Begun) || time.Since(r.At) > time.Minute || r.LSN == "" {
				t.Errorf("got %+v", r)
			}
			for name, want := range map[string]count{
				"shop.item": {Rows: 10, Exact: true, Writes: d.Tables["shop.item"].Writes}, `shop."Odd ""Name"`: {Exact: true}, "shop.part_1": {Rows: 1, Exact: true, Writes: d.Tables["shop.part_1"].Writes},
				"shop.cache": {Exact: true, Unlogged: true}, "shop.names": {Exact: true},
				"shop.big": {Rows: d.Tables["shop.big"].Rows, Writes: d.Tables["shop.big"].Writes},
			} {
				if got := d.Tables[name]; got == nil || *got != want {
					t.Errorf("%s: got %+v, want %+v", name, got, want)
				}
			}
			if n := d.Tables["shop.big"].Rows; n < 18_000 || n > 22_000 {
				t.Errorf("about %d rows", n)
			}
			for name, why := range map[string]string{"shop.secret": "may not read", "shop.mine": "row security", "shop.raw": "never analyzed"} {
				if got := d.Tables[name]; got == nil || !strings.Contains(got.Problem, why) || got.Exact {
					t.Errorf("%s: got %+v", name, got)
				}
			}
			if d.Tables["shop.part"] != nil {
				t.Error("a partitioned table is counted with its partitions")
			}
			for _, o := range []string{
				"schema shop", "relation shop.item", "constraint shop.shop.item.item_pkey", "index shop.item_pkey", "function shop.one(a integer)", "function shop.two()",
				"type shop.mood", "type shop.positive", "policy shop.mine.own", "extension plpgsql", "relation shop.names",
			} {
				if d.Objects[o] == "" {
					t.Errorf("%s is missing in %v", o, d.Objects)
				}
			}
			again, err := read(t.Context(), &op.Session{}, as(t, s, pgtest.User), []string{db}, 300_000)
			if err != nil || fmt.Sprint(again.Databases[db].Objects) != fmt.Sprint(d.Objects) {
				t.Errorf("another login reads other objects: %v", err)
			}
		})
	}
}

func TestTheNewestCommitIsKnownWhereItIsKept(t *testing.T) {
	t.Parallel()
	s := pgtest.StartOwn(t, 16)
	db := s.Database(t)
	newest := func(upTo time.Time) commits {
		t.Helper()
		c, err := newestCommit(t.Context(), as(t, s, pgtest.User), db, upTo, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if c := newest(time.Now()); c.Method != byWord || !c.Newest.IsZero() {
		t.Errorf("not kept: %+v", c)
	}
	if err := s.World.Restart(t.Context(), map[string]string{"track_commit_timestamp": "on"}); err != nil {
		t.Fatal(err)
	}
	s.Exec(t, db, "create table one ()")
	between := time.Now()
	s.Exec(t, db, "create table two ()")
	if c := newest(time.Now()); c.Method != byCommit || !c.Newest.After(between) {
		t.Errorf("got %+v, which is not after %s", c, between)
	}
	if c := newest(between); c.Method != byCommit || c.Newest.After(between) {
		t.Errorf("got %+v, which is after %s", c, between)
	}
}
