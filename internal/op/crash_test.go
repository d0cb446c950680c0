package op

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// A process is killed after each thing that it leaves behind, in the store or in the world, and this one goes on with the run. Between two of
// them nothing that a later process could see is different.

// crashChild is the process that dies: it works on its plan, and answers the questions of the run with a word.
func crashChild(ctx context.Context, c childSpec) error {
	var mu sync.Mutex
	var points []string
	point := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if points = append(points, name); len(points) == c.DieAt {
			fmt.Fprintln(os.Stderr, "dies", name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	s, err := c.Place.Open(ctx, "tester")
	if err != nil {
		return err
	}
	y := &toys{world: toyWorld{c.World}, hook: point}
	e, err := c.engine(s, y, func(o *Options) { o.hook = point })
	if err != nil {
		return err
	}
	run, _, err := e.Submit(ctx, c.Plan, SubmitOptions{Actor: robot})
	if err != nil {
		return err
	}
	point("the plan is submitted")
	for {
		if run, err = e.Attach(ctx, run.ID, 0, nil); err != nil {
			return err
		}
		if run.State.Ended() {
			fmt.Printf("%s\n%s\n", strings.Join(points, "\n"), run.State)
			return s.Close()
		}
		if err := e.Tell(ctx, run.ID, c.Told, robot, "the test"); err != nil {
			return err
		}
		point("the run is told")
	}
}

// crashes are runs of one plan, each in a world and an instance of its own.
type crashes struct {
	request toyRequest
	told    state.Verb
	end     state.RunState

	template statetest.Place
	shared   *state.Store // PostgreSQL; a SQLite file has one runner at a time, so there each run has its own
}

func newCrashes(t *testing.T, kind string, r toyRequest, told state.Verb, end state.RunState) *crashes {
	t.Helper()
	c := &crashes{request: r, told: told, end: end, template: statetest.New(t, kind)}
	s, err := c.template.Open(t.Context(), "tester")
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Engine: newEngine(t, s, &toys{world: toyWorld{t.TempDir()}}), T: t}
	b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID) // makes the engine's tables
	if kind == "postgres" {
		c.shared = s
		t.Cleanup(func() { _ = s.Close() })
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return c
}

// crash is one of them.
type crash struct {
	*bench
	spec childSpec
}

func (c *crashes) new(t *testing.T, name string) crash {
	t.Helper()
	place, s := c.template, c.shared
	if s == nil {
		place.Dir = copyOf(t, c.template.Dir)
		s = place.Store(t)
	}
	y := &toys{world: toyWorld{t.TempDir()}}
	b := &bench{Engine: newEngine(t, s, y), T: t, toys: y, place: place}
	b.o.Poll = 10 * time.Millisecond
	plan := b.plan(t, c.request, func(q *PlanRequest) { q.Target.Instance = name })
	return crash{b, childSpec{Do: "crash", Place: place, World: y.world.dir, Plan: plan, Told: c.told}}
}

// copyOf is a copy of the files of a folder, for this user alone.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, f.Name()), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// start runs the child and returns the lines that it wrote, and whether it was killed.
func (c crash) start(t *testing.T, at int) (lines []string, killed bool) {
	t.Helper()
	c.spec.DieAt = at
	cmd := c.spec.command(t)
	out, err := cmd.CombinedOutput()
	lines = strings.Split(strings.TrimSpace(string(out)), "\n")
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		c.endLease(t, cmd.Process.Pid)
		return lines, true
	}
	if err != nil {
		t.Fatalf("the child that dies at point %d failed: %v\n%s", at, err, out)
	}
	return lines, false
}

