package follow

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
)

const loadSchema = `create schema app; create domain app.cents as bigint check (value >= 0);
create table app.account (id int primary key, balance app.cents not null, note text);
insert into app.account select i, 1000, repeat(md5(i::text), 100) from generate_series(1, 50) i; alter table app.account alter note set storage external;
create table app.booking (id bigint generated always as identity primary key, a int references app.account, b int references app.account, amount int, twice int generated always as (amount * 2) stored);
create table app.bare (k text, n int); insert into app.bare select 'k', i from generate_series(1, 20) i; insert into app.bare values ('same', 1), ('same', 1), (null, null);
create table app."Größe ""x""" ("Mixed Case" serial primary key, "naïve" text);
create table app.part (id int, kind int, v text, primary key (id, kind)) partition by list (kind);
create table app.part_1 partition of app.part for values in (1); create table app.part_rest partition of app.part default partition by hash (id);
create table app.part_r0 partition of app.part_rest for values with (modulus 2, remainder 0); create table app.part_r1 partition of app.part_rest for values with (modulus 2, remainder 1);
insert into app.part select i, 1 + i % 3, 'v' from generate_series(1, 60) i;
create table app.queue (id serial primary key, v text); create table app.parent (id int primary key); create table app.child (extra text, primary key (id)) inherits (app.parent);
create table app.deferred (id int primary key deferrable, v int); insert into app.deferred select i, 0 from generate_series(1, 10) i; create table app.audit_full (v jsonb); alter table app.audit_full replica identity full;
create table app.keyed (a int not null, b text); create unique index keyed_a on app.keyed (a); alter table app.keyed replica identity using index keyed_a; insert into app.keyed select i, 'x' from generate_series(1, 9) i;
create sequence app.alone increment 7; create sequence app.unused start 42;
create function app.count_booking() returns trigger language plpgsql as $$ begin insert into app.audit_full values (jsonb_build_object('amount', new.amount)); return new; end $$;
create trigger counted after insert on app.booking for each row execute function app.count_booking(); create materialized view app.mv as select count(*) from app.account;
create table app.ddl (id int generated always as identity primary key, tag text); create function app.told() returns event_trigger language plpgsql as $$ begin insert into app.ddl (tag) values (tg_tag); end $$;
create event trigger told on ddl_command_end when tag in ('ALTER TABLE', 'CREATE PUBLICATION', 'ALTER PUBLICATION', 'COMMENT') execute function app.told()`

// load is a client that writes until it is stopped.
type load struct {
	stop   atomic.Bool
	copied atomic.Bool // then it may truncate
	ended  chan error
	booked atomic.Int64
}

func start(t testing.TB, b *base, first int) *load {
	t.Helper()
	conn, err := b.connect(t.Context(), func(*pgx.ConnConfig) {})
	must(t, err)
	l := &load{ended: make(chan error, 1)}
	ctx := context.WithoutCancel(t.Context())
	go func() {
		defer conn.Close(ctx)
		for i := first; !l.stop.Load(); i++ {
			err := l.write(ctx, conn, i)
			if err == nil {
				err = pause(ctx, 3*time.Millisecond) // its pace: servers have other things to do
			}
			if err != nil {
				l.ended <- err
				return
			}
		}
		l.ended <- nil
	}()
	return l
}

// write is one transaction. Some are rolled back.
func (l *load) write(ctx context.Context, conn *pgx.Conn, i int) error {
	x, y := rand.IntN(50)+1, rand.IntN(50)+1
	sql := fmt.Sprintf(`begin; update app.account set balance = balance - 1 where id = %[1]d and balance > 0; update app.account set balance = balance + 1 where id = %[2]d and %[1]d <> %[2]d;
insert into app.booking (a, b, amount) values (%[1]d, %[2]d, 1); update app.bare set n = n + 1 where n %% 7 = %[3]d and k = 'k'; insert into app."Größe ""x""" ("naïve") values (E'tab\t, '' and \\');
update app.part set kind = 1 + (kind + 1) %% 3, v = v || 'x' where id = %[1]d; update app.deferred set v = v + 1 where id = %[3]d; update app.keyed set a = a + 100, b = null where a %% 9 = %[3]d; insert into app.child values (%[4]d, 'e'); select nextval('app.alone');`,
		x, y, i%7, i)
	switch {
	case i%29 == 5:
		sql += "delete from app.booking where id % 3 = 0; delete from app.bare where n > 60; "
		if l.copied.Load() {
			sql += "truncate app.queue restart identity; insert into app.queue (v) values ('first');"
		}
	case i%1_000_000 == 11: // more than the memory of a decoding
		sql += "insert into app.queue (v) select md5(i::text) from generate_series(1, 5000) i; savepoint s; delete from app.queue where id % 2 = 0; rollback to s; update app.queue set v = v || 'z' where id % 3 = 0;"
	}
	end := "commit"
	if i%13 == 4 {
		end = "rollback"
	}
	_, err := conn.PgConn().Exec(ctx, sql+end).ReadAll()
	l.booked.Add(1)
	return err
}

func (l *load) end(t testing.TB) {
	t.Helper()
	l.stop.Store(true)
	must(t, <-l.ended)
}

// more waits until it has written so much more.
func (l *load) more(t testing.TB, n int64) {
	t.Helper()
	upto := l.booked.Load() + n
	eventually(t, "clients write", func() bool { return l.booked.Load() >= upto || len(l.ended) > 0 })
}

