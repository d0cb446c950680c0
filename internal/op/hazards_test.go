package op

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// What is known to go wrong with the engine underneath, or would without ours: see the comments of the runner.

// process is a child that runs beside the test.
type process struct {
	*exec.Cmd
	out  strings.Builder
	done chan struct{}
	err  error
}

func (b *bench) child(spec childSpec) *process {
	b.T.Helper()
	spec.Place, spec.World = b.place, b.toys.world.dir
	p := &process{Cmd: spec.command(b.T), done: make(chan struct{})}
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		b.T.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.err = p.Wait()
	}()
	b.T.Cleanup(func() {
		_ = p.Process.Signal(syscall.SIGCONT)
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

// ends waits for a child's end and returns what it said.
func (p *process) ends(t *testing.T) (said string, err error) {
	t.Helper()
	select {
	case <-p.done:
		return p.out.String(), p.err
	case <-time.After(60 * time.Second):
		t.Fatal("the child does not end")
		return "", nil
	}
}

func (b *bench) signal(p *process, s syscall.Signal) {
	b.T.Helper()
	if err := p.Process.Signal(s); err != nil {
		b.T.Fatal(err)
	}
}

func (b *bench) run(id string) state.Run {
	b.T.Helper()
	r, err := b.Run(b.T.Context(), id)
	if err != nil {
		b.T.Fatal(err)
	}
	return r
}

// beside does something while a test goes on, and returns how to wait for it.
func beside(do func() error) (wait func() error) {
	end := make(chan error, 1)
	go func() { end <- do() }()
	return func() error { return <-end }
}

func TestASecondProcessOnAFileWaitsAndGoesOn(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	first := b.submit(t, b.plan(t, toyRequest{Settings: []string{"wait", "a"}, Value: "1"})).ID
	second := b.submit(t, b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Target.Instance = "other" })).ID
	p := b.child(childSpec{Do: "attach", Run: first})
	eventually(t, "the child is in its step", func() bool { return b.toys.world.said("at wait") })
	var events []string
	wait := beside(func() error {
		_, err := b.Attach(t.Context(), second, 0, func(e state.Event) { events = append(events, e.Kind) })
		return err
	})
	if _, err := b.mayWorkOn(second); !errors.Is(err, errNotFree) { // the file is the child's
		t.Errorf("a second runner began: %v", err)
	}
	wants(t, "the second run", b.run(second).State, state.Queued)
	b.toys.world.say("go")
	if said, err := p.ends(t); err != nil || said != "done\n" {
		t.Errorf("the child: %v, %q", err, said)
	}
	if err := wait(); err != nil {
		t.Error(err)
	}
	wants(t, "the second run", b.run(second).State, state.Done)
	wants(t, "effects", b.toys.world.effects(), []string{"wait=1", "a=1", "b=1"})
	b.verified(t)
}

var errNotFree = errors.New("it is not free")

// mayWorkOn tells whether this process would begin to work on a run.
func (b *bench) mayWorkOn(id string) (func() error, error) {
	w := &watcher{e: b.Engine, id: id}
	letGo, err := w.mayWork(b.T.Context(), b.run(id))
	if err == nil && letGo == nil {
		err = errNotFree
	}
	return letGo, err
}

func TestAnotherVersionOfDbopsGoesOn(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "wait", "b"}, Value: "1"})).ID
		old := b.child(childSpec{Do: "attach", Run: id, Name: "v1", TTL: 10 * time.Second})
		eventually(b.T, "the old one is in its step", func() bool { return b.toys.world.said("at wait") })
		b.signal(old, syscall.SIGKILL)
		_, _ = old.ends(b.T)
		b.toys.world.say("go")
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			b.T.Fatal(err)
		}
		newer := filepath.Join(b.T.TempDir(), "newer") // another hash
		if err := os.WriteFile(newer, append(self, 0), 0o700); err != nil {
			b.T.Fatal(err)
		}
		if said, err := b.child(childSpec{Do: "attach", Run: id, Name: "v2", Program: newer}).ends(b.T); err != nil || said != "done\n" {
			b.T.Errorf("the newer one: %v, %q", err, said)
		}
		wants(b.T, "effects", b.toys.world.effects(), []string{"a=1", "wait=1", "b=1"})
		b.verified(b.T)
	})
}

