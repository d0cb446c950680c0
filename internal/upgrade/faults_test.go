package upgrade

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// blocks demands that a plan is blocked by a check whose text holds words.
func (b *bench) blocks(t *testing.T, name, kind string, request any, check, words string) {
	t.Helper()
	p := b.plan(t, kind, request)
	if !slices.ContainsFunc(p.Blocked(), func(f op.Finding) bool {
		return f.Check == check && strings.Contains(f.Text+" "+f.Evidence, words) && f.Remedy != ""
	}) {
		t.Errorf("%s: %s", name, words2(p.Findings))
	}
	if _, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: tester}); !is(err, fault.Blocked) {
		t.Errorf("%s: it is run all the same: %v", name, err)
	}
}

// parks demands that a run waits for a decision at one of those steps, says why, and what to do.
func (b *bench) parks(t *testing.T, id, steps, words, hint string) {
	t.Helper()
	r := b.attach(t, id)
	if r.State != state.Parked || !slices.Contains(strings.Split(steps, ", "), r.Step) || !strings.Contains(r.Problem, words) || !strings.Contains(r.Hint, hint) || r.Hint == "" {
		t.Fatalf("the run is %s at %s: %s (%s)", r.State, r.Step, r.Problem, r.Hint)
	}
}

func (b *bench) ends(t *testing.T, id string, want state.RunState) {
	t.Helper()
	if r := b.attach(t, id); r.State != want {
		t.Fatalf("the run is %s at %s: %s (%s)", r.State, r.Step, r.Problem, r.Hint)
	}
}

func TestWhereWritersAreShutOut(t *testing.T) {
	t.Parallel()
	g := newGround(t, 15, 18)
	g.fill(t)
	t.Run("what cannot be meant is not begun", g.refuses)
	t.Run("every step is undone", func(t *testing.T) {
		g.undoes(t, Request{To: 18, Into: "new", Observe: 1}, "roles", "databases", "quiesce", "copy shop", "statistics", "switch")
	})
	t.Run("trouble is overcome", g.overcomes)
}

func TestCatchingUp(t *testing.T) {
	t.Parallel()
	g := newGround(t, 14, 17)
	g.fill(t)
	t.Run("every step is undone", func(t *testing.T) {
		g.undoes(t, Request{To: 17, Into: "new", Observe: 1, CatchUp: true, FullIdentity: true}, "copy shop", "attach", "reverse", "switch")
	})
	t.Run("trouble is overcome", g.overcomesBesideClients)
}

