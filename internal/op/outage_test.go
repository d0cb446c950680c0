package op

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/state/db"
)

func TestAServerThatGoesAwayInTheMiddleOfARunLosesNothing(t *testing.T) {
	t.Parallel()
	s := pgtest.StartOwn(t, 17)
	place := statetest.Place{Dir: t.TempDir(), Host: s.Host, Port: s.Port, Password: s.Password.Reveal(), CAFile: s.CAFile, Database: s.Database(t)}
	b := newBench(t, place, func(o *Options) { o.TTL = 10 * time.Second })
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "wait", "b"}, Value: "1"})).ID
	wait := beside(func() error {
		_, err := b.Attach(t.Context(), id, 0, nil)
		return err
	})
	eventually(t, "it is in its step", func() bool { return b.toys.world.said("at wait") })
	if err := s.World.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := b.Runs(t.Context(), state.RunFilter{})
	failed(t, err, fault.Unavailable, "list runs")
	b.toys.world.say("go")
	err = wait()
	failed(t, err, fault.Unavailable, "")
	if fault.HintOf(err) == "" {
		t.Errorf("no hint: %v", err)
	}
	if err := s.World.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, "state", b.attach(t, id).State, state.Done)
	wants(t, "effects", b.toys.world.effects(), []string{"a=1", "wait=1", "b=1"})
	b.verified(t)
}

// The server is away for less than a lease, while nothing is recorded.
func TestAServerThatComesBackInTimeIsNotNoticed(t *testing.T) {
	t.Parallel()
	s := pgtest.StartOwn(t, 17)
	place := statetest.Place{Dir: t.TempDir(), Host: s.Host, Port: s.Port, Password: s.Password.Reveal(), CAFile: s.CAFile, Database: s.Database(t)}
	b := newBench(t, place, func(o *Options) { o.TTL = 40 * time.Second })
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "wait", "b"}, Value: "1"})).ID
	e := b.worker(func(o *Options) { o.TTL = 40 * time.Second })
	eventually(t, "it is in its step", func() bool { return b.toys.world.said("at wait") })
	if err := s.World.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.World.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.toys.world.say("go")
	run, err := e.Attach(t.Context(), id, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	wants(t, "state", run.State, state.Done)
	wants(t, "effects", b.toys.world.effects(), []string{"a=1", "wait=1", "b=1"})
	b.verified(t)
}

func TestAFullDiskStopsARunAndLosesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	settings := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
	b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"before"}, Value: "1"})).ID) // makes the engine's tables
	id := b.submit(t, b.plan(t, toyRequest{Settings: settings, Value: "1"})).ID
	wal, err := os.Stat(b.store.DB.Path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	said, err := b.child(childSpec{Do: "attach", Run: id, Limit: uint64(wal.Size()) + 300<<10}).ends(t)
	if err == nil || !strings.Contains(said, "full or failing") {
		t.Errorf("the child ended with %v and said %q", err, said)
	}
	if n := len(b.toys.world.effects()); n < 2 || n > len(settings) {
		t.Errorf("the disk was full after %d effects: the test proves nothing", n)
	}
	wants(t, "state", b.attach(t, id).State, state.Done)
	wants(t, "effects", len(b.toys.world.effects()), 1+len(settings))
	b.verified(t)
}

func TestALockedFileIsNamedAndWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	p := b.plan(t, toyRequest{Settings: []string{"wait"}, Value: "1"})
	lock := func() (unlock func()) {
		other, err := b.store.DB.Again(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tx, err := other.SQL.BeginTx(t.Context(), nil) // immediate
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := tx.Rollback(); err != nil {
				t.Error(err)
			}
			if err := other.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	unlock := lock()
	begin := time.Now()
	_, _, err := b.Submit(t.Context(), p, SubmitOptions{Actor: robot})
	failed(t, err, fault.Busy, "run set toys")
	if took := time.Since(begin); !strings.Contains(fault.HintOf(err), "fuser") || took > 15*time.Second {
		t.Errorf("after %s the hint is %q", took, fault.HintOf(err))
	}
	unlock()
	id := b.submit(t, p).ID
	wait := beside(func() error {
		_, err := b.Attach(t.Context(), id, 0, nil)
		return err
	})
	eventually(t, "it is in its step", func() bool { return b.toys.world.said("at wait") })
	unlock = lock()
	b.toys.world.say("go")
	eventually(t, "it acts", func() bool { return len(b.toys.world.effects()) == 1 })
	unlock()
	if err := wait(); err != nil {
		t.Error(err)
	}
	wants(t, "state", b.run(id).State, state.Done)
	b.verified(t)
}

func TestARunOfAnotherVersionIsLeftAlone(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
		for _, c := range []struct {
			toys *toys
			kind fault.Kind
			text string
		}{
			{&toys{world: b.toys.world, name: "other"}, fault.Config, "this dbops does not know it"},
			{&toys{world: b.toys.world, extra: "new"}, fault.Invalid, "they are not those of the plan"},
		} {
			_, err := newEngine(b.T, b.store, c.toys).Attach(b.T.Context(), id, 0, nil)
			failed(b.T, err, c.kind, c.text)
			if !strings.Contains(fault.HintOf(err), "another version") {
				b.T.Errorf("the hint is %q", fault.HintOf(err))
			}
		}
		wants(b.T, "effects", len(b.toys.world.effects()), 0)
		wants(b.T, "state", b.attach(b.T, id).State, state.Done)
	})
}

func TestARunOfAnotherVersionDoesNotStopAWorker(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	foreign := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
	tidy := &bench{Engine: newEngine(t, b.store, &toys{world: b.toys.world, name: "tidy"}), T: t}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wait := beside(func() error { return tidy.Work(ctx) })
	eventually(t, "the worker says that it cannot", func() bool {
		events, err := b.Events(t.Context(), foreign, 0)
		last := events[len(events)-1]
		return err == nil && last.Kind == EventWaiting && strings.Contains(last.Text, "this dbops does not know it")
	})
	own := tidy.submit(t, tidy.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Kind, q.Target.Instance = "tidy", "other" })).ID
	wants(t, "its own run", tidy.attach(t, own).State, state.Done)
	cancel()
	if err := wait(); err != nil {
		t.Errorf("the worker: %v", err)
	}
	b.worker()
	wants(t, "the other run, with the other worker", b.attach(t, foreign).State, state.Done)
	b.verified(t)
}

func TestAFolderThatCannotBeWrittenIsNamed(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := db.OpenSQLite(t.Context(), filepath.Join(file, "state.db"))
	failed(t, err, fault.Config, "open the state")
}
