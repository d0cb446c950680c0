package stream

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

func TestASourceThatIsAlteredInMidRun(t *testing.T) {
	for _, c := range []struct{ name, sql, says, hint string }{
		{"a column is added", "alter table app.orders add note text", "table app.orders was altered", "drop the target"},
		{"a table is truncated", "truncate app.orders", "table app.orders was truncated or rewritten", "copies all rows anew"},
		{"a table is created", "create table app.later (i int)", "table app.later was created", "drop the target"},
		{"a table is dropped", "drop table app.orders", "table app.orders was dropped", "drop the target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := newSide(t, 16, "create schema app; create table app.orders as select i from generate_series(1, 100) i"), newSide(t, 18)
			j := job(from, to)
			j.Progress = func(p Progress) {
				if p.Phase == "sequences" {
					from.exec(c.sql)
				}
			}
			_, err := Copy(t.Context(), j)
			if fault.KindOf(err) != fault.Stale || !strings.Contains(err.Error(), c.says) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Fatalf("error: %v, hint: %s", err, fault.HintOf(err))
			}
			j.Progress = nil
			res, err := Copy(t.Context(), j)
			if c.hint == "drop the target" {
				if fault.KindOf(err) != fault.Stale {
					t.Errorf("a second time: %v", err)
				}
				return
			}
			if err != nil || res.Again == "" || to.text("select count(*)::text from app.orders") != "0" {
				t.Errorf("a second time: %+v, %v", res, err)
			}
		})
	}
}

func TestWhatForbidsACopy(t *testing.T) {
	from := newSide(t, 16, "create extension adminpack; create table t (i int)")
	for _, c := range []struct {
		name, says string
		from, to   *side
		kind       fault.Kind
	}{
		{"a target that holds something", "it holds something already: public.t", from, newSide(t, 18, "create table t (i int)"), fault.Blocked},
		{"an extension that the target lacks", "it lacks the extension adminpack", from, newSide(t, 18), fault.Blocked},
		{"an older target", "older than the source", newSide(t, 18), newSide(t, 16), fault.Blocked},
		{"a role that the target lacks", "it lacks the role only_here", newSide(t, 14, "create role only_here; create table t (i int); alter table t owner to only_here"), newSide(t, 17), fault.Blocked},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Copy(t.Context(), job(c.from, c.to))
			if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) || fault.HintOf(err) == "" {
				t.Errorf("error: %v, hint: %s", err, fault.HintOf(err))
			}
		})
	}
}

func TestRowsThatTheLoginMayNotSee(t *testing.T) {
	from, to := newSide(t, 16, "create table secret (i int); insert into secret values (1); alter table secret enable row level security; create role clerk login password 'clerk-word'; grant pg_read_all_data to clerk"), newSide(t, 18)
	t.Cleanup(func() { from.server.Exec(t, "postgres", "drop role clerk") })
	j := job(from, to)
	j.Source = func(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		c, err := pgx.ParseConfig("")
		if err != nil {
			return nil, err
		}
		c.Config = *from.server.ConfigFor(t, "clerk", secret.New("clerk-word"), from.db)
		tune(c)
		return pgx.ConnectConfig(ctx, c)
	}
	_, err := Copy(t.Context(), j)
	if fault.KindOf(err) != fault.Denied || !strings.Contains(err.Error(), "public.secret") || !strings.Contains(fault.HintOf(err), "BYPASSRLS") {
		t.Errorf("error: %v, hint: %s", err, fault.HintOf(err))
	}
}

// customer logs in as a cloud's customer does, who is no superuser.
func (s *side) customer(ctx context.Context, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig("")
	if err != nil {
		return nil, err
	}
	c.Config = *s.server.Config(s.t, s.db)
	tune(c)
	return pgx.ConnectConfig(ctx, c)
}

func TestACopyWithoutSuperuser(t *testing.T) {
	from, to := newSide(t, 14), newSide(t, 17)
	conn, err := from.customer(t.Context(), func(*pgx.ConnConfig) {})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := script(t.Context(), conn, `create extension citext; create schema app; create type app.kind as enum ('a', 'b'); create table app.t (id bigint generated always as identity primary key, k app.kind, c citext);
insert into app.t (k, c) select 'a', 'x' || i from generate_series(1, 100) i; create table app.u (id int primary key, t bigint references app.t, doc oid); insert into app.u select 1, 1, lo_from_bytea(0, '\x01');
create materialized view app.mv as select count(*) from app.t; comment on extension citext is 'mine'; grant usage on schema app to public; create policy p on app.u; alter table app.u enable row level security`); err != nil {
		t.Fatal(err)
	}
	res, err := Copy(t.Context(), Job{Source: from.customer, Target: to.customer})
	if err != nil {
		t.Fatal(err)
	}
	if err := Finish(t.Context(), to.customer); err != nil {
		t.Fatal(err)
	}
	if got := to.text("select count(*) || ' ' || (select count(*) from app.mv) || ' ' || (select encode(lo_get(doc), 'hex') from app.u) || ' ' || nextval('app.t_id_seq') from app.t"); got != "100 1 01 101" {
		t.Errorf("copied: %s", got)
	}
	if len(res.Notes) != 1 || !strings.HasPrefix(res.Notes[0], "schema public: left out") {
		t.Errorf("notes: %q", res.Notes)
	}
}