// endLease ends the lease of a dead process, as time would. In a file nobody waits for that: a lock tells who is alive.
func (c crash) endLease(t *testing.T, pid int) {
	t.Helper()
	if !c.store.Team() {
		return
	}
	err := c.store.Tx(t.Context(), "end a lease", func(ctx context.Context, tx *state.Tx) error {
		all, err := tx.Runners(ctx)
		for _, r := range all {
			if r.PID == pid && err == nil {
				err = tx.RemoveRunner(ctx, r.ID)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goOn brings the run to its end in this process.
func (c crash) goOn(t *testing.T) state.Run {
	t.Helper()
	run, _, err := c.Submit(t.Context(), c.spec.Plan, SubmitOptions{Actor: robot})
	if err != nil {
		t.Fatal(err)
	}
	for {
		run = c.attach(t, run.ID)
		if run.State.Ended() || t.Failed() {
			return run
		}
		c.tell(t, run.ID, c.spec.Told)
	}
}

// everyPoint kills a process at each point of a run from the first that is called so, goes on with the run, and calls check on what is left.
func (c *crashes) everyPoint(t *testing.T, from string, check func(c crash, died string)) {
	t.Helper()
	first := c.new(t, "alive")
	points, _ := first.start(t, 0)
	end := points[len(points)-1]
	points = points[:len(points)-1]
	start := slices.Index(points, from)
	if state.RunState(end) != c.end || start < 0 || len(points)-start < 12 {
		t.Fatalf("without a crash it passed %q and was %s, want %s, and %d points from %q", points, end, c.end, len(points)-start, from)
	}
	check(first, "without a crash")
	for n := start; n < len(points); n++ {
		t.Run(points[n], func(t *testing.T) {
			t.Parallel()
			one := c.new(t, "i"+strconv.Itoa(n))
			if said, killed := one.start(t, n+1); !killed || said[len(said)-1] != "dies "+points[n] {
				t.Fatalf("it did not die where it should (killed: %v), and said %q", killed, said)
			}
			if run := one.goOn(t); run.State != c.end {
				t.Errorf("it ended as %+v, want %s", run, c.end)
			}
			check(one, points[n])
		})
	}
}

func TestAProcessKilledAtAnyPointLosesNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCrashes(t, kind, toyRequest{Settings: []string{"a", "b", "c"}, Value: "1", Gate: true}, state.Continue, state.Done)
			c.everyPoint(t, "the plan is submitted", func(c crash, died string) {
				wants(c.T, died+": effects", c.toys.world.effects(), []string{"a=1", "b=1", "c=1"})
				c.whole(died)
			})
		})
	}
}

func TestAnUndoKilledAtAnyPointLosesNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCrashes(t, kind, toyRequest{Settings: []string{"a", "b", "fail"}, Value: "1"}, state.UndoRun, state.Undone)
			// Until then it is as above.
			c.everyPoint(t, "begin do 3 fail #1", func(c crash, died string) {
				wants(c.T, died+": effects", c.toys.world.effects(), []string{"a=1", "b=1", "b=", "a="})
				c.whole(died)
			})
		})
	}
}

// whole demands that the journal and the audit log of the run are complete: each attempt that began has ended, everything that was
// changed has an intent before it and a result after, and nothing is held any more.
func (c crash) whole(died string) {
	t := c.T
	t.Helper()
	id := c.spec.Plan.RunID()
	steps, err := c.Journal(t.Context(), id)
	if err != nil || len(steps) == 0 {
		t.Fatalf("%s: journal %+v, %v", died, steps, err)
	}
	for _, step := range steps {
		if step.State == state.StepRunning {
			t.Errorf("%s: %s %s #%d never ended", died, step.Phase, step.Name, step.Attempt)
		}
	}
	wants(t, died+": what others are told of", c.toldOf(t, id), c.happened(t, id))
	report, err := c.store.Log.Verify(t.Context(), 0)
	if err != nil || !report.OK() {
		t.Errorf("%s: the audit log: %v, %+v", died, err, report)
	}
	for _, open := range report.OpenIntents {
		if open.Run == id {
			t.Errorf("%s: an intent without a result: %+v", died, open)
		}
	}
	if err := c.store.Read(t.Context(), "look at leases", func(ctx context.Context, tx *state.Tx) error {
		held, err := tx.Leases(ctx)
		if slices.ContainsFunc(held, func(l state.Lease) bool { return l.Run == id }) {
			t.Errorf("%s: leases are left: %+v", died, held)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// The harness has teeth: a step that acts without looking is caught.
func TestAStepThatDoesNotLookIsCaught(t *testing.T) {
	t.Parallel()
	all := newCrashes(t, "sqlite", toyRequest{Settings: []string{"a"}, Value: "1", Naive: true}, "", state.Done)
	points, _ := all.new(t, "alive").start(t, 0)
	c := all.new(t, "dies")
	if said, killed := c.start(t, 1+slices.Index(points, "acted a")); !killed || said[len(said)-1] != "dies acted a" {
		t.Fatalf("it did not die where it should (killed: %v), and said %q", killed, said)
	}
	wants(t, "state", c.goOn(t).State, state.Done)
	wants(t, "effects", c.toys.world.effects(), []string{"a=1", "a=1"})
}
