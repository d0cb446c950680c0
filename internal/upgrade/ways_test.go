package upgrade

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// replication counts what a catch-up makes on a server, in the database shop.
const replication = `select (select count(*) from pg_replication_slots) + (select count(*) from pg_subscription) + (select count(*) from pg_publication)
 + (select count(*) from pg_roles where rolname like 'dbops\_r%')`

func TestWaysBackOfACatchUp(t *testing.T) {
	t.Parallel()
	g := newGround(t, 14, 17)
	g.fill(t)
	g.exec(t, "old", "shop", "alter table app.nokey add primary key (a)")
	t.Run("from a run that was abandoned before the switch", g.backFromClosed)
	t.Run("from a run that was abandoned in the switch", g.backFromAbandoned)
	t.Run("from a run that was killed, and without what cannot be carried back", g.backWithoutWrites)
}

// without lets a rollback without what was written go to its end, and demands that nothing could come after clients were back.
func (g *ground) without(t *testing.T, b *bench, id string) {
	t.Helper()
	c := b.deps.Clients.(*clients)
	c.seen = func() {
		if n := g.exec(t, "old", "shop", "select count(*) from pg_subscription"); n != "0" {
			t.Errorf("clients come back while the old server follows the new one")
		}
	}
	back := b.run(t, RollbackKind, RollbackRequest{Run: id, LoseWrites: true})
	c.seen = nil
	b.done(t, back)
	journal, err := b.Journal(t.Context(), back.ID)
	if err != nil || c.now != "old" || !slices.ContainsFunc(journal, func(s state.Step) bool {
		return strings.Contains(string(s.Output), "lost, as asked, because it could not be carried back")
	}) {
		t.Errorf("%v: clients use %q: %s", err, c.now, words2(journal))
	}
	for _, server := range []string{"old", "new"} {
		if left := g.exec(t, server, "shop", replication); left != "0" {
			t.Errorf("%s things of the replication are left on %s", left, server)
		}
	}
	if err := g.writesTo(t.Context(), "old"); err != nil {
		t.Errorf("a client cannot write: %v", err)
	}
	if _, err := g.connectAs(t.Context(), "new", "shop", "writer"); refused(err) != "42501" {
		t.Errorf("a client comes into the new server: %v", err)
	}
}

// A run that is abandoned between the closing and the switch leaves clients shut out: they are let in again, and the replication ends.
func (g *ground) backFromClosed(t *testing.T) {
	before := g.state(t)
	b := newBench(t, "sqlite", g.deps())
	b.direct(t, func(steps []op.Step) []op.Step {
		i := slices.IndexFunc(steps, func(s op.Step) bool { return s.Name == markStep })
		steps[i].Do = func(context.Context, *op.Session) (op.Result, error) {
			return op.Result{}, fault.Newf(fault.Failed, "note", "not today")
		}
		return steps
	})
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Into: "new", Observe: 1, CatchUp: true, Unattended: true}))
	b.ends(t, id, state.Parked)
	b.tell(t, id, state.Abandon)
	b.ends(t, id, state.Failed)
	if err := g.writesTo(t.Context(), "old"); refused(err) != "42501" {
		t.Errorf("a client comes in: %v", err)
	}
	if report := b.report(t, id); !strings.HasPrefix(report.Clients, "shut out of old since ") {
		t.Errorf("%s", words2(report))
	}
	b.blocks(t, "its source is all that there is", CleanupKind, CleanupRequest{Run: id}, "not-switched", "abandoned with clients shut out of old")
	b.done(t, b.run(t, RollbackKind, RollbackRequest{Run: id}))
	b.blocks(t, "a second time", RollbackKind, RollbackRequest{Run: id}, "ended", RollbackKind)
	g.clear(t)
	g.undone(t, "let in again", before)
}

// clear takes from the new server what a run that was abandoned has left there.
func (g *ground) clear(t *testing.T) {
	t.Helper()
	g.exec(t, "new", "postgres", "drop database shop with (force)")
	g.exec(t, "new", "postgres", "drop role app_owner, writer, reader, team, orphan, heir; drop role if exists dbops_upgrade")
}

