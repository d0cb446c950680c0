package op

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dbops/internal/state"
	"dbops/internal/state/statetest"
)

// Variables that a child process of a crash test reads.
const (
	crashWorld = "DBOPS_TEST_WORLD" // the folder of the toys
	crashPlan  = "DBOPS_TEST_PLAN"  // the plan to submit
	crashAt    = "DBOPS_TEST_CRASH" // the number of the point at which to die; 0: live
	crashTold  = "DBOPS_TEST_TOLD"  // what to tell a run that waits
)

// child runs a plan in a process that may be told to kill itself. It returns false in the test's own process.
func child() bool {
	p, ok := statetest.FromEnv()
	if !ok {
		return false
	}
	if err := runChild(p); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1) //nolint:forbidigo // this is a program of its own
	}
	return true
}

func runChild(p statetest.Place) error {
	at, err := strconv.Atoi(os.Getenv(crashAt))
	if err != nil {
		return err
	}
	n := 0
	point := func(name string) {
		if n++; n == at {
			fmt.Fprintln(os.Stderr, "dies", name)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s, err := p.Open(ctx, "tester")
	if err != nil {
		return err
	}
	y := &toys{world: toyWorld{os.Getenv(crashWorld)}, hook: point}
	kinds, err := NewRegistry(y.kind())
	if err != nil {
		return err
	}
	e := New(s, kinds, Options{Version: "test", Poll: 10 * time.Millisecond, TTL: time.Minute, Host: "here", hook: point})
	plan := &Plan{}
	if err := json.Unmarshal([]byte(os.Getenv(crashPlan)), plan); err != nil {
		return err
	}
	run, _, err := e.Submit(ctx, plan, SubmitOptions{Actor: robot})
	if err != nil {
		return err
	}
	for {
		if run, err = e.Attach(ctx, run.ID, 0, nil); err != nil {
			return err
		}
		if run.State.Ended() {
			fmt.Println(run.State, n) //nolint:forbidigo // for the parent
			return s.Close()
		}
		point("before it is told")
		if err := e.Tell(ctx, run.ID, state.Verb(os.Getenv(crashTold)), robot, "the test"); err != nil {
			return err
		}
		point("after it was told")
	}
}

// start runs a child and returns the last line that it wrote, and whether it was killed.
func (c crash) start(t *testing.T, at int) (last string, killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), c.place.Env(t), crashWorld+"="+c.world.dir, crashPlan+"="+c.plan, crashTold+"="+string(c.told), crashAt+"="+strconv.Itoa(at))
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last = lines[len(lines)-1]
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return last, true
	}
	if err != nil {
		t.Fatalf("the child that dies at point %d failed: %v\n%s", at, err, out)
	}
	return last, false
}

// endLeases ends the leases of the dead, as time would. In a file nobody waits for that: a lock tells who is alive.
func (c crash) endLeases(t *testing.T) {
	t.Helper()
	if c.place.Host == "" {
		return
	}
	err := c.place.Store(t).Tx(t.Context(), "end leases", func(ctx context.Context, tx *state.Tx) error { return tx.RemoveOtherRunners(ctx, "") })
	if err != nil {
		t.Fatal(err)
	}
}

type crash struct {
	place statetest.Place
	world toyWorld
	plan  string
	told  state.Verb
}

func newCrash(t *testing.T, kind string, r toyRequest, told state.Verb) crash {
	t.Helper()
	c := crash{place: statetest.New(t, kind), world: toyWorld{t.TempDir()}, told: told}
	b := &bench{Engine: newEngine(t, c.place.Store(t), &toys{world: c.world})}
	body, err := b.plan(t, r).Encode()
	if err != nil {
		t.Fatal(err)
	}
	c.plan = string(body)
	return c
}

