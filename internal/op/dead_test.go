package op

import (
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// killed is a run whose process was killed in its first step, with most of its lease left.
func (b *bench) killed(near bool) state.Run {
	b.T.Helper()
	id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"wait1", "b"}, Value: "1"})).ID
	p := b.child(childSpec{Do: "attach", Run: id, TTL: time.Hour, Near: near})
	eventually(b.T, "the child is in its step", func() bool { return b.toys.world.said("at wait1") })
	if err := Fits(b.run(id), state.UndoRun); fault.KindOf(err) != fault.Usage || !strings.Contains(fault.HintOf(err), "dbops runs cancel "+id) {
		b.T.Errorf("a run that is worked on: %v (%s)", err, fault.HintOf(err))
	}
	if err := p.Process.Kill(); err != nil {
		b.T.Fatal(err)
	}
	if _, err := p.ends(b.T); err == nil {
		b.T.Fatal("the child lives")
	}
	b.toys.world.say("go")
	return b.run(id)
}

func TestADeadProcessOfThisMachineIsKnownAtOnce(t *testing.T) {
	for verb, end := range map[state.Verb]state.RunState{state.UndoRun: state.Undone, state.Abandon: state.Failed, "": state.Done} {
		t.Run(string("then "+verb), func(t *testing.T) {
			each(t, func(b *bench) {
				r := b.killed(true)
				all, err := b.Runs(b.T.Context(), state.RunFilter{})
				if err != nil || r.Alive || !r.Interrupted() || !Idle(r) || len(all) != 1 || !all[0].Interrupted() {
					b.T.Errorf("it is not interrupted: %+v, %+v, %v", r, all, err)
				}
				if workers, err := b.Workers(b.T.Context()); err != nil || len(workers) > 0 {
					b.T.Errorf("somebody works: %+v, %v", workers, err)
				}
				if !strings.Contains(Sign(r), "worked on it, and is gone") {
					b.T.Error(Sign(r))
				}
				err = Fits(r, state.UndoRun)
				if failed(b.T, err, fault.Usage, "it was interrupted"); !strings.Contains(fault.HintOf(err), "dbops runs resume "+r.ID) {
					b.T.Error(fault.HintOf(err))
				}
				if verb == "" {
					wants(b.T, "state", b.attach(b.T, r.ID).State, end)
					return
				}
				b.tell(b.T, r.ID, state.Cancel)
				wants(b.T, "state", b.attach(b.T, r.ID).State, state.Parked)
				b.tell(b.T, r.ID, verb)
				wants(b.T, "state", b.attach(b.T, r.ID).State, end)
				b.verified(b.T)
			})
		})
	}
}

// A worker takes up what another one of its machine left.
func TestAWorkerTakesUpWhatAKilledOneOfItsMachineLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	r := b.killed(true)
	b.worker()
	eventually(t, "it is done", func() bool { return b.run(r.ID).State == state.Done })
}

func TestAProcessOfAnotherMachineIsAliveUntilItsLeaseEnds(t *testing.T) {
	each(t, func(b *bench) {
		r := b.killed(false)
		if silent, left := r.Silent(); !r.Alive || silent || left < 59*time.Minute || !strings.Contains(Sign(r), " of here works on it, seen at ") {
			b.T.Errorf("%+v: %s", r, Sign(r))
		}
		b.makeOlder("update runners set seen_ms = seen_ms - 2000000, expires_ms = expires_ms - 2000000")
		r = b.run(r.ID)
		want := "no sign of life since " + r.Seen.Local().Format("15:04:05") + "; its lease ends in 26m"
		if silent, _ := r.Silent(); !silent || !strings.Contains(Sign(r), want) {
			b.T.Errorf("it says %q, and not %q", Sign(r), want)
		}
		failed(b.T, Fits(r, state.UndoRun), fault.Busy, want)
		failed(b.T, b.Tell(b.T.Context(), r.ID, state.UndoRun, robot, ""), fault.Busy, want)
		b.makeOlder("update runners set expires_ms = 1")
		if r = b.run(r.ID); !r.Interrupted() {
			b.T.Errorf("its lease is over: %+v", r)
		}
	})
}
