package lint_test

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"dbops/internal/migrate/lint"
	"dbops/internal/migrate/source"
	"dbops/internal/sandbox/pgtest"
)

// shown is a statement, the rule that is to find it, and what a server is seen to do: the finding's lock on its object, and whether the
// object was written anew.
type shown struct {
	rule   string
	before string // what is there
	sql    string
	since  int    // the first major that has it
	alone  bool   // it runs in no transaction
	on     string // what is locked, where the finding names no table
	same   bool   // it sets what is set already: nothing is written
	relock string // the lock where it differs from the rule's own in the table of rules
}

const table = `create table t (id int primary key, a int, b text, ts timestamp, v varchar(10), n numeric(10,2), j json); insert into t select i, i, i, now(), 'x', 1, '{}' from generate_series(1, 100) i;
create table u (id int primary key); insert into u select generate_series(1, 100); create index t_a on t (a);`

const partitions = `create table p (id int, a int) partition by range (id); create table p1 partition of p for values from (0) to (100); create table q (id int, a int); insert into q values (100, 1);`

var all = []shown{
	{rule: "add-column-volatile-default", sql: "alter table t add column x uuid default gen_random_uuid()"},
	{rule: "add-column-volatile-default", sql: "alter table t add column x float default random() * 2"},
	{rule: "add-column-volatile-default", before: "create function mine() returns int language plpgsql as 'begin return 1; end'", sql: "alter table t add column x int default mine()"},
	{rule: "add-column-serial", sql: "alter table t add column x bigserial"},
	{rule: "add-column-identity", sql: "alter table t add column x int generated always as identity"},
	{rule: "add-column-generated-stored", sql: "alter table t add column x int generated always as (a * 2) stored"},
	{rule: "add-column-inline-check", sql: "alter table t add column x int default 1 check (x > 0)"},
	{rule: "add-column-inline-unique", sql: "alter table t add column x int unique"},
	{rule: "add-column-inline-fk", sql: "alter table t add column x int references u (id)"},
	{rule: "add-required-column", before: "create table w ()", sql: "alter table w add column x int not null"},
	{rule: "set-not-null", sql: "alter table t alter column a set not null"},
	{rule: "drop-not-null", sql: "alter table t alter column a drop not null"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column a type bigint"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column j type jsonb"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column b type varchar(20)"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column n type numeric(10,3)"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column v type varchar(5)"},
	{rule: "alter-type-rewrite", sql: "alter table t alter column a type int using a + 1"},
	{rule: "alter-type-reindex", sql: `alter table t alter column v type varchar(10) collate "C"`},
	{rule: "alter-type-free", sql: "alter table t alter column v type varchar(20)"},
	{rule: "alter-type-free", sql: "alter table t alter column v type text"},
	{rule: "alter-type-free", sql: "alter table t alter column n type numeric(12,2)"},
	{rule: "alter-type-free", sql: "alter table t alter column v type text using v::text"},
	{rule: "session-timezone", before: "set timezone = 'Europe/Paris'", sql: "alter table t alter column ts type timestamptz"},
	{rule: "set-expression", before: "alter table t add g int generated always as (a) stored", sql: "alter table t alter column g set expression as (a + 1)", since: 17},
	{rule: "add-check", sql: "alter table t add constraint c check (a > 0)"},
	{rule: "add-fk", sql: "alter table t add constraint f foreign key (a) references u (id)"},
	{rule: "add-unique", sql: "alter table t add constraint c unique (a)"},
	{rule: "add-pk", before: "create table w (id int)", sql: "alter table w add primary key (id)"},
	{rule: "add-exclude", sql: "alter table t add constraint c exclude (a with =)"},
	{rule: "validate", before: "alter table t add constraint c check (a > 0) not valid", sql: "alter table t validate constraint c"},
	{rule: "drop-constraint-fk", before: "alter table t add constraint f foreign key (a) references u (id)", sql: "alter table t drop constraint f"},
	{rule: "create-table-fk", sql: "create table w (u int references u (id))"},
	{rule: "drop-constraint", before: "alter table t add constraint c check (a > 0)", sql: "alter table t drop constraint c"},
	{rule: "index-not-concurrent", sql: "create index i on t (b)"},
	{rule: "partitioned-index", before: partitions, sql: "create index i on p (a)"},
	{rule: "drop-index", sql: "drop index t_a"},
	{rule: "reindex", sql: "reindex table t"},
	{rule: "reindex", sql: "reindex index t_a", relock: "ACCESS EXCLUSIVE"},
	{rule: "attach-no-check", before: partitions, sql: "alter table p attach partition q for values from (100) to (200)"},
	{rule: "detach", before: partitions, sql: "alter table p detach partition p1", since: 14},
	{rule: "create-partition", before: partitions, sql: "create table p2 partition of p for values from (200) to (300)"},
	{rule: "rename-table", sql: "alter table t rename to w"},
	{rule: "rename-column", sql: "alter table t rename column a to w"},
	{rule: "drop-table", sql: "drop table t"},
	{rule: "drop-column", sql: "alter table t drop column a"},
	{rule: "cascade", before: "create view v as select a from t", sql: "drop table t cascade"},
	{rule: "truncate", sql: "truncate t"},
	{rule: "cluster", sql: "cluster t using t_pkey"},
	{rule: "set-logged", before: "create unlogged table w (id int); insert into w values (1)", sql: "alter table w set logged"},
	{rule: "set-unlogged", sql: "alter table t set unlogged"},
	{rule: "set-access-method", sql: "alter table t set access method heap", since: 15, same: true},
	{rule: "refresh-matview", before: "create materialized view m as select id from t", sql: "refresh materialized view m"},
	{rule: "lock-table", sql: "lock table t in share mode", relock: "SHARE"},
	{rule: "lock-table", sql: "lock table t"},
	{rule: "trigger-create", sql: "create trigger r before update on t for each row execute function suppress_redundant_updates_trigger()"},
	{rule: "trigger-drop", before: "create trigger r before update on t for each row execute function suppress_redundant_updates_trigger()", sql: "drop trigger r on t"},
	{rule: "trigger-disable", before: "create trigger r before update on t for each row execute function suppress_redundant_updates_trigger()", sql: "alter table t disable trigger r"},
	{rule: "no-inherit", before: "create table w () inherits (t)", sql: "alter table w no inherit t"},
	{rule: "rls", sql: "alter table t enable row level security"},
	{rule: "policy", sql: "create policy r on t"},
	{rule: "policy-drop", before: "create policy r on t", sql: "drop policy r on t"},
	{rule: "rule", sql: "create rule r as on insert to t do nothing"},
	{rule: "replica-identity", sql: "alter table t replica identity full"},
	{rule: "owner", sql: "alter table t owner to postgres"},
	{rule: "set-storage", sql: "alter table t alter column b set storage external"},
	{rule: "set-storage", sql: "alter table t alter column b set compression pglz", since: 14},
	{rule: "add-column", sql: "alter table t add column x int default 7"},
	{rule: "column-default", sql: "alter table t alter column a set default 7"},
	{rule: "set-stats", sql: "alter table t alter column a set statistics 200"},
	{rule: "set-options", sql: "alter table t set (fillfactor = 70)"},
	{rule: "set-options", sql: "alter table t set (autovacuum_enabled = false)"},
	{rule: "comment", sql: "comment on table t is 'x'"},
	{rule: "comment", sql: "comment on column t.a is 'x'"},
	{rule: "create-statistics", sql: "create statistics s on a, b from t"},
	{rule: "inherit-parent", sql: "create table w () inherits (t)"},
	{rule: "publication", sql: "create publication w for table t"},
	{rule: "backfill-in-ddl", sql: "update t set a = 1"},
	{rule: "backfill-in-ddl", sql: "delete from t"},
	{rule: "alter-domain-add-constraint", before: "create domain d as int; create table w (id d); insert into w values (1)", sql: "alter domain d add constraint c check (value > 0)", on: "w"},
	{rule: "set-tablespace", sql: "alter table t set tablespace pg_default", same: true},
	{rule: "validate-same-tx", sql: "alter table t add constraint c check (a > 0) not valid; alter table t validate constraint c"},
	{rule: "multi-table-tx", sql: "alter table t add column x int; alter table u add column x int"},
	{rule: "drop-schema", before: "create schema s; create table s.w (id int)", sql: "drop schema s cascade", on: "s.w"},
	{rule: "vacuum-full", sql: "vacuum full t", alone: true},
}

// look lints one statement as a migration of its own on a database.
func look(t *testing.T, conn *pgx.Conn, sql string) []lint.Finding {
	t.Helper()
	found, err := lint.New().Check(t.Context(), []lint.Input{{Path: "1_x.up.sql", SQL: sql, Direction: source.Up}}, lint.NewLive(conn))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestTheServerTakesTheLocksThatRulesClaim runs what each rule is about and reads the locks that the server holds for it, and whether the
// table's file is another one.
func TestTheServerTakesTheLocksThatRulesClaim(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			s := pgtest.Start(t, major)
			name := s.Database(t)
			conn, other := s.Superuser(t, name), s.Superuser(t, name)
			for _, c := range all {
				if c.since > major || (c.since == 0 && major != pgtest.Majors[0] && major != pgtest.Majors[len(pgtest.Majors)-1]) {
					continue // what the oldest and the newest do alike, those between do as well
				}
				c.show(t, conn, other)
			}
		})
	}
}