func (g *ground) refuses(t *testing.T) {
	before := g.state(t)
	b := newBench(t, "sqlite", g.deps())
	into := func(q Request) Request {
		q.Into = "new"
		if q.To == 0 {
			q.To = 18
		}
		return q
	}
	for _, c := range []struct {
		name, check, words string
		request            Request
	}{
		{"the same major", "major", "PostgreSQL 15 already, and 15 is asked for", into(Request{To: 15})},
		{"a lower major", "major", "PostgreSQL 15 already, and 14 is asked for", into(Request{To: 14})},
		{"a major that the target is not", "target-major", "new is PostgreSQL 18, and 17 is asked for", into(Request{To: 17})},
		{"itself", "target", "into itself", Request{To: 18, Into: "old"}},
		{"nowhere", "target", "new instance of a plain server", Request{To: 18}},
	} {
		b.blocks(t, c.name, RunKind, c.request, c.check, c.words)
	}
	for _, c := range []struct {
		name, words, hint string
		request           Request
	}{
		{"no major", "5 is no major version", "--to 18", into(Request{To: 5})},
		{"no engine", `no engine "magic"`, "stream or dump", into(Request{Engine: "magic"})},
		{"no comparison", `in the way "never"`, "full, sample or count", into(Request{Verify: "never"})},
		{"too many at once", "100 at once", "1 to 64", into(Request{Jobs: 100})},
		{"fewer than none at once", "-1 at once", "1 to 64", into(Request{Jobs: -1})},
		{"a grace of less than nothing", "cannot be negative", "10s", into(Request{Grace: -time.Second})},
		{"two targets", "both a name", "one of --name and --into", into(Request{Name: "x"})},
		{"a way back of nothing", "for a catch-up", "--catch-up", into(Request{NoWayBack: true})},
		{"a catch-up through a folder", "snapshot of a replication slot", "--engine", into(Request{CatchUp: true, Engine: EngineDump})},
	} {
		for _, kind := range []string{RunKind, RehearseKind} {
			_, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: target, Request: c.request, Requester: tester})
			if !is(err, fault.Usage) || !strings.Contains(err.Error(), c.words) || !strings.Contains(fault.HintOf(err), c.hint) {
				t.Errorf("%s, %s: %v (%s)", kind, c.name, err, fault.HintOf(err))
			}
		}
	}
	_, err := b.Plan(t.Context(), op.PlanRequest{Kind: RunKind, Target: target, Request: into(Request{Databases: []string{"shop", "nope"}}), Requester: tester})
	if !is(err, fault.Usage) || !strings.Contains(err.Error(), "none that is called nope") || !strings.Contains(fault.HintOf(err), "it has: shop") {
		t.Errorf("a database that is not there: %v, %s", err, fault.HintOf(err))
	}
	g.exec(t, "new", "postgres", "create table mine (i int)")
	b.blocks(t, "a target that holds a table", RunKind, into(Request{}), "target-holds", "mine in the database postgres")
	g.exec(t, "new", "postgres", "drop table mine")
	g.exec(t, "new", "postgres", "create database theirs")
	b.blocks(t, "a target that holds a database", RunKind, into(Request{}), "target-holds", "the databases theirs")
	g.exec(t, "new", "postgres", "drop database theirs")

	// What comes between the plan and the run stops it before anything was done.
	plan := b.plan(t, RunKind, into(Request{}))
	g.exec(t, "old", "shop", "create extension adminpack")
	b.blocks(t, "an extension that the target lacks", RunKind, into(Request{}), "extension-missing", "adminpack")
	g.exec(t, "old", "shop", "drop extension adminpack")
	b.direct(t, begins("target", func(int) { g.exec(t, "old", "shop", "create extension adminpack") }))
	id := b.submit(t, plan)
	b.parks(t, id, "target", "the target does not have an extension: adminpack", "DROP EXTENSION adminpack")
	b.tell(t, id, state.UndoRun)
	b.ends(t, id, state.Undone)
	g.exec(t, "old", "shop", "drop extension adminpack")
	g.undone(t, "nothing was begun", before)
}

// undoes ends a run in those steps and undoes it. Where another step ends, the one after it begins: that is undone with it.
func (g *ground) undoes(t *testing.T, request Request, steps ...string) {
	t.Helper()
	before := g.state(t)
	b := newBench(t, "sqlite", g.deps())
	b.direct(t, g.everyStep(t, before, steps))
	id := b.submit(t, b.plan(t, RunKind, request))
	b.ends(t, id, state.Gate)
	if request.CatchUp {
		g.exec(t, "old", "shop", "alter table app.item add late int")
		b.tell(t, id, state.Continue)
		b.parks(t, id, "note, drain", "table app.item was altered", "")
	}
	b.tell(t, id, state.UndoRun)
	b.ends(t, id, state.Undone)
	if request.CatchUp {
		g.exec(t, "old", "shop", "alter table app.item drop late")
	}
	g.undone(t, "undone by a person's word", before)
}