// everyPoint kills a process at each point of a run, lets another go on, and calls check on what is left. It returns the number of points.
func everyPoint(t *testing.T, kind string, r toyRequest, told state.Verb, end state.RunState, check func(t *testing.T, c crash, died string)) {
	t.Helper()
	c := newCrash(t, kind, r, told)
	last, _ := c.start(t, 0)
	var points int
	var state state.RunState
	if _, err := fmt.Sscan(last, &state, &points); err != nil || state != end {
		t.Fatalf("without a crash it said %q, want %s and the number of points", last, end)
	}
	check(t, c, "without a crash")
	if points < 20 {
		t.Errorf("there are %d points", points)
	}
	for n := 1; n <= points; n++ {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			c := newCrash(t, kind, r, told)
			died, killed := c.start(t, n)
			if !killed {
				t.Fatalf("it did not die at point %d of %d, and said %q", n, points, died)
			}
			c.endLeases(t)
			if last, killed := c.start(t, 0); killed || !strings.HasPrefix(last, string(end)+" ") {
				t.Errorf("after it %s, the next process said %q (killed: %v), want %s", died, last, killed, end)
			}
			check(t, c, died)
		})
	}
}

func TestAProcessKilledAtAnyPointLosesNothing(t *testing.T) {
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			everyPoint(t, kind, toyRequest{Settings: []string{"a", "b", "c"}, Value: "1", Gate: true}, state.Continue, state.Done,
				func(t *testing.T, c crash, died string) {
					wants(t, died+": effects", c.world.effects(), []string{"a=1", "b=1", "c=1"})
					whole(t, c, died, state.Done)
				})
		})
	}
}

func TestAnUndoKilledAtAnyPointLosesNothing(t *testing.T) {
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			everyPoint(t, kind, toyRequest{Settings: []string{"a", "b", "fail"}, Value: "1"}, state.UndoRun, state.Undone,
				func(t *testing.T, c crash, died string) {
					wants(t, died+": effects", c.world.effects(), []string{"a=1", "b=1", "b=", "a="})
					whole(t, c, died, state.Undone)
				})
		})
	}
}

// whole demands that the journal and the audit log of the run are complete: each attempt that began has ended, and everything that was
// changed has an intent before it and a result after.
func whole(t *testing.T, c crash, died string, end state.RunState) {
	t.Helper()
	s := c.place.Store(t)
	b := &bench{Engine: newEngine(t, s, &toys{world: c.world})}
	runs, err := b.Runs(t.Context(), state.RunFilter{})
	if err != nil || len(runs) != 1 || runs[0].State != end {
		t.Fatalf("%s: runs %+v, %v", died, runs, err)
	}
	steps, err := b.Journal(t.Context(), runs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range steps {
		if step.State == state.StepRunning {
			t.Errorf("%s: %s %s #%d never ended", died, step.Phase, step.Name, step.Attempt)
		}
	}
	report, err := s.Log.Verify(t.Context(), 0)
	if err != nil || !report.OK() || len(report.OpenIntents) > 0 {
		t.Errorf("%s: the audit log: %v, %+v", died, err, report)
	}
	if err := s.Read(t.Context(), "look at leases", func(ctx context.Context, tx *state.Tx) error {
		held, err := tx.Leases(ctx)
		if len(held) > 0 {
			t.Errorf("%s: leases are left: %+v", died, held)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// The harness has teeth: steps that act without looking are caught.
func TestStepsThatDoNotLookAreCaught(t *testing.T) {
	t.Parallel()
	var doubled atomic.Bool
	t.Cleanup(func() {
		if !doubled.Load() {
			t.Error("no crash doubled an effect of a step that acts without looking")
		}
	})
	everyPoint(t, "sqlite", toyRequest{Settings: []string{"a", "b"}, Value: "1", Naive: true}, state.Continue, state.Done,
		func(_ *testing.T, c crash, _ string) {
			e := c.world.effects()
			slices.Sort(e)
			if len(slices.Compact(slices.Clone(e))) != len(e) {
				doubled.Store(true)
			}
		})
}