// TestEachRuleWithALockIsShown keeps the table above complete.
func TestEachRuleWithALockIsShown(t *testing.T) {
	for _, r := range lint.Rules() {
		if r.Lock != "" && !slices.ContainsFunc(all, func(c shown) bool { return c.rule == r.ID }) {
			t.Errorf("%s claims %s, and no server is asked", r.ID, r.Lock)
		}
	}
}

func (c shown) show(t *testing.T, conn, other *pgx.Conn) {
	t.Helper()
	ctx := t.Context()
	run(t, conn, "reset all; drop schema public cascade; create schema public; drop schema if exists s cascade; drop publication if exists w;"+table+c.before)
	found := look(t, conn, c.sql)
	i := slices.IndexFunc(found, func(f lint.Finding) bool { return f.Rule == c.rule })
	if i < 0 {
		t.Errorf("%s: %s does not find it, only %v", c.sql, c.rule, ids(found))
		return
	}
	f := found[i]
	rule, _ := lint.Find(c.rule)
	if f.Title == "" || f.Why == "" || strings.ContainsAny(f.Title, "{}") || (f.Seen == "" && f.Object != "") {
		t.Errorf("%s: %+v is not said in full", c.sql, f)
	}
	object := cmp.Or(f.Object, c.on)
	var before, after relation
	if c.alone {
		before = relationOf(ctx, t, conn, object)
		after = before.whileBlocked(t, conn, other, c.sql)
	} else {
		run(t, conn, "begin") // before the first look: outside of a transaction a server may begin to count anew between two
		before = relationOf(ctx, t, conn, object)
		run(t, conn, c.sql)
		after = before.now(ctx, t, conn)
		run(t, conn, "rollback")
	}
	want := rule.Lock
	if c.relock != "" {
		want = c.relock
	}
	if after.lock != f.Lock || f.Lock != want {
		t.Errorf("%s: the server takes %q on %s, the finding says %q, the table of rules %q", c.sql, after.lock, object, f.Lock, want)
	}
	if c.alone || c.same {
		return
	}
	if rewritten := after.file != before.file; rewritten != (rule.Harm == "rewrites" || rule.ID == "truncate") && rule.Harm != "loses" && rule.ID != "reindex" {
		t.Errorf("%s: %s was written anew: %v, and the rule's harm is %s", c.sql, object, rewritten, rule.Harm)
	}
	if scanned := after.scans > before.scans; (rule.Harm == "scans") && !scanned || rule.Harm == "waits" && scanned && rule.ID != "validate" {
		t.Errorf("%s: %s was read: %v, and the rule's harm is %s", c.sql, object, scanned, rule.Harm)
	}
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// relation is what a session sees of a table within its transaction.
type relation struct {
	oid, file uint32
	lock      string
	scans     int64
}

func relationOf(ctx context.Context, t *testing.T, conn *pgx.Conn, name string) relation {
	t.Helper()
	var r relation
	if err := conn.QueryRow(ctx, "select $1::text::regclass::oid", name).Scan(&r.oid); err != nil {
		t.Fatal(err)
	}
	return r.now(ctx, t, conn)
}

func (r relation) now(ctx context.Context, t *testing.T, conn *pgx.Conn) relation {
	t.Helper()
	var modes []string
	if err := conn.QueryRow(ctx, `select coalesce((select relfilenode from pg_class where oid = $1), 0), coalesce((select seq_scan from pg_stat_xact_user_tables where relid = $1), 0),
		array(select mode from pg_locks where pid = pg_backend_pid() and locktype = 'relation' and relation = $1)`, r.oid).Scan(&r.file, &r.scans, &modes); err != nil {
		t.Fatal(err)
	}
	r.lock = strongest(modes)
	return r
}

// whileBlocked sees the lock of a statement that runs in no transaction: it waits for one that another session has.
func (r relation) whileBlocked(t *testing.T, conn, other *pgx.Conn, sql string) relation {
	t.Helper()
	run(t, other, "begin; lock table t in access share mode")
	pid := conn.PgConn().PID()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	for r.lock == "" {
		var modes []string
		if err := other.QueryRow(t.Context(), "select array(select mode from pg_locks where pid = $1 and relation = $2)", pid, r.oid).Scan(&modes); err != nil {
			t.Fatal(err)
		}
		r.lock = strongest(modes)
	}
	run(t, other, "rollback")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return r
}

func strongest(modes []string) string {
	best := ""
	for _, m := range [][2]string{
		{"AccessShareLock", "ACCESS SHARE"},
		{"RowShareLock", "ROW SHARE"},
		{"RowExclusiveLock", "ROW EXCLUSIVE"},
		{"ShareUpdateExclusiveLock", "SHARE UPDATE EXCLUSIVE"},
		{"ShareLock", "SHARE"},
		{"ShareRowExclusiveLock", "SHARE ROW EXCLUSIVE"},
		{"ExclusiveLock", "EXCLUSIVE"},
		{"AccessExclusiveLock", "ACCESS EXCLUSIVE"},
	} {
		if slices.Contains(modes, m[0]) {
			best = m[1]
		}
	}
	return best
}

func ids(found []lint.Finding) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.Rule)
	}
	return out
}