// worker lets this process be a worker for the length of a test.
func (b *bench) worker(change ...func(*Options)) *Engine {
	b.T.Helper()
	e := newEngine(b.T, b.store, b.toys, change...)
	ctx, cancel := context.WithCancel(b.T.Context())
	wait := beside(func() error { return e.Work(ctx) })
	b.T.Cleanup(func() {
		cancel()
		if err := wait(); err != nil {
			b.T.Errorf("the worker: %v", err)
		}
	})
	return e
}

func TestARunOfADeadWorkerIsTakenOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "wait", "b"}, Value: "1"})).ID
	dead := b.child(childSpec{Do: "work", TTL: 10 * time.Second})
	eventually(t, "the first is in its step", func() bool { return b.toys.world.said("at wait") })
	was := b.run(id).Runner
	b.signal(dead, syscall.SIGKILL)
	_, _ = dead.ends(t)
	b.toys.world.say("go")
	b.worker()
	wants(t, "state", b.attach(t, id).State, state.Done)
	if now := b.run(id).Runner; now == was {
		t.Error("the runner is still the dead one")
	}
	wants(t, "effects", b.toys.world.effects(), []string{"a=1", "wait=1", "b=1"})
	b.verified(t)
}

// A run that waits for the instance must not keep the one that has it from being adopted by the same worker.
func TestAQueuedRunDoesNotKeepADeadOneFromBeingTakenOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	first := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "wait", "b"}, Value: "1"})).ID
	dead := b.child(childSpec{Do: "work", TTL: 10 * time.Second})
	eventually(t, "the first is in its step", func() bool { return b.toys.world.said("at wait") })
	second := b.submit(t, b.plan(t, toyRequest{Settings: []string{"c"}, Value: "1"})).ID
	b.worker()
	eventually(t, "the second waits for the instance", func() bool {
		events, err := b.Events(t.Context(), second, 0)
		return err == nil && slices.ContainsFunc(events, func(e state.Event) bool { return e.Kind == EventWaiting })
	})
	b.signal(dead, syscall.SIGKILL)
	_, _ = dead.ends(t)
	b.toys.world.say("go")
	wants(t, "state of the dead one's run", b.attach(t, first).State, state.Done)
	wants(t, "state of the one that waited", b.attach(t, second).State, state.Done)
	wants(t, "effects", b.toys.world.effects(), []string{"a=1", "wait=1", "b=1", "c=1"})
}

// A laptop's lid is closed for longer than its lease.
func TestARunnerThatSleptRecordsNothingMore(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"wait", "b"}, Value: "1", Naive: true})).ID
		do := "attach"
		if b.store.Team() {
			do = "work"
		}
		sleeper := b.child(childSpec{Do: do, Run: id, TTL: 10 * time.Second})
		eventually(b.T, "it is in its step", func() bool { return b.toys.world.said("at wait") })
		b.signal(sleeper, syscall.SIGSTOP)
		eventually(b.T, "its lease is over", func() bool {
			r := b.run(id)
			return r.Interrupted()
		})
		if b.store.Team() { // somebody else goes on, and is done before it wakes
			b.worker()
			b.toys.world.say("go")
			wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		}
		before, err := b.Journal(b.T.Context(), id)
		if err != nil {
			b.T.Fatal(err)
		}
		b.toys.world.say("go")
		b.signal(sleeper, syscall.SIGCONT)
		said, err := sleeper.ends(b.T)
		if err == nil || !strings.Contains(said, "the lease is lost") || !strings.Contains(said, string(fault.Unavailable)) {
			b.T.Errorf("the sleeper ended with %v and said %q", err, said)
		}
		after, err := b.Journal(b.T.Context(), id)
		if err != nil {
			b.T.Fatal(err)
		}
		wants(b.T, "the journal", after, before)
		if !b.store.Team() { // nobody else could go on, as it held the lock
			wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		}
		wants(b.T, "effects", b.toys.world.effects(), []string{"wait=1", "b=1"})
		b.verified(b.T)
	})
}