func TestRowsWhoseCheckReadsAnotherTable(t *testing.T) {
	from := newSide(t, 16, `create table z_lookup (k text primary key); insert into z_lookup values ('a');
create function has(text) returns bool language plpgsql set search_path = public as 'begin return exists (select from z_lookup where k = $1); end';
create table a_check (k text check (has(k))); insert into a_check select 'a' from generate_series(1, 1000)`)
	to := newSide(t, 18)
	if _, err := Copy(t.Context(), job(from, to)); err != nil {
		t.Fatal(err)
	}
	if n := to.text("select count(*)::text from a_check"); n != "1000" {
		t.Errorf("%s rows", n)
	}
}

func TestAnIndexThatFindsItsTableBySearchPath(t *testing.T) {
	from := newSide(t, 16, `create schema app; set search_path = app; create table lookup (k text primary key, v int);
create function find(text) returns int language sql immutable as 'select v from lookup where k = $1'; create table t (k text); insert into t values ('a'); create index t_find on t (find(k))`)
	_, err := Copy(t.Context(), job(from, newSide(t, 18)))
	if fault.KindOf(err) != fault.Failed || !strings.Contains(err.Error(), "index app.t_find") || !strings.Contains(err.Error(), "42P01") || !strings.Contains(fault.HintOf(err), "SET search_path") {
		t.Errorf("error: %v, hint: %s", err, fault.HintOf(err))
	}
}

func TestARefusalSaysWhatToDo(t *testing.T) {
	for code, want := range map[string]string{
		"53100": "more storage", "57P01": "goes on", "23505": "duplicates", "23514": "CHECK", "42P01": "search_path", "XX000": "goes on",
	} {
		err := failed("copy the rows of table", "app.orders", &pgconn.PgError{Code: code, Message: "no"})
		if !strings.Contains(fault.HintOf(err), want) || !strings.Contains(err.Error(), code) || !strings.Contains(err.Error(), "app.orders") {
			t.Errorf("%s: %v, hint: %s", code, err, fault.HintOf(err))
		}
	}
	if err := failed("copy the rows of table", "app.orders", errors.New("connection reset")); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("no answer: %v", err)
	}
}

func TestMemoryStaysFlat(t *testing.T) {
	from := newSide(t, 16, "create table big (i int, b bytea); alter table big alter b set storage external; insert into big select i, decode(repeat(md5(i::text), 625), 'hex') from generate_series(1, 4000) i; insert into big values (0, decode(repeat('ab', 4000000), 'hex'))")
	to := newSide(t, 18)
	j := job(from, to)
	j.SplitBytes = 8 << 20
	var most uint64
	var told Progress
	j.Progress = func(p Progress) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most = max(most, m.HeapInuse)
		if p.Phase == "data" {
			told = p
		}
	}
	res, err := Copy(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if const40MB := int64(40 << 20); res.Bytes < const40MB || told.Bytes != res.Bytes || told.Rows != 4001 || !told.Table.In {
		t.Errorf("result: %+v, told: %+v", res, told)
	}
	if most > 100<<20 {
		t.Errorf("%d MB on the heap", most>>20)
	}
}

func TestArchivesThatCannotBeRead(t *testing.T) {
	for _, b := range []string{"", "PGDMP", "PGDMP\x01\x11\x00\x04\x08\x01\x00", "PGDMP\x01\x10\x00\x04\x08\x01\x00\x00\xff\xff\xff\xff", strings.Repeat("x", 100)} {
		if _, err := readArchive([]byte(b)); !errors.Is(err, errArchive) {
			t.Errorf("%q: %v", b, err)
		}
	}
}

func FuzzReadArchive(f *testing.F) {
	f.Add([]byte("PGDMP\x01\x10\x00\x04\x08\x01\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = readArchive(b) })
}

func TestAnEventTriggerThatForbidsEverything(t *testing.T) {
	from, to := newSide(t, 16, `create table t (i int primary key); insert into t select generate_series(1, 10); create index on t ((i + 1)); create materialized view mv as select count(*) from t;
create function no() returns event_trigger language plpgsql as 'begin raise exception ''nobody may %'', tg_tag; end'; create event trigger no_start on ddl_command_start execute function no();
create event trigger no_drop on sql_drop execute function no(); comment on event trigger no_drop is 'at all'; create event trigger no_end on ddl_command_end execute function no()`), newSide(t, 18)
	if _, err := Copy(t.Context(), job(from, to)); err != nil {
		t.Fatal(err)
	}
	to.exec("update dbops_upgrade.copy set phase = 'begun'") // as if it was killed before it was noted that all is done
	from.exec("insert into t values (11)")
	res, err := Copy(t.Context(), job(from, to))
	if err != nil || res.Again == "" {
		t.Fatalf("what it made is taken back: %+v, %v", res, err)
	}
	if err := Finish(t.Context(), to.connect); err != nil {
		t.Fatal(err)
	}
	if got := to.text("select (select count(*) from t) || ' ' || (select count from mv) || ' ' || (select count(*) from pg_event_trigger)"); got != "11 11 3" {
		t.Errorf("copied: %s", got)
	}
	same(t, "copied and the source", to.dumped(), from.dumped())
}
