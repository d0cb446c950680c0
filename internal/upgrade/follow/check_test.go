package follow

import (
	"slices"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/op"
)

func TestCheckNamesWhatForbidsIt(t *testing.T) {
	t.Parallel()
	from := newBase(t, 14, `create extension hstore; create table bare (i int, h hstore); create table j (d json); alter table j replica identity full;
create domain dom as json; create type comp as (a int, p point[]); create table jd (v dom[]); alter table jd replica identity full; create table cp (c comp); alter table cp replica identity full;
create table fine (a text[], b varchar(3), c int4range, e regclass, f inet, g cidr, h jsonb, n numeric[]); alter table fine replica identity full;
create table gen (a int, b int generated always as (a) stored primary key); create unlogged table fast (i int); insert into fast values (1); create unlogged table fast_empty (i int);
create function f() returns trigger language plpgsql as 'begin return new; end'; create table trig (i int primary key); create trigger always before insert on trig for each row execute function f(); alter table trig enable always trigger always;
do $$ begin create role tenant; exception when duplicate_object then null; end $$; create table rls (i int primary key); alter table rls owner to tenant; alter table rls enable row level security, force row level security;
select lo_from_bytea(0, 'x')`)
	to := newBase(t, 18)
	j := newJob(from, to)
	j.From.Port = 1
	problems, err := Check(t.Context(), j)
	must(t, err)
	var names []string
	for _, p := range problems {
		names = append(names, string(p.Severity)+" "+p.Check)
		if p.Text == "" || p.Remedy == "" {
			t.Errorf("%+v", p)
		}
	}
	want := []string{
		"block replica-identity", "block identity-columns", "block generated-identity", "block always-triggers", "block forced-row-security", "block large-objects",
		"block unlogged-tables", "warn empty-unlogged-tables", "block reachability",
	}
	if !slices.Equal(names, want) {
		t.Errorf("%q", names)
	}
	for check, evidence := range map[string]string{
		"replica-identity": "public.bare", "identity-columns": "public.cp.c public.comp, public.j.d json, public.jd.v public.dom[]", "reachability": "port 1 failed", "always-triggers": "always on public.trig",
	} {
		if !slices.ContainsFunc(problems, func(p Problem) bool {
			return p.Check == check && strings.Contains(strings.ReplaceAll(p.Evidence, `"`, ""), evidence)
		}) {
			t.Errorf("%s without %q: %+v", check, evidence, problems)
		}
	}
	if _, err := Begin(t.Context(), j); fault.KindOf(err) != fault.Blocked || !strings.Contains(err.Error(), `"public"."bare"`) {
		t.Errorf("begun all the same: %v", err)
	}
	from.exec("update bare set i = 1") // nobody's writes are stopped by what was tried
	clean(t, j, to)

	// Who may not, is told.
	j = newJob(from, to)
	j.Source, j.Target = from.master, to.master
	problems, err = Check(t.Context(), j)
	must(t, err)
	for _, check := range []string{"replication-right", "replication-login", "publication-rights", "back-replication-right", "back-subscription-right"} {
		if !slices.ContainsFunc(problems, func(p Problem) bool {
			return p.Check == check && p.Severity == map[bool]op.Severity{true: op.Warn, false: op.Block}[strings.HasPrefix(check, "back-")]
		}) {
			t.Errorf("no %s: %+v", check, problems)
		}
	}
	// A target that is not there yet.
	j.Target = nil
	if _, err := Check(t.Context(), j); err != nil {
		t.Error(err)
	}
	nowhere := *to
	nowhere.db = "nowhere"
	j.Target = nowhere.master
	if _, err := Check(t.Context(), j); err != nil {
		t.Error(err)
	}
}

func TestNamesAreThoseOfSlotsAndDoNotMeet(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, run := range []string{"a", "A", "ä", "upgrade/prod/main@2026-11-29T12:00:00Z", strings.Repeat("x", 80), strings.Repeat("x", 81)} {
		for _, db := range []string{"one", "two"} {
			j := Job{Name: run, From: Address{Database: db}}
			for _, name := range []string{j.forward().name, j.back().name} {
				if seen[name] || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
					t.Errorf("%s", name)
				}
				seen[name] = true
			}
		}
	}
}

func FuzzMessagesOfReplicationAreTakenApart(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x01public\x00t\x00d\x00\x01\x01i\x00\x00\x00\x00\x17\xff\xff\xff\xff"), []byte("I\x00\x00\x00\x01N\x00\x01t\x00\x00\x00\x017"))
	f.Add([]byte("C\x00"), []byte("U\x00\x00\x00\x01O\x00\x02nu"))
	f.Add([]byte("T\xff\xff\xff\xff\x03"), []byte("D\x00\x00\x00\x01K\x00\x01t\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		r := &reading{relations: map[uint32]relation{}}
		for _, m := range [][]byte{a, b} {
			c, _, err := r.read(m)
			for _, x := range c {
				if err == nil && x.sql == "" {
					t.Errorf("%q changes nothing", m)
				}
			}
		}
	})
}
