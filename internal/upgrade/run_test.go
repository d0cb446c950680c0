package upgrade

import (
	"encoding/json"
	"strings"
	"testing"

	"dbops/internal/op"
	"dbops/internal/state"
)

func TestAPlainServerIsUpgradedAndTakenBack(t *testing.T) {
	p := between(t, 16, 18)
	p.zoo(t, "shop")
	p.exec(t, "old", "postgres", `alter role alice password 'alice has one'; alter role alice set work_mem = '7MB'; alter database shop set lock_timeout = '3s'; grant connect on database shop to readonly`)
	p.exec(t, "old", "postgres", `create database "Größe ""x"""`)
	p.exec(t, "old", `Größe "x"`, `create table t (id int primary key); insert into t select generate_series(1, 10); create schema "S p"; create sequence "S p".s; select nextval('"S p".s')`)
	b := newBench(t, "sqlite", p.deps())
	c := b.deps.Clients.(*clients)
	request := Request{To: 18, Into: "new", Observe: 1}
	plan := b.plan(t, RunKind, request)
	if blocked := plan.Blocked(); len(blocked) > 0 {
		t.Fatalf("%+v", blocked)
	}
	if !has(plan.Findings, op.Warn, "rehearsal") || plan.Downtime.Expected != "unknown" {
		t.Errorf("%s", words2(plan))
	}
	id := b.submit(t, plan)
	run := b.attach(t, id)
	if run.State != state.Gate || run.Step != gateStep || c.now != "" {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	p.exec(t, "old", "shop", "insert into app.t_lookup values ('late', 3)")
	b.tell(t, id, state.Continue)
	b.done(t, b.attach(t, id))
	if c.now != "new" {
		t.Errorf("clients use %q", c.now)
	}
	for _, db := range []string{"shop", `Größe "x"`} {
		p.same(t, db)
	}
	if got := p.exec(t, "new", "shop", "select v from app.t_lookup where k = 'late'"); got != "3" {
		t.Errorf("a late row: %q", got)
	}
	if got := p.exec(t, "new", "postgres", "select rolpassword from pg_authid where rolname = 'alice'"); got != p.exec(t, "old", "postgres", "select rolpassword from pg_authid where rolname = 'alice'") || got == "" {
		t.Errorf("the password of alice is %d bytes on the new server", len(got))
	}
	if got := p.exec(t, "new", "postgres", "select current_setting('server_version_num')::int / 10000 || string_agg(setconfig::text, ',' order by setconfig) from pg_db_role_setting"); !strings.HasPrefix(got, "18") || !strings.Contains(got, "work_mem=7MB") ||
		!strings.Contains(got, "lock_timeout=3s") || strings.Contains(got, "read_only") {
		t.Errorf("settings: %s", got)
	}
	b.toldInNumbers(t, id, "shop")
	report := b.report(t, id)
	if report.Downtime == nil || report.Downtime.Took <= 0 || len(report.Failures) > 0 || len(report.Databases) != 2 || !report.Databases[0].Equal || !report.Databases[1].Equal {
		t.Errorf("%s", words2(report))
	}
	// A client of the old server is refused, whatever it sets.
	p.exec(t, "old", "postgres", "alter role alice login")
	if n := p.exec(t, "old", "postgres", "select count(*) from pg_roles r where not rolsuper and has_database_privilege(r.oid, 'shop', 'connect') and rolname !~ '^pg_'"); n != "0" {
		t.Errorf("%s roles may connect to the old server", n)
	}

	// Back: nothing was written, so nothing is lost.
	back := b.plan(t, RollbackKind, RollbackRequest{Run: id})
	if len(back.Blocked()) > 0 {
		t.Fatalf("%+v", back.Blocked())
	}
	p.exec(t, "new", "shop", "insert into app.t_lookup values ('later', 4)")
	if back = b.plan(t, RollbackKind, RollbackRequest{Run: id}); !has(back.Findings, op.Block, "lost-writes") {
		t.Fatalf("%s", words2(back.Findings))
	}
	b.done(t, b.run(t, RollbackKind, RollbackRequest{Run: id, LoseWrites: true}))
	if c.now != "old" {
		t.Errorf("clients use %q", c.now)
	}
	p.exec(t, "old", "shop", "set role app_owner; insert into app.t_lookup values ('back', 5)")
	if again := b.plan(t, RollbackKind, RollbackRequest{Run: id}); !has(again.Findings, op.Block, "ended") {
		t.Errorf("%s", words2(again.Findings))
	}
}

// toldInNumbers demands that programs were told how the copy of a database went.
func (b *bench) toldInNumbers(t testing.TB, run, database string) {
	t.Helper()
	events, err := b.Events(t.Context(), run, 0)
	if err != nil {
		t.Fatal(err)
	}
	var most copying
	for _, e := range events {
		var c copying
		if len(e.Detail) > 0 && json.Unmarshal(e.Detail, &c) == nil && c.Schema == progressSchema && c.Database == database && c.Rows > most.Rows {
			most = c
		}
	}
	if most.Rows == 0 || most.Bytes == 0 || most.Of == 0 {
		t.Errorf("%+v of %d events", most, len(events))
	}
}