func TestNothingIsLostUnderLoadThereAndBack(t *testing.T) {
	t.Parallel()
	for _, majors := range [][2]int{{14, 17}, {15, 18}, {16, 18}} {
		t.Run(fmt.Sprintf("%d to %d", majors[0], majors[1]), func(t *testing.T) {
			t.Parallel()
			from, to := newBase(t, majors[0], loadSchema), newBase(t, majors[1])
			j := newJob(from, to)
			j.FullIdentity = true
			var told int
			j.Progress = func(Lag) { told++ }
			identities := from.text("select string_agg(oid::regclass || ' ' || relreplident::text, ', ' order by oid::regclass::text) from pg_class where relkind = 'r' and relnamespace = 'app'::regnamespace")
			problems, err := Check(t.Context(), j)
			must(t, err)
			for _, p := range problems {
				if p.Severity == op.Block || p.Check != "replica-identity" {
					t.Errorf("before it begins: %+v", p)
				}
			}
			l := start(t, from, 0)
			l.more(t, 15)
			s, err := Begin(t.Context(), j)
			must(t, err)
			l.more(t, 30)
			copied(t, j, s)
			l.copied.Store(true)
			must(t, Attach(t.Context(), j))
			l.more(t, 10)
			lag, err := Watch(t.Context(), j, 1<<20)
			if err != nil || !lag.Attached || lag.Error != "" {
				t.Fatalf("%+v, %v", lag, err)
			}
			must(t, Attach(t.Context(), j)) // while it runs
			l.more(t, 40)
			l.end(t)
			for range 2 {
				if lsn, err := Drain(t.Context(), j); err != nil || !strings.Contains(lsn, "/") || told == 0 {
					t.Fatalf("drain: %q, %v, told %d times", lsn, err, told)
				}
				must(t, Sequences(t.Context(), j))
			}
			same(t, "the source and the target", from, to)
			if n := from.text("select count(*)::text from app.ddl"); n != "0" {
				t.Errorf("event triggers saw %s statements", n)
			}
			for range 2 {
				must(t, Detach(t.Context(), j))
			}
			clean(t, j, from, to)

			must(t, Reverse(t.Context(), j))
			t.Cleanup(func() {
				from.exec("set default_transaction_read_only = off; alter database " + from.db + " reset default_transaction_read_only")
			})
			from.exec("alter database " + from.db + " set default_transaction_read_only = on; revoke connect on database " + from.db + " from public")
			l = start(t, to, 1_000_000)
			l.copied.Store(true)
			l.more(t, 20)
			must(t, Reverse(t.Context(), j)) // keeps the slot
			must(t, Detach(t.Context(), j))  // has nothing to do
			l.more(t, 20)
			if _, err := ReverseLag(t.Context(), j); err != nil {
				t.Error(err)
			}
			l.end(t)
			_, err = ReverseDrain(t.Context(), j)
			must(t, err)
			must(t, ReverseSequences(t.Context(), j))
			same(t, "the target and the source", to, from)
			for range 2 {
				must(t, ReverseEnd(t.Context(), j))
			}
			clean(t, j, from, to)
			for _, b := range []*base{from, to} {
				if now := b.text("select string_agg(oid::regclass || ' ' || relreplident::text, ', ' order by oid::regclass::text) from pg_class where relkind = 'r' and relnamespace = 'app'::regnamespace"); now != identities {
					t.Errorf("identities: %s, were %s", now, identities)
				}
			}
		})
	}
}

// A wait for what never comes ends with its context.
func TestAWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 16, 18, "create table t (i int primary key)")
	j := newJob(from, to)
	other := from.server.Superuser(t, from.db)
	if err := script(t.Context(), other, "begin; insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := Begin(ctx, j)
	if err == nil || !strings.Contains(err.Error(), "it waits for all transactions that were open: session") {
		t.Fatalf("%v", err)
	}
	must(t, script(t.Context(), other, "commit"))
	following(t, j)
	must(t, script(t.Context(), other, "begin; insert into t values (2)"))
	if _, err := Drain(t.Context(), j); err == nil || !strings.Contains(err.Error(), "it is still being written: session") {
		t.Errorf("a writer is there: %v", err)
	}
	must(t, script(t.Context(), other, "rollback"))
	must(t, Detach(t.Context(), j))
	clean(t, j, from, to)
}

// The slot for the way back is enough before clients are served: what they write is kept for it.
func TestTheWayBackMayBeginWithItsSlot(t *testing.T) {
	t.Parallel()
	from, to := pair(t, 15, 18, "create table t (i int primary key, v int)")
	j := newJob(from, to)
	following(t, j)
	from.exec("insert into t values (1, 1), (2, 2)")
	_, err := Drain(t.Context(), j)
	must(t, err)
	for range 2 {
		must(t, ReverseSlot(t.Context(), j))
	}
	to.exec("update t set v = 7 where i = 1; insert into t values (3, 3)")
	must(t, Detach(t.Context(), j))
	must(t, Reverse(t.Context(), j))
	to.exec("delete from t where i = 2")
	_, err = ReverseDrain(t.Context(), j)
	must(t, err)
	same(t, "the target and the source", to, from)
	must(t, ReverseEnd(t.Context(), j))
	clean(t, j, from, to)
}
