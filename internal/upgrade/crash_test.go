package upgrade

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

const childVariable = "DBOPS_UPGRADE_CHILD"

// life is what a child process gets.
type life struct {
	Plain plain
	Store statetest.Place
	Run   string
	Marks string // the folder where it says at which moments it died
	Only  string // the only moment at which it dies: a step and a kind of event
}

// child works on a run until it kills itself, in a process that a test started.
func child() bool {
	text := os.Getenv(childVariable)
	if text == "" {
		return false
	}
	if err := live(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	return true
}

func live(text string) error {
	var l life
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s, err := l.Store.Open(ctx, "tester")
	if err != nil {
		return err
	}
	d := l.Plain.deps()
	d.Clients = &clients{}
	e, err := engine(s, d)
	if err != nil {
		return err
	}
	run, err := e.Attach(ctx, l.Run, 0, func(ev state.Event) { l.die(ev) })
	if err != nil {
		return err
	}
	if run.State != state.Done && run.State != state.Gate {
		return fmt.Errorf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	return s.Close()
}

// die kills the process the first time that a step begins, tells its first progress, and ends.
func (l life) die(e state.Event) {
	if l.Only != "" && l.Only != e.Step+" "+e.Kind {
		return
	}
	if e.Kind != op.EventStep && e.Kind != op.EventProgress && e.Kind != op.EventDone {
		return
	}
	name := strings.NewReplacer("/", "-", " ", "_").Replace(e.Step + " " + e.Kind)
	f, err := os.OpenFile(filepath.Join(l.Marks, name), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // died here before
	}
	_ = f.Close()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// liveOn starts one process after the other until one lives to the end or the gate, and returns how many died.
func liveOn(t *testing.T, b *bench, l life) (deaths int) {
	t.Helper()
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	for deaths = 0; deaths < 80; deaths++ {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"="+string(text))
		out, err := cmd.CombinedOutput()
		if err == nil {
			return deaths
		}
		if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !st.Signaled() {
			run, _ := b.Run(t.Context(), l.Run)
			t.Fatalf("after %d deaths: %v: %s\n%+v", deaths, err, out, run)
		}
	}
	t.Fatal("it does not come to an end")
	return deaths
}

func TestAKilledUpgradeGoesOn(t *testing.T) {
	for _, way := range []struct {
		name     string
		from, to int
		store    string
		request  Request
	}{
		{"one snapshot", 15, 18, "sqlite", Request{To: 18, Into: "new", Observe: 1}},
		{"a folder", 16, 17, "sqlite", Request{To: 17, Into: "new", Observe: 1, Engine: EngineDump}},
		{"catching up", 14, 17, "postgres", Request{To: 17, Into: "new", Observe: 1, CatchUp: true, FullIdentity: true}},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			p := between(t, way.from, way.to)
			if way.request.CatchUp {
				p.followable(t, "shop")
			} else {
				p.zoo(t, "shop")
			}
			b := newBench(t, way.store, p.deps())
			plan := b.plan(t, RunKind, way.request)
			if blocked := plan.Blocked(); len(blocked) > 0 {
				t.Fatalf("%s", words2(blocked))
			}
			id := b.submit(t, plan)
			l := life{Plain: p, Store: b.place, Run: id, Marks: t.TempDir()}
			deaths := liveOn(t, b, l)
			run, err := b.Run(t.Context(), id)
			if err != nil || run.State != state.Gate {
				t.Fatalf("%v: the run is %s at %s: %s", err, run.State, run.Step, run.Problem)
			}
			if way.request.CatchUp {
				p.exec(t, "old", "shop", "insert into app.item select i, 'late' from generate_series(5001, 5100) i; update app.item set name = 'other' where id % 7 = 0; delete from app.item where id % 11 = 0")
			}
			b.tell(t, id, state.Continue)
			deaths += liveOn(t, b, l)
			if run, err = b.Run(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			b.done(t, run)
			p.same(t, "shop")
			journal, err := b.Journal(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range journal {
				name := strings.ReplaceAll(s.Name, " ", "_")
				for _, kind := range []string{op.EventStep, op.EventDone} {
					if _, err := os.Stat(filepath.Join(l.Marks, name+"_"+kind)); err != nil && s.Name != gateStep {
						t.Errorf("no process died at %s of %s", kind, s.Name)
					}
				}
			}
			t.Logf("%d processes died", deaths)
		})
	}
}

// followable fills the old server with what logical replication can follow.
func (p plain) followable(t testing.TB, database string) {
	t.Helper()
	p.exec(t, "old", "postgres", "create role app_owner login")
	p.exec(t, "old", "postgres", "create database "+ident(database)+" owner app_owner")
	p.exec(t, "old", database, `create schema app authorization app_owner; set role app_owner; set search_path = app;
 create table item (id int primary key, name text not null, at timestamptz default now(), n int generated always as (id * 2) stored); insert into item select i, 'item ' || i from generate_series(1, 5000) i;
 create table "Größe ""x""" (id bigint generated always as identity primary key, v jsonb); insert into "Größe ""x""" (v) select jsonb_build_object('i', i) from generate_series(1, 300) i;
 create table nokey (a int, b text); insert into nokey select i, 'x' from generate_series(1, 50) i;
 create table part (id int, d date, primary key (id, d)) partition by range (d); create table part_1 partition of part for values from ('2024-01-01') to ('2025-01-01'); create table part_d partition of part default;
 insert into part select i, '2024-06-01'::date + i from generate_series(1, 400) i;
 create table child (id serial primary key, item int references item on delete cascade); insert into child (item) select i from generate_series(1, 1000) i; create index on child (item);
 create materialized view mv as select count(*) from item; create view v as select * from item where id < 10`)
}