func (g *ground) overcomes(t *testing.T) {
	b := newBench(t, "sqlite", g.deps())
	c := b.deps.Clients.(*clients)
	owner, err := g.connectAs(t.Context(), "old", "shop", "app_owner")
	if err != nil {
		t.Fatal(err)
	}
	b.direct(t, begins("copy shop", func(attempt int) {
		if attempt > 1 {
			return
		}
		if _, err := owner.Exec(t.Context(), "alter table app.item add late int"); err == nil {
			t.Error("an owner who was there alters a table")
		}
		if conn, err := g.connectAs(t.Context(), "old", "shop", "app_owner"); refused(err) != "42501" {
			t.Errorf("an owner comes in: %v, %v", conn, err)
		}
		// The server's own limit for temporary files stands for a full disk.
		g.exec(t, "new", "postgres", "alter database shop set temp_file_limit = '64kB'; alter database shop set maintenance_work_mem = '1MB'")
		g.after(mark{600 << 10, g.restart(t, "new")}, mark{1600 << 10, g.restart(t, "old")}, mark{2600 << 10, func() {
			g.sever("all")
			time.AfterFunc(300*time.Millisecond, g.mend)
		}})
	}))
	id := b.submit(t, b.plan(t, RunKind, Request{To: 18, Into: "new", Observe: 1, Unattended: true}))
	b.parks(t, id, "copy shop", "temporary file size exceeds \"temp_file_limit\"", "mend that")
	if left := g.overcome(); left > 0 {
		t.Errorf("%d troubles did not come", left)
	}
	g.exec(t, "new", "postgres", "alter database shop reset temp_file_limit; alter database shop reset maintenance_work_mem")

	// A password that is not taken any more is like a token that expired.
	g.server["new"].Exec(t, "postgres", "alter role boss password "+literal(verifier(t, "another horse")))
	b.tell(t, id, state.Retry)
	b.parks(t, id, "copy shop", "password authentication failed", "see whether it can be reached")
	g.server["new"].Exec(t, "postgres", "alter role boss password "+literal(verifier(t, g.Servers["new"].Password)))
	b.tell(t, id, state.Retry)
	r := b.attach(t, id)
	b.done(t, r)
	g.same(t, "shop")

	rollback := RollbackRequest{Run: id}
	early := b.plan(t, RollbackKind, rollback)
	if len(early.Blocked()) > 0 || !slices.Contains(early.Notes, "nothing was written to new since the switch") {
		t.Errorf("%s", words2(early.Draft))
	}
	g.exec(t, "new", "shop", "insert into app.nokey select 1, 'new'")
	stayed := b.submit(t, early)
	b.parks(t, stayed, "back", "would be lost", "or stay: dbops runs decide "+stayed+" abandon")
	b.tell(t, stayed, state.Abandon)
	b.ends(t, stayed, state.Failed)
	if err := g.writesTo(t.Context(), "new"); err != nil {
		t.Errorf("a client cannot write where it stays: %v", err)
	}
	if p := b.plan(t, CleanupKind, CleanupRequest{Run: id}); len(p.Blocked()) > 0 {
		t.Errorf("after a rollback that moved nobody: %s", words2(p.Findings))
	}
	b.blocks(t, "what was written would be lost", RollbackKind, rollback, "lost-writes", "app.nokey, 1 rows")
	g.sever("new")
	b.blocks(t, "the new server is away", RollbackKind, rollback, "lost-writes", "new cannot be reached")
	rollback.LoseWrites = true
	c.fail = fault.Newf(fault.Failed, "switch", "the container has no room").Hint("make room")
	half := b.submit(t, b.plan(t, RollbackKind, rollback))
	b.ends(t, half, state.Parked)
	b.blocks(t, "a rollback waits", CleanupKind, CleanupRequest{Run: id}, "rollback", half)
	b.tell(t, half, state.Abandon)
	b.ends(t, half, state.Failed)
	b.blocks(t, "a rollback was given up half-way", CleanupKind, CleanupRequest{Run: id}, "rollback", half)
	c.fail = nil
	back := b.run(t, RollbackKind, rollback)
	b.done(t, back)
	if journal, err := b.Journal(t.Context(), back.ID); err != nil || c.now != "old" || !strings.Contains(words2(journal), "back") {
		t.Errorf("%v: clients use %q", err, c.now)
	}
	g.mend()
	if err := g.writesTo(t.Context(), "old"); err != nil {
		t.Errorf("a client cannot write: %v", err)
	}
	b.blocks(t, "a second time", RollbackKind, rollback, "ended", RollbackKind)
	b.blocks(t, "and then cleanup", CleanupKind, CleanupRequest{Run: id}, "not-made", RollbackKind)
}

