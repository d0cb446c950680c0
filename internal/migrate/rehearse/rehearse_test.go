package rehearse

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/migrate/driver"
	"dbops/internal/migrate/source"
	"dbops/internal/pg/catalog"
	"dbops/internal/sandbox/pgtest"
)

const shop = `create table orders (id int primary key, customer int, note varchar(10), placed timestamp);
create table customers (id int primary key, name text);
create index orders_placed on orders (placed);
create type mood as enum ('sad');
create view names as select id, name from customers where id > 0;
`

func TestWhatStatementsDoIsSeen(t *testing.T) {
	for _, major := range []int{14, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := newStage(t, major, "1_shop.up.sql", "begin;"+shop+";commit")
			s.write("2_change.up.sql", `alter table orders add column extra text;
alter table orders alter id type bigint;
create index on orders (customer);
do $$ begin execute 'alter table customers alter name set not null'; end $$;
create table fresh (id int); alter table fresh add primary key (id);
alter table orders add foreign key (customer) references customers;
update customers set name = 'hunter2' where id = 1;
alter table orders alter note type text;
truncate orders;
drop index orders_placed;`,
				"3_enum.up.sql", "alter type mood add value 'glad'",
				"4_index.up.sql", `create unique index concurrently pairs on orders (id, customer);
comment on table orders is 'hunter2';
begin; alter table customers add mark int; commit;
drop index concurrently pairs;
vacuum customers;
reindex table concurrently orders;`)
			r := s.run()
			if f := r.Facts.Failed(); f != nil || r.Facts.Base != Replayed || !r.Facts.Exact() {
				t.Fatal(text(t, r))
			}
			same(
				t, effects(r),
				"1: locks public.orders (ACCESS EXCLUSIVE: nobody reads or writes it)",
				"2: rewrites public.orders and its indexes (empty)",
				"3: builds public.orders_customer_idx on public.orders (empty)",
				"4: reads public.customers (empty), how much of it is not known",
				"4: locks public.customers (ACCESS EXCLUSIVE: nobody reads or writes it)",
				"6: reads all of public.orders (empty)",
				"7: changes rows of public.customers (empty); how many, and how long that takes, is not known",
				"9: empties public.orders (empty)",
				// of the next file but one
				"1: builds public.pairs on public.orders (empty)",
				"1: locks public.orders (SHARE UPDATE EXCLUSIVE: reads and writes go on)",
				"2: locks public.orders (SHARE UPDATE EXCLUSIVE: reads and writes go on)",
				"3: locks public.customers (ACCESS EXCLUSIVE: nobody reads or writes it)",
				"4: locks public.orders (SHARE UPDATE EXCLUSIVE: reads and writes go on)",
				"5: locks public.customers (SHARE UPDATE EXCLUSIVE: reads and writes go on)",
				"6: builds public.orders_customer_idx, public.orders_pkey on public.orders (empty)",
				"6: locks public.orders (SHARE UPDATE EXCLUSIVE: reads and writes go on)",
			)
			same(
				t, catalog.Words(r.Facts.Changes),
				"index public.orders_placed on public.orders removed",
				"column public.customers.name: text → text not null",
				"column public.orders.id: integer not null → bigint not null",
				"column public.orders.note: character varying(10) → text",
				"enum public.mood: 'sad' → 'sad', 'glad'",
				"column public.customers.mark added: integer",
				"column public.orders.extra added: text",
				"comment table public.orders added: 'hunter2'",
				"constraint public.orders.orders_customer_fkey added: FOREIGN KEY (customer) REFERENCES public.customers(id)",
				"index public.orders_customer_idx on public.orders added: USING btree (customer)",
				"table public.fresh added (1 column, 1 constraint)",
			)
			if held := r.Facts.Files[0].Held; len(held) != 2 || held[0].Mode != "ACCESS EXCLUSIVE" {
				t.Errorf("held %v", held)
			}
			for _, f := range r.Facts.Files {
				for _, st := range f.Statements {
					if strings.Contains(st.Text, "hunter2") {
						t.Errorf("a literal in %q", st.Text)
					}
				}
			}
			out := text(t, r)
			for _, want := range []string{
				"  4 more statements: no new lock, nothing read or built\n  locked until it has ended: public.orders, public.customers (ACCESS EXCLUSIVE: nobody reads or writes it)\n",
				"3_enum.up.sql (one transaction)\n  1 more statement", "4_index.up.sql (statement by statement)\n  1:1  create unique index concurrently pairs on orders (id, customer)\n",
				"what statements about rows do, and how long, is not seen",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
}

func TestAFileThatFailsIsPlaced(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	q := s.request()
	b := s.bench(q)
	p, err := b.player(t.Context(), b.db)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	for name, c := range map[string]struct{ sql, want, excerpt string }{
		"a name":            {"select 1;\n\n  alter table orders add x nonsense;", "2_x.up.sql:3:28: type \"nonsense\" does not exist (SQLSTATE 42704)", "3 |   alter table orders add x nonsense;\n                               ^"},
		"without a place":   {"select 1;\n  create table orders ();", "2_x.up.sql:2:3: relation \"orders\" already exists (SQLSTATE 42P07)", "2 |   create table orders ();\n      ^"},
		"at the end":        {"create table p (id int primary key); create table c (p int references p deferrable initially deferred); insert into c values (1)", "2_x.up.sql: insert or update on table \"c\" violates foreign key constraint \"c_p_fkey\" (SQLSTATE 23503)", ""},
		"a new enum value":  {"alter type mood add value 'x'; create table e (m mood default 'x')", "2_x.up.sql:1:63: unsafe use of new value \"x\" of enum type mood (SQLSTATE 55P04)", ""},
		"stepwise":          {"vacuum orders;\nselect nothing", "2_x.up.sql:2:8: column \"nothing\" does not exist (SQLSTATE 42703)", ""},
		"a role of nobody":  {"grant select on orders to nobody_of_this_name", "role \"nobody_of_this_name\" does not exist", ""},
		"a program":         {"copy orders from program 'id'", "permission denied to COPY to or from an external program", ""},
		"its transaction's": {"begin; select 1;", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.write("2_x.up.sql", c.sql)
			f, _, err := p.play(t.Context(), s.request().Jobs[0])
			if err != nil {
				t.Fatal(err)
			}
			if (f.Failure == nil) != (c.want == "") {
				t.Fatalf("%+v", f.Failure)
			}
			if c.want == "" {
				return
			}
			if got := f.Place() + ": " + f.Failure.String(); !strings.Contains(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
			if c.excerpt != "" && f.Failure.Excerpt != c.excerpt {
				t.Errorf("%q, want %q", f.Failure.Excerpt, c.excerpt)
			}
			if out := text(t, &Report{Facts: Facts{Files: []File{f}}}); !strings.Contains(out, "FAILS at 2_x.up.sql") {
				t.Error(out)
			}
		})
	}
}

func TestDriftIsFoundAndTheRehearsalIsOfWhatIsThere(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.exec(`create index by_hand on orders (note); alter table customers alter name set default 'x'; drop index orders_placed;
		create function f(t text) returns text language plpgsql as 'begin return t || ''\restrict ''; end'; grant select on orders to public`)
	s.server.Exec(t, s.db, "create extension pg_stat_statements with schema public") // as a cloud lets its customers
	s.write("2_x.up.sql", "drop index by_hand")
	r := s.run()
	same(t, DriftWords(r.Facts.Drift), "index public.orders_placed on public.orders is missing", "column public.customers.name: text → text default 'x'::text",
		"extension pg_stat_statements, which no file makes: in schema public", "function public.f(t text), which no file makes", "index public.by_hand on public.orders, which no file makes: USING btree (note)")
	if f := r.Facts.Failed(); f != nil || r.Facts.Base != Dumped || len(r.Facts.Partial) > 0 {
		t.Error(text(t, r))
	}
	t.Run("and without the files that made it", func(t *testing.T) {
		s.write("1_shop.up.sql", "create table other (); select 1/0")
		r := s.run(func(q *Request) { q.CacheDir = "" })
		if r.Facts.Base != Dumped || r.Facts.Failed() != nil || len(r.Facts.Partial) != 1 || !strings.Contains(r.Facts.Partial[0], "division by zero") {
			t.Error(text(t, r))
		}
		_, err := Run(t.Context(), s.request(func(q *Request) { q.Connect, q.CacheDir = nil, "" }))
		if err == nil || fault.HintOf(err) == "" || !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("%v (%s)", err, fault.HintOf(err))
		}
	})
	t.Run("a login that fails is told without its secrets", func(t *testing.T) {
		r := s.run(func(q *Request) {
			q.CacheDir = ""
			q.Applied = []*source.Migration{}
			q.Connect = func(context.Context, func(*pgx.ConnConfig)) (*pgx.Conn, error) {
				return nil, fault.Newf(fault.Denied, "log in", "the token is too old")
			}
		})
		if r.Facts.Base != Approximate || r.Facts.Exact() || !strings.Contains(strings.Join(r.Facts.Partial, " "), "the token is too old") {
			t.Error(text(t, r))
		}
	})
}

func TestOtherFoldersOfTheDatabaseAreNoDrift(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "1_other.up.sql"), []byte("create schema other; create table other.t (id int)"), 0o600); err != nil {
		t.Fatal(err)
	}
	table := driver.Table{Schema: "public", Name: "other_versions"}
	other, err := source.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := driver.Open(t.Context(), driver.Options{Connect: s.connect, What: "test", Table: table})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Apply(t.Context(), -1, []driver.Job{{Migration: other.Migrations[0], Direction: source.Up, Target: 1}}); err != nil {
		t.Fatal(err)
	}
	st, err := driver.ReadState(t.Context(), s.conn, table)
	if err != nil {
		t.Fatal(err)
	}
	s.write("2_x.up.sql", "alter table other.t add x int")
	beside := func(q *Request) { q.Beside = []Beside{{Folder: other, State: st, Table: table}} }
	if r := s.run(beside); r.Facts.Base != Replayed || r.Facts.Failed() != nil {
		t.Error(text(t, r))
	}
	all, err := Compare(t.Context(), s.request(beside), 1)
	if err != nil || !all[0].Equal {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestRolesAndExtensions(t *testing.T) {
	s := newStage(t, 16)
	s.server.Exec(t, s.db, "drop role if exists rehearse_app", "create role rehearse_app", "create extension pg_stat_statements with schema public")
	t.Cleanup(func() { s.server.Exec(t, "postgres", "drop owned by rehearse_app", "drop role rehearse_app") })
	s.exec("insert into schema_migrations values (1, false)")
	s.exec("create table t (id int); grant select on t to public; create policy p on t to public")
	s.write("1_base.up.sql", `create extension if not exists pg_stat_statements; create table t (id int); create policy p on t to public;
		grant select on t to long_gone_role`,
		"2_more.up.sql", `grant insert on t to rehearse_app; create extension pg_buffercache; create extension if not exists citext; comment on extension citext is 'x'; create table c (a citext)`,
		"3_absent.up.sql", "create extension postgis;\ncreate table d (a int)")
	r := s.run()
	if f := r.Facts.Failed(); f != nil || r.Facts.Base != Replayed {
		t.Fatal(text(t, r))
	}
	same(t, r.Facts.Partial, "extension postgis is not on the scratch server; name one that has it with scratch: in dbops.yaml")
	if st := r.Facts.Files[1].Statements[0]; !st.Skipped {
		t.Errorf("%+v", st)
	}
}

func TestWhatOnlyASuperuserMayIsNotRehearsed(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.write("2_x.up.sql", "create index i on orders (note);\ncreate publication p for all tables", "3_y.up.sql", "select 1")
	r := s.run()
	same(t, r.Facts.Partial, "2_x.up.sql:2:1: must be superuser to create FOR ALL TABLES publication; only a superuser may, or the customer of a cloud", "the files after 2_x.up.sql: 1")
	same(t, effects(r), "1: builds public.i on public.orders (empty)", "1: locks public.orders (SHARE: nobody writes it)")
	if f := r.Facts.Failed(); f == nil || !f.Failure.Rights {
		t.Error(text(t, r))
	}
}

func TestAReportIsKeptForTheSame(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.write("2_x.up.sql", "alter table orders add x int", "2_x.down.sql", "alter table orders drop x")
	first := s.run()
	again := s.run()
	if first.Cached || !again.Cached {
		t.Errorf("kept: %t, %t", first.Cached, again.Cached)
	}
	facts := func(r *Report) string {
		b, err := json.Marshal(r.Facts)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if facts(first) != facts(again) {
		t.Errorf("%s\n%s", facts(first), facts(again))
	}
	fresh := s.run(func(q *Request) { q.CacheDir = "" })
	if facts(first) != facts(fresh) {
		t.Errorf("another rehearsal finds\n%s, not\n%s", facts(fresh), facts(first))
	}
	key := func(change func(q *Request)) string {
		q := s.request(change)
		tg, err := lookAt(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return cacheKey(q, tg)
	}
	keys := map[string]string{key(func(*Request) {}): "the same"}
	for name, change := range map[string]func(q *Request){
		"another dbops":   func(q *Request) { q.Version = "2" },
		"to verify":       func(q *Request) { q.Verify = true },
		"another scratch": func(q *Request) { q.ScratchURL = "postgresql://x" },
		"another role":    func(q *Request) { q.Role = "x" },
		"no job":          func(q *Request) { q.Jobs = nil },
		"another path":    func(q *Request) { q.Table.Schema = "x" },
		"another file": func(q *Request) {
			s.write("2_x.up.sql", "select 1")
			q.Folder = s.folder()
			q.Jobs[0].Migration = q.Folder.Migrations[1]
		},
		"another schema": func(*Request) { s.exec("create index later on orders (id)") },
	} {
		k := key(change)
		if other, taken := keys[k]; taken {
			t.Errorf("%s is found as %s", name, other)
		}
		keys[k] = name
	}
	kept, err := filepath.Glob(filepath.Join(s.cache, "*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("%q, %v", kept, err)
	}
}

func TestDownIsHeldToItsWord(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.write("2_good.up.sql", "alter table orders add x int", "2_good.down.sql", "alter table orders drop x",
		"3_forgets.up.sql", "alter table orders alter note set not null, alter note set default ''", "3_forgets.down.sql", "alter table orders alter note drop not null",
		"4_none.up.sql", "create table n ()",
		"5_breaks.up.sql", "create table b ()", "5_breaks.down.sql", "drop table c",
		"6_once.up.sql", "do $$ begin if to_regclass('once') is null then create sequence once_seq; create table once (); else create table twice (); end if; end $$", "6_once.down.sql", "drop sequence once_seq; drop table once; ",
		"7_index.up.sql", "create index concurrently i on orders (note)", "7_index.down.sql", "drop index concurrently i")
	r := s.run(func(q *Request) { q.Verify = true })
	want := []string{
		"down: it brings back the schema",
		"down: it does NOT bring back the schema: column public.orders.note: character varying(10) → character varying(10) default ''::character varying",
		"down: there is no file, so there is no way back",
		`down: it FAILS: table "c" does not exist (SQLSTATE 42P01)`,
		"down: it brings back the schema",
		"down: it brings back the schema",
	}
	var got []string
	for line := range strings.Lines(text(t, r)) {
		if strings.HasPrefix(line, "  down:") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	same(t, got, want...)
}

func TestGoingDownIsRehearsedToo(t *testing.T) {
	s := newStage(t, 14, "1_shop.up.sql", shop, "2_x.up.sql", "alter table orders add x int", "2_x.down.sql", "alter table orders drop x;\nalter table orders drop y")
	r := s.run(func(q *Request) {
		m, _, _ := q.Folder.Find(2)
		q.Jobs = []driver.Job{{Migration: m, Direction: source.Down, Target: 1}}
	})
	if f := r.Facts.Failed(); f == nil || f.Place() != "2_x.down.sql:2:1" {
		t.Error(text(t, r))
	}
	if got := effects(r); len(got) == 0 || got[0] != "1: locks public.orders (ACCESS EXCLUSIVE: nobody reads or writes it)" {
		t.Errorf("%q", got)
	}
}

func TestWhichVersionASchemaIsAt(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.write("2_x.up.sql", "alter table orders add x int;\nalter table orders add y int", "3_z.up.sql", "create table z ()")
	at := func() string {
		all, err := Compare(t.Context(), s.request(), -1, 1, 2)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, a := range all {
			words := "equal"
			if !a.Equal {
				words = few(catalog.Words(a.Diff))
			}
			if a.Version > 0 {
				b.WriteString(strconv.FormatInt(a.Version, 10) + ": " + words + "\n")
			} else if a.Equal {
				t.Error("it is empty")
			}
		}
		return b.String()
	}
	for sql, want := range map[string]string{
		"":                             "1: equal\n2: column public.orders.x removed; column public.orders.y removed\n",
		"alter table orders add x int": "1: column public.orders.x added: integer\n2: column public.orders.y removed\n",
		"alter table orders add x int, add y int": "1: column public.orders.x added: integer; column public.orders.y added: integer\n2: equal\n",
	} {
		if sql != "" {
			s.exec(sql)
		}
		if got := at(); got != want {
			t.Errorf("%q: %s, want %s", sql, got, want)
		}
		s.exec("alter table orders drop column if exists x, drop column if exists y")
	}
}

func TestRowsAreAskedBeforehand(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	const known = "alter table orders add constraint known foreign key (customer) references customers not valid; alter table orders add constraint known2 check (id > 0) not valid; alter table orders add constraint before check (id <> 0)"
	s.write("2_known.up.sql", known)
	s.exec("insert into customers values (1, 'a'), (2, null), (3, 'b'); insert into orders values (1, 1, 'x'), (2, 9, 'x'), (3, null, 'z');" + known + "; update schema_migrations set version = 2")
	s.write("3_x.up.sql", `alter table customers rename to people; alter table people alter name set not null;
		alter table orders add unique (note); alter table orders add unique (id, note); create unique index concurrent on orders (note) where customer is not null;
		alter table orders validate constraint known; alter table orders validate constraint known2; alter table orders add check (id < 3);
		alter table orders add required int not null; alter table orders alter note type int using 1; alter table orders alter id type bigint; create unique index on orders (lower(customer::text));
		update people set name = ''`)
	r := s.run(func(q *Request) { q.Probe = 10 * time.Second })
	var got []string
	for _, p := range r.Data {
		w := p.Answer + ": " + p.What
		if p.Why != "" {
			w += " (" + p.Why + ")"
		}
		if p.Changed {
			w += " changed"
		}
		got = append(got, w)
	}
	same(
		t, got,
		"violated: public.customers.name is never null changed",
		"unknown: every public.orders.note can become integer (how the file converts it is not looked into)",
		"violated: every row of public.orders fulfils known",
		"clean: every row of public.orders fulfils known2",
		"violated: every row of public.orders fulfils orders_id_check",
		"violated: public.orders has no duplicates for concurrent",
		"clean: public.orders has no duplicates for orders_id_note_key",
		"unknown: public.orders has no duplicates for orders_lower_idx (it is of an expression, or an exclusion)",
		"violated: public.orders has no duplicates for orders_note_key",
		"violated: public.orders is empty: required is added without a value",
	)
	if out := text(t, r); !strings.Contains(out, "NOT so: public.orders has no duplicates for orders_note_key") {
		t.Error(out)
	}
	t.Run("for a time only", func(t *testing.T) {
		all, err := RunProbes(t.Context(), s.conn, []Probe{{SQL: "select 1 from pg_sleep(20)"}, {SQL: "delete from orders returning 1"}, {SQL: "select 1/0"}}, 50*time.Millisecond)
		if err != nil || all[0].Why != "no answer in 50ms" || all[1].Why != "the server refused it: SQLSTATE 25006" || all[2].Answer != Unasked {
			t.Errorf("%+v, %v", all, err)
		}
	})
}

func TestAScratchServerOfAnotherMajor(t *testing.T) {
	s := newStage(t, 14, "1_shop.up.sql", shop)
	s.write("2_x.up.sql", "alter table orders add x int")
	other := pgtest.Start(t, 17)
	t.Setenv("PGPASSWORD", other.Password.Reveal())
	r := s.run(func(q *Request) { q.ScratchURL = other.URL("postgres") })
	if r.Facts.Base != Replayed || r.Facts.Failed() != nil { // though 17 writes the view's text differently
		t.Error(text(t, r))
	}
	same(t, r.Facts.Partial, "rehearsed on PostgreSQL 17, the server has 14")
	t.Run("is not the server itself", func(t *testing.T) {
		t.Setenv("PGPASSWORD", s.server.Password.Reveal())
		_, err := Run(t.Context(), s.request(func(q *Request) { q.ScratchURL = s.server.URL("postgres") }))
		if fault.KindOf(err) != fault.Blocked || fault.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
	})
}

func TestAStoppedRehearsalLeavesNothing(t *testing.T) {
	s := newStage(t, 17, "1_shop.up.sql", shop)
	s.write("2_x.up.sql", "select pg_sleep(600)")
	dir := pgtest.Dir(t)
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	q := s.request(func(q *Request) {
		q.Tell = func(text string) {
			if strings.HasPrefix(text, "running 2_x") {
				cancel()
			}
		}
	})
	if _, err := Run(ctx, q); fault.KindOf(err) != fault.Interrupted {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