func TestACancelReachesAnotherProcessAndFreesNothingWhileTheStepRuns(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	one := b.submit(t, b.plan(t, toyRequest{Settings: []string{"stubborn"}, Value: "1"})).ID
	b.child(childSpec{Do: "work"})
	eventually(t, "it is in its step", func() bool { return b.toys.world.said("at stubborn") })
	two := b.submit(t, b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})).ID
	b.tell(t, one, state.Cancel)
	eventually(t, "it is told", func() bool { return b.toys.world.said("told stubborn") })
	if r := b.run(one); r.State != state.Running || !r.Alive {
		t.Errorf("while its step runs it is %+v", r)
	}
	wants(t, "two", b.run(two).State, state.Queued)
	b.toys.world.say("go") // it does not fail by being cancelled, so it is done
	wants(t, "one", b.attach(t, one).State, state.Done)
	wants(t, "two", b.attach(t, two).State, state.Done)
	three := b.submit(t, b.plan(t, toyRequest{Settings: []string{"waiting"}, Value: "1"})).ID
	_ = os.Remove(filepath.Join(b.toys.world.dir, "said go"))
	eventually(t, "the third is in its step", func() bool { return b.toys.world.said("at waiting") })
	b.tell(t, three, state.Cancel)
	r := b.attach(t, three)
	wants(t, "three", r.State, state.Parked)
	wants(t, "problem", r.Problem, "cancelled by alice (a test)")
	b.tell(t, three, state.Abandon)
	wants(t, "three", b.attach(t, three).State, state.Failed)
	b.verified(t)
}

func TestAStepThatDoesNotStopKeepsItsInstance(t *testing.T) {
	each(t, func(b *bench) {
		left := make(chan struct{})
		b.toys.inside = func(_ string, in bool) {
			if !in {
				close(left)
			}
		}
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"stubborn"}, Value: "1"})).ID
		other := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Target.Instance = "other" })).ID
		ctx, cancel := context.WithCancel(b.T.Context())
		wait := beside(func() error {
			_, err := b.Attach(ctx, id, 0, nil)
			return err
		})
		eventually(b.T, "it is in its step", func() bool { return b.toys.world.said("at stubborn") })
		cancel()
		err := wait()
		failed(b.T, err, fault.Unavailable, "its step does not stop")
		if r := b.run(id); !r.Alive {
			b.T.Errorf("nobody seems to work on it: %+v", r)
		}
		if letGo, err := b.mayWorkOn(other); b.store.Team() != (err == nil) { // in a file only one process works
			b.T.Errorf("another run: may be worked on %v, %v", letGo != nil, err)
		}
		b.toys.world.say("go")
		<-left
		wants(b.T, "effects of who has stopped", len(b.toys.world.effects()), 0)
	}, func(o *Options) { o.patience = 50 * time.Millisecond })
}

// The end of a context is not a wish to cancel: the engine underneath would end the run for good.
func TestTheEngineIsNeverToldToCancel(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"wait"}, Value: "1"})).ID
		for range 3 {
			ctx, cancel := context.WithCancel(b.T.Context())
			wait := beside(func() error {
				_, err := b.Attach(ctx, id, 0, nil)
				return err
			})
			eventually(b.T, "it is in its step", func() bool { return b.toys.world.said("at wait") })
			cancel()
			failed(b.T, wait(), fault.Interrupted, id)
			_ = os.Remove(filepath.Join(b.toys.world.dir, "said at wait"))
			wants(b.T, "the engine's record", b.record(id), "PENDING")
		}
		b.toys.world.say("go")
		wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		wants(b.T, "the engine's record", b.record(id), "SUCCESS")
	})
}

// record is what the engine underneath thinks of a run.
func (b *bench) record(id string) (status string) {
	b.T.Helper()
	table := "workflow_status"
	if b.store.Team() {
		table = "dbops_engine." + table
	}
	if err := b.store.DB.SQL.QueryRowContext(b.T.Context(), "select status from "+table+" where workflow_uuid = $1", id).Scan(&status); err != nil {
		b.T.Fatal(err)
	}
	return status
}

// A checkpoint, its audit entry and the journal are one transaction only if the engine uses it for all: else it keeps a table of its own.
func TestACheckpointIsOneTransactionWithWhatItRecords(t *testing.T) {
	each(t, func(b *bench) {
		wants(b.T, "state", b.attach(b.T, b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"})).ID).State, state.Done)
		query := "select count(*) from sqlite_master where name like '%completion%'"
		if b.store.Team() {
			query = "select count(*) from pg_class where relname like '%completion%'"
		}
		var n int
		if err := b.store.DB.SQL.QueryRowContext(b.T.Context(), query).Scan(&n); err != nil || n != 0 {
			b.T.Errorf("%d tables of transactions that are not the engine's own: %v", n, err)
		}
	})
}