func (g *ground) backFromAbandoned(t *testing.T) {
	b := newBench(t, "sqlite", g.deps())
	c := b.deps.Clients.(*clients)
	c.fail = fault.Newf(fault.Failed, "switch", "the container has no room").Hint("make room")
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Into: "new", Observe: 1, CatchUp: true, Unattended: true}))
	b.parks(t, id, "switch", "no room", "make room")
	report := b.report(t, id)
	if report.ShutOut.IsZero() || !strings.HasPrefix(report.Clients, "shut out of old since ") || !strings.Contains(report.Next, "make room; then dbops runs decide "+id) ||
		!strings.HasPrefix(report.Verdict(), "it is not finished: it is parked at step switch: switch: the container has no room; clients are shut out of old since ") {
		t.Errorf("%s: %s", report.Verdict(), words2(report))
	}
	const snapshots = "select count(*) %s 0 from pg_stat_activity where application_name = 'dbops upgrade' and state = 'idle in transaction'"
	g.until(t, "old", strings.ReplaceAll(snapshots, "%s", ">"))
	b.tell(t, id, state.Abandon)
	b.ends(t, id, state.Failed)
	for _, server := range []string{"old", "new"} {
		g.until(t, server, strings.ReplaceAll(snapshots, "%s", "="))
	}
	c.fail = nil
	if p := b.plan(t, RollbackKind, RollbackRequest{Run: id}); len(p.Blocked()) > 0 {
		t.Errorf("%s", words2(p.Findings))
	}
	b.blocks(t, "the source may be needed", CleanupKind, CleanupRequest{Run: id}, "switched-in-part", "some may need old")
	// A slot that somebody drops takes along what it kept.
	g.exec(t, "new", "shop", "select pg_drop_replication_slot(slot_name) from pg_replication_slots")
	b.blocks(t, "nothing kept what was written", RollbackKind, RollbackRequest{Run: id}, "lost-writes", "its slot ")
	g.without(t, b, id)
	_, _, _, after, err := b.journal(t.Context(), id)
	report = b.report(t, id)
	if report.EndedBy(after); err != nil || !report.ShutOut.IsZero() || report.Clients != "" || !strings.HasPrefix(report.After, RollbackKind) {
		t.Errorf("%v: %s", err, words2(report))
	}
	g.clear(t)
}

