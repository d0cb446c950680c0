package op

import (
	"context"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// newer is another version of dbops on the same store and world.
func (b *bench) newer(y *toys) *bench {
	y.world = b.toys.world
	return &bench{Engine: newEngine(b.T, b.store, y), T: b.T, toys: y, place: b.place}
}

// parked is a run that failed at its second step.
func (b *bench) parked() string {
	b.T.Helper()
	id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
	wants(b.T, "state", b.attach(b.T, id).State, state.Parked)
	return id
}

func TestHowARunGoesOnIsAsItsPlanHasIt(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		id := b.parked()
		newer := b.newer(&toys{other: true})
		newer.tell(t, id, state.Retry)
		wants(t, "state after another try", newer.attach(t, id).State, state.Parked)
		newer.tell(t, id, state.UndoRun)
		wants(t, "state", newer.attach(t, id).State, state.Undone)
		plan := b.plan(t, toyRequest{Settings: []string{"fail"}, Value: "2"})
		_, _, err := newer.Submit(t.Context(), plan, SubmitOptions{Actor: robot})
		failed(t, err, fault.Invalid, "they are not those of the plan")
		id = newer.submit(t, newer.plan(t, toyRequest{Settings: []string{"fail"}, Value: "2"})).ID
		wants(t, "state of one that was planned so", newer.attach(t, id).State, state.Failed)
		b.verified(t)
	})
}

func TestARunOfAnotherVersionCanBeEnded(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		id := b.parked()
		newer := b.newer(&toys{extra: "new"})
		newer.tell(t, id, state.UndoRun) // which it does not know how to
		_, err := newer.Attach(t.Context(), id, 0, nil)
		failed(t, err, fault.Invalid, "they are not those of the plan")
		if !strings.Contains(fault.HintOf(err), "dbops runs abandon "+id) {
			t.Errorf("the hint is %q", fault.HintOf(err))
		}
		newer.tell(t, id, state.Abandon)
		run := newer.attach(t, id)
		wants(t, "state", run.State, state.Failed)
		wants(t, "problem", run.Problem, "abandoned by alice with a dbops that does not know its steps")
		wants(t, "state of the next", b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})).ID).State, state.Done)
		wants(t, "state for its own version", b.attach(t, id).State, state.Failed)
		b.verified(t)
	})
}

// interrupted is a run whose process went away in its second step.
func (b *bench) interrupted() string {
	b.T.Helper()
	id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "wait"}, Value: "1"})).ID
	ctx, interrupt := context.WithCancel(b.T.Context())
	defer interrupt()
	attached := beside(func() error { _, err := b.Attach(ctx, id, 0, nil); return err })
	eventually(b.T, "it is in its step", func() bool { return b.toys.world.said("at wait") })
	interrupt()
	failed(b.T, attached(), fault.Interrupted, id)
	return id
}

func TestAnInterruptedRunOfAnotherVersionIsStoppedAndLeavesTheChoice(t *testing.T) {
	for name, end := range map[string]func(b, newer *bench, id string) state.RunState{
		"its own version undoes it": func(b, _ *bench, id string) state.RunState {
			b.toys.world.say("go")
			b.tell(b.T, id, state.UndoRun)
			return b.attach(b.T, id).State
		},
		"the other one abandons it": func(b, newer *bench, id string) state.RunState {
			b.tell(b.T, id, state.Abandon)
			return newer.attach(b.T, id).State
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(b *bench) {
				id := b.interrupted()
				newer := b.newer(&toys{extra: "new"})
				newer.tell(b.T, id, state.Cancel)
				run := newer.attach(b.T, id)
				wants(b.T, "state", run.State, state.Parked)
				wants(b.T, "verbs", run.Verbs, []string{"retry", "undo", "abandon"})
				want := map[bool]state.RunState{true: state.Undone, false: state.Failed}[strings.HasPrefix(name, "its own")]
				wants(b.T, "end", end(b, newer, id), want)
				if want == state.Undone {
					wants(b.T, "effects", b.toys.world.effects(), []string{"a=1", "a="})
				}
				b.verified(b.T)
			})
		})
	}
}

// A journal that this dbops would have written otherwise, for whatever reason, keeps nobody from ending its run.
func TestARunWhoseCheckpointsAreOthersCanBeEnded(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	id := b.parked()
	b.makeOlder("update operation_outputs set function_name = 'begin do 1 b #1' where function_name = 'begin do 1 a #1'")
	b.tell(t, id, state.Retry)
	_, err := b.Attach(t.Context(), id, 0, nil)
	failed(t, err, fault.Config, "is not what this dbops would write")
	b.tell(t, id, state.Abandon)
	wants(t, "state", b.attach(t, id).State, state.Failed)
	wants(t, "effects", b.toys.world.effects(), []string{"a=1"})
	b.verified(t)
}

func TestAWorkerEndsARunThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	id := b.interrupted()
	newer := b.newer(&toys{extra: "new"})
	newer.worker()
	eventually(t, "the worker says that it cannot", func() bool {
		events, err := b.Events(t.Context(), id, 0)
		return err == nil && strings.Contains(events[len(events)-1].Text, "they are not those of the plan")
	})
	b.tell(t, id, state.Cancel)
	wants(t, "state", b.attach(t, id).State, state.Parked)
	b.tell(t, id, state.Abandon)
	wants(t, "state", b.attach(t, id).State, state.Failed)
	b.verified(t)
}

func TestARunThatFindsItsTargetTakenIsWithdrawn(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	second := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})
	first := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
	id := b.submit(t, second).ID
	wants(t, "state of the first", b.attach(t, first).State, state.Parked)
	_, err := b.Attach(t.Context(), id, 0, nil)
	failed(t, err, fault.Blocked, "prod/main has an unfinished run, "+first)
	wants(t, "state", b.run(id).State, state.Cancelled)
	wants(t, "effects", b.toys.world.effects(), []string{"a=1"})
	b.verified(t)
}

func TestARunThatWasToldToStopIsWaitedFor(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "stubborn"}, Value: "1"})).ID
	attached := beside(func() error { _, err := b.Attach(t.Context(), id, 0, nil); return err })
	eventually(t, "it is in its step", func() bool { return b.toys.world.said("at stubborn") })
	if r, err := b.Stopped(t.Context(), id, time.Minute); err != nil || r.State != state.Running {
		t.Errorf("nobody told it anything: %+v, %v", r, err)
	}
	b.tell(t, id, state.Cancel)
	eventually(t, "its step is told", func() bool { return b.toys.world.said("told stubborn") })
	_, err := b.Stopped(t.Context(), id, 0)
	failed(t, err, fault.Busy, "its step stubborn was told to stop, and has not stopped yet")
	b.toys.world.say("go")
	r, err := b.Stopped(t.Context(), id, time.Minute)
	if err != nil || r.State != state.Parked && r.State != state.Done {
		t.Errorf("%+v, %v", r, err)
	}
	if err := attached(); err != nil {
		t.Error(err)
	}
}
