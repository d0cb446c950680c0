package runbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"

	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

const childEnv = "DBOPS_RUNBOOK_TEST_CHILD"

// doomed is what a child process is told: which run to work on, and at which of the calls to the engine to die.
type doomed struct {
	Run, World string
	At         int32
}

// child works on a run until it is killed, or until it waits.
func child(where string) int {
	var d doomed
	err := json.Unmarshal([]byte(where), &d)
	place, ok := statetest.FromEnv()
	if !ok {
		err = errors.Join(err, errors.New("there is no store"))
	}
	var store *state.Store
	if err == nil {
		store, err = place.Open(context.Background(), "tester")
	}
	var points atomic.Int32
	if err == nil {
		b := &bench{toy: newToy(d.World)}
		if err = b.open(store, func(e Engine) Engine { return mortal{e, &points, d.At} }); err == nil {
			_, err = b.Attach(context.Background(), d.Run, 0, nil)
		}
		err = errors.Join(err, store.Close())
	}
	if err != nil {
		println(err.Error())
		return 1
	}
	return 0
}

// mortal dies before or after one of the calls that change something.
type mortal struct {
	Engine
	points *atomic.Int32
	at     int32
}

func (m mortal) point() {
	if m.points.Add(1) == m.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m mortal) Keep(ctx context.Context, p *op.Plan) error {
	m.point()
	defer m.point()
	return m.Engine.Keep(ctx, p)
}

func (m mortal) Submit(ctx context.Context, p *op.Plan, o op.SubmitOptions) (state.Run, bool, error) {
	m.point()
	defer m.point()
	return m.Engine.Submit(ctx, p, o)
}

func (m mortal) Tell(ctx context.Context, id string, v state.Verb, by op.Actor, reason string) error {
	m.point()
	defer m.point()
	return m.Engine.Tell(ctx, id, v, by, reason)
}

func TestAProcessKilledAnywhereInARunbookLosesNothing(t *testing.T) {
	t.Parallel()
	steps := `
- {operation: write all, args: a}
- {operation: upgrade run, args: u}
- {operation: upgrade cutover}
- {operation: write, args: b}
`
	statetest.Each(t, func(t *testing.T, p statetest.Place) { //nolint:thelper // it is the test
		at, killed := int32(0), true
		for killed {
			at, killed = at+1, false
			b := newBench(t, p, newToy(t.TempDir()), Guard{})
			id := b.submit(book(t, steps))
			for _, wait := range []state.RunState{state.Gate, state.Done} {
				killed = dies(t, p, doomed{Run: id, World: b.toy.dir, At: at}) || killed
				b.attach(id, wait)
				if wait == state.Gate {
					b.tell(id, state.Continue)
				}
			}
			wants(t, fmt.Sprintf("point %d: lines", at), b.toy.lines(), "begin aone", "aone", "begin atwo", "atwo", "begin u", "u", "begin b", "b")
			wants(t, fmt.Sprintf("point %d: its parts", at), b.parts(id), "upgrade-run.0#1 done", "write-all.0#1 done", "write-all.1#1 done", "write.0#1 done")
			if t.Failed() {
				return
			}
		}
		if at != 13 { // three plans are kept and submitted before the gate
			t.Errorf("it died at %d points, want 12", at-1)
		}
	})
}

// dies works on a run in a process of its own, and tells whether that was killed.
func dies(t *testing.T, p statetest.Place, d doomed) bool {
	t.Helper()
	spec, err := json.Marshal(d)
	must(t, err)
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(spec), p.Env(t))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		p.EndLeases(t)
		return true
	}
	if err != nil {
		t.Fatalf("the child failed: %v\n%s", err, out)
	}
	return false
}