func (g *ground) backWithoutWrites(t *testing.T) {
	b := newBench(t, "sqlite", g.deps())
	id := b.submit(t, b.plan(t, RunKind, Request{To: 17, Into: "new", Observe: 1, CatchUp: true}))
	b.ends(t, id, state.Gate)
	if report := b.report(t, id); !report.ShutOut.IsZero() || report.Clients != "on old" || !strings.Contains(report.Next, "dbops upgrade cutover -e prod old goes on") ||
		!strings.Contains(report.Verdict(), "it is not finished: it waits at its gate; clients are on old; ") {
		t.Errorf("%s: %s", report.Verdict(), words2(report))
	}
	b.tell(t, id, state.Continue)
	dieAt(t, life{Plain: g.plain, Store: b.place, Run: id, Marks: t.TempDir(), Only: compareStep + " " + op.EventStep})
	report := b.report(t, id)
	want := "it is not finished: it was interrupted at step compare; clients are on new; dbops runs resume " + id + " goes on; dbops upgrade rollback -e prod old goes back"
	var md, html strings.Builder
	if err := report.Markdown(&md); err != nil || report.Verdict() != want || !strings.Contains(firstLines(md.String(), 3), want) {
		t.Errorf("%v: %s", err, md.String())
	}
	if err := report.HTML(&html); err != nil || !strings.Contains(html.String(), "it was interrupted at step compare; clients are on new") {
		t.Errorf("%v: %s", err, html.String())
	}
	b.done(t, b.attach(t, id))
	if report := b.report(t, id); !strings.HasPrefix(report.Verdict(), "clients were shut out for ") || !strings.Contains(report.Verdict(), "; rows were not compared as they were at the cut-over") {
		t.Errorf("%s: %s", report.Verdict(), words2(report))
	}

	g.exec(t, "old", "shop", "begin read write; insert into app.item values (7000, 'in the way', 0); commit")
	g.exec(t, "new", "shop", "insert into app.item values (7000, 'new', 0)")
	rollback := RollbackRequest{Run: id}
	for until := time.Now().Add(time.Minute); !has(b.plan(t, RollbackKind, rollback).Findings, op.Block, "lost-writes"); {
		if time.Now().After(until) {
			t.Fatal("a row in the way stops nothing")
		}
		if err := op.Sleep(t.Context(), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	g.without(t, b, id)
	if got := g.exec(t, "old", "shop", "select name from app.item where id = 7000"); got != "in the way" {
		t.Errorf("a row of the new server: %q", got)
	}
}

func firstLines(text string, n int) string {
	return strings.Join(strings.SplitN(text, "\n", n+1)[:n], "\n")
}

// dieAt lets a process work on a run until it kills itself at one moment.
func dieAt(t *testing.T, l life) {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	out, err := cmd.CombinedOutput()
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() {
		t.Fatalf("it did not die at %s: %v: %s", l.Only, err, out)
	}
}

func TestACloudsTargetThatIsGoneIsDoneWithout(t *testing.T) {
	t.Parallel()
	p, g := stage(t, cloud.RDS)
	p = p.logical(t, g, "shop-main", 16)
	p.exec(t, p.Source, "postgres", "create role app_owner login")
	p.exec(t, p.Source, "postgres", "create database shop owner app_owner")
	p.exec(t, p.Source, "shop", `set role app_owner; create schema app; create table app.item (id int primary key, v text); insert into app.item select i, 'x' from generate_series(1, 100) i;
 create table app.nokey (v text); insert into app.nokey values ('x')`)
	d, err := p.deps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c, _, err := d.Cloud(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	d.Connect = func(ctx context.Context, at op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
		if _, err := c.Get(ctx, s.Name); err != nil { // which says where it is
			return nil, err
		}
		return p.connect(ctx, at, s, database, tune)
	}
	b := newBench(t, "sqlite", d)
	before := p.exec(t, p.Source, "shop", wholeServer) + p.exec(t, p.Source, "shop", wholeDatabase)
	asBefore := func(what string) {
		t.Helper()
		if now := p.exec(t, p.Source, "shop", wholeServer) + p.exec(t, p.Source, "shop", wholeDatabase); now != before {
			t.Errorf("%s: the source is not as before:\n%s", what, differing(before, now))
		}
	}
	request := Request{To: 17, Observe: 1, CatchUp: true, FullIdentity: true}

	id := b.submit(t, b.plan(t, RunKind, request))
	b.ends(t, id, state.Gate)
	removed(t, c, "shop-main-pg17")
	b.tell(t, id, state.UndoRun)
	b.ends(t, id, state.Undone)
	asBefore("undone")

	request.Unattended = true
	id = b.submit(t, b.plan(t, RunKind, request))
	b.done(t, b.attach(t, id))
	if live, err := c.Get(t.Context(), p.Source); err != nil || !live.DeletionProtection {
		t.Errorf("%v: the way back is not protected", err)
	}
	removed(t, c, "shop-main-pg17")
	b.blocks(t, "the new instance is gone", RollbackKind, RollbackRequest{Run: id}, "lost-writes", "shop-main-pg17")
	b.done(t, b.run(t, RollbackKind, RollbackRequest{Run: id, LoseWrites: true}))
	asBefore("rolled back")
	if c := b.deps.Clients.(*clients); c.now != p.Source {
		t.Errorf("clients use %q", c.now)
	}
	if live, err := c.Get(t.Context(), p.Source); err != nil || live.DeletionProtection {
		t.Errorf("%v: what was not protected before is protected", err)
	}
}

// removed removes an instance, as somebody does in the provider's console.
func removed(t *testing.T, c Cloud, name string) {
	t.Helper()
	until := time.Now().Add(time.Minute)
	for step := 0; ; {
		live, err := c.Get(t.Context(), name)
		switch {
		case is(err, fault.NotFound):
			return
		case err != nil:
			t.Fatal(err)
		case time.Now().After(until):
			t.Fatalf("%s is still %s", name, live.RawState)
		case live.State != cloud.Available:
		case live.DeletionProtection && step == 0:
			step = 1
			_, err = c.Modify(t.Context(), name, cloud.Modify{Settings: cloud.Settings{DeletionProtection: new(false)}})
		case !live.DeletionProtection:
			_, err = c.Delete(t.Context(), name)
		}
		if err != nil && !is(err, fault.Busy, fault.NotFound) {
			t.Fatal(err)
		}
		if err := op.Sleep(t.Context(), 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}