func (g *ground) overcomesBesideClients(t *testing.T) {
	b := newBench(t, "sqlite", g.deps())
	b.direct(t, chain(
		begins("copy shop", func(attempt int) {
			switch attempt {
			case 1:
				g.after(mark{600 << 10, g.restart(t, "old")}, mark{1600 << 10, g.restart(t, "new")})
			case 2: // the copy begins again, by itself, with what is there now
				g.after(mark{1000 << 10, func() {
					g.exec(t, "old", "shop", "create table app.late (id int primary key); insert into app.late values (1)")
				}})
			}
		}),
		begins("catch-up", func(attempt int) {
			if attempt == 1 {
				g.restart(t, "new")()
				g.restart(t, "old")()
			}
		})))
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Into: "new", Observe: 1, CatchUp: true, FullIdentity: true}))
	b.ends(t, id, state.Gate)
	if left := g.overcome(); left > 0 {
		t.Errorf("%d troubles did not come", left)
	}
	g.exec(t, "new", "shop", "insert into app.item values (1000, 'in the way', 0)")
	g.exec(t, "old", "shop", "insert into app.item values (1000, 'late', 1000); update app.nokey set b = 'y'")
	b.tell(t, id, state.Continue)
	b.parks(t, id, "note, drain", `duplicate key value violates unique constraint "item_pkey": Key (id)=(1000) already exists`, "mend the row")
	g.exec(t, "new", "shop", "delete from app.item where id = 1000")
	b.tell(t, id, state.Retry)
	b.done(t, b.attach(t, id))
	g.same(t, "shop")

	b.done(t, b.run(t, CleanupKind, CleanupRequest{Run: id}))
	b.blocks(t, "back after cleanup", RollbackKind, RollbackRequest{Run: id}, "ended", CleanupKind)
	for _, server := range []string{"old", "new"} {
		if left := g.exec(t, server, "shop", "select (select count(*) from pg_replication_slots) + (select count(*) from pg_subscription) + (select count(*) from pg_publication) + (select count(*) from pg_roles where rolname like 'dbops%')"); left != "0" {
			t.Errorf("%s things of the replication are left on %s", left, server)
		}
	}
}

func TestACloudsInstanceIsGoneWithAnUndoneRun(t *testing.T) {
	t.Parallel()
	p, g := stage(t, cloud.RDS)
	p = p.instance(t, g, "shop-main", 16)
	p.exec(t, p.Source, "postgres", "create role app_owner login")
	p.exec(t, p.Source, "postgres", "create database shop owner app_owner")
	p.exec(t, p.Source, "shop", "create table t (id int primary key, v text); insert into t select i, 'x' from generate_series(1, 100) i; alter table t owner to app_owner")
	before := p.exec(t, p.Source, "shop", wholeServer) + p.exec(t, p.Source, "shop", wholeDatabase)
	b := p.bench(t, "sqlite")
	c := b.deps.Clients.(*clients)
	c.fail = fault.Newf(fault.Failed, "switch", "the container has no room").Hint("make room")
	b.direct(t, begins("target", func(attempt int) {
		if attempt == 1 {
			p.exec(t, p.Source, "shop", "create extension adminpack")
		}
	}))
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Observe: 1, Unattended: true}))
	b.parks(t, id, "target", "the target does not have an extension: adminpack", "DROP EXTENSION adminpack")
	p.exec(t, p.Source, "shop", "drop extension adminpack")
	b.tell(t, id, state.Retry)
	b.parks(t, id, "switch", "the container has no room", "make room")
	c.fail = nil
	b.tell(t, id, state.UndoRun)
	b.ends(t, id, state.Undone)
	if now := p.exec(t, p.Source, "shop", wholeServer) + p.exec(t, p.Source, "shop", wholeDatabase); now != before {
		t.Errorf("the source is not as before:\n%s", differing(before, now))
	}
	if all, err := g.Client.List(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%v: %d instances", err, len(all))
	}
}
