package op

import (
	"context"
	"errors"
	"flag"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/state"
)

func TestMain(m *testing.M) {
	if child() {
		return
	}
	_ = flag.Set("test.parallel", "5") // most wait for other processes
	os.Exit(withoutLeaks(pgtest.Main(m)))
}

func TestARunDoesItsStepsOnce(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		plan := b.plan(t, toyRequest{Settings: []string{"a", "b", "c"}, Value: "1"})
		run := b.attach(t, b.submit(t, plan).ID)
		wants(t, "state", run.State, state.Done)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "b=1", "c=1"})
		steps, err := b.Journal(t.Context(), run.ID)
		if err != nil || len(steps) != 4 {
			t.Fatalf("journal %+v, %v", steps, err)
		}
		again, isAgain, err := b.Submit(t.Context(), plan, SubmitOptions{Actor: robot})
		if err != nil || !isAgain || again.ID != run.ID {
			t.Errorf("a second submission: %+v, %v, %v", again, isAgain, err)
		}
		b.attach(t, run.ID)
		wants(t, "effects of an ended run", len(b.toys.world.effects()), 3)
		b.verified(t)
	})
}

func TestAFailedStepParksTheRunUntilSomebodyDecides(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		var broken atomic.Bool
		broken.Store(true)
		b.toys.on("b", func(context.Context, *Session) error {
			if broken.Load() {
				return fault.Newf(fault.Denied, "set b", "not allowed").Hint("allow it")
			}
			return nil
		})
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b", "c"}, Value: "1"})).ID
		run := b.attach(t, id)
		wants(t, "state", run.State, state.Parked)
		wants(t, "step", run.Step, "b")
		wants(t, "hint", run.Hint, "allow it")
		broken.Store(false)
		b.tell(t, id, state.Retry)
		run = b.attach(t, id)
		wants(t, "state", run.State, state.Done)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "b=1", "c=1"})
		b.verified(t)
	})
}

func TestUndoChangesBackInReverseOrder(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		b.toys.world.set("a", "0")
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b", "fail"}, Value: "1"})).ID
		wants(t, "state", b.attach(t, id).State, state.Parked)
		b.tell(t, id, state.UndoRun)
		run := b.attach(t, id)
		wants(t, "state", run.State, state.Undone)
		wants(t, "effects", b.toys.world.effects(), []string{"a=0", "a=1", "b=1", "b=", "a=0"})
		b.verified(t)
	})
}

func TestACancelReachesTheStepThatRuns(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		started := make(chan struct{}, 1)
		b.toys.on("b", func(ctx context.Context, _ *Session) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1"})).ID
		done := make(chan state.Run, 1)
		go func() { done <- b.attach(t, id) }()
		<-started
		b.tell(t, id, state.Cancel)
		run := <-done
		wants(t, "state", run.State, state.Parked)
		wants(t, "problem", run.Problem, "cancelled by alice (a test)")
		b.tell(t, id, state.Abandon)
		wants(t, "state", b.attach(t, id).State, state.Failed)
		b.verified(t)
	})
}

func TestAGateWaitsForAPerson(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
		run := b.attach(t, id)
		wants(t, "state", run.State, state.Gate)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1"})
		b.tell(t, id, state.Continue)
		wants(t, "state", b.attach(t, id).State, state.Done)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "b=1"})
	})
}

func TestAWorldThatMovedStopsARunBeforeItsFirstChange(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		plan := b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1"})
		b.toys.world.set("b", "9")
		run := b.attach(t, b.submit(t, plan).ID)
		wants(t, "state", run.State, state.Failed)
		wants(t, "effects", b.toys.world.effects(), []string{"b=9"})
		if run.Problem == "" || run.Hint == "" {
			t.Errorf("no problem or hint: %+v", run)
		}
		// The instance is free again.
		next := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1"})).ID)
		wants(t, "state", next.State, state.Done)
	})
}

func TestAnInterruptedRunGoesOnWhereItWas(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		started := make(chan struct{}, 1)
		b.toys.on("b", func(ctx context.Context, _ *Session) error {
			started <- struct{}{}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b", "c"}, Value: "1"})).ID
		ctx, cancel := context.WithCancel(t.Context())
		end := make(chan error, 1)
		go func() {
			_, err := b.Attach(ctx, id, 0, nil)
			end <- err
		}()
		<-started
		cancel()
		err := <-end
		failed(t, err, fault.Interrupted, id)
		run, err := b.Run(t.Context(), id)
		if err != nil || !run.Interrupted() || run.State != state.Running {
			t.Fatalf("%+v, %v", run, err)
		}
		b.toys.on("b", nil)
		wants(t, "state", b.attach(t, id).State, state.Done)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "b=1", "c=1"})
		b.verified(t)
	})
}

func TestWhatPassesIsTriedAgain(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		var n atomic.Int32
		b.toys.on("a", func(context.Context, *Session) error {
			if n.Add(1) == 1 {
				return fault.New(fault.Throttled, "set a", errors.New("slow down"))
			}
			return nil
		})
		run := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID)
		wants(t, "state", run.State, state.Done)
		wants(t, "attempts", n.Load(), 2)
	})
}

func TestTwoRunsOfOneInstanceComeAfterEachOther(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		var inside, most atomic.Int32
		slow := func(context.Context, *Session) error {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			return Sleep(t.Context(), 50*time.Millisecond)
		}
		b.toys.on("a", slow)
		b.toys.on("b", slow)
		one := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
		two := b.submit(t, b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})).ID
		end := make(chan state.Run, 2)
		for _, id := range []string{one, two} {
			go func() { end <- b.attach(t, id) }()
		}
		for range 2 {
			wants(t, "state", (<-end).State, state.Done)
		}
		wants(t, "at once", most.Load(), 1)
	})
}

func TestARunTakesOnlyOrdersThatItWaitsFor(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
		by := Actor{Name: "alice", Via: ViaGoogle}
		failed(t, b.Tell(t.Context(), id, state.Retry, by, ""), fault.Usage, "queued")
		wants(t, "state", b.attach(t, id).State, state.Parked)
		failed(t, b.Tell(t.Context(), id, state.Continue, by, ""), fault.Usage, "retry, undo, abandon")
		failed(t, b.Tell(t.Context(), id, state.Cancel, by, ""), fault.Usage, "no step runs")
		b.toys.on("a", func(context.Context, *Session) error { return fault.Newf(fault.Invalid, "set a back", "it is stuck") })
		b.tell(t, id, state.UndoRun)
		wants(t, "state of an undo that fails", b.attach(t, id).State, state.Parked)
		failed(t, b.Tell(t.Context(), id, state.UndoRun, by, ""), fault.Usage, "retry, abandon")
		b.toys.on("a", nil)
		b.tell(t, id, state.Retry)
		wants(t, "state", b.attach(t, id).State, state.Undone)
		failed(t, b.Tell(t.Context(), id, state.Retry, by, ""), fault.Usage, "it has ended")
		failed(t, b.Tell(t.Context(), "rnothing", state.Retry, by, ""), fault.Usage, "no such run")
	})
}
