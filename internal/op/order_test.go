package op

import (
	"errors"
	"testing"
	"time"

	"dbops/internal/state"
)

func TestTheLastWordCountsAndNoneIsLeft(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
		wants(b.T, "state", b.attach(b.T, id).State, state.Parked)
		b.tell(b.T, id, state.UndoRun) // nobody works on it yet
		b.tell(b.T, id, state.Retry)   // somebody changes his mind
		wants(b.T, "after it was tried again, not undone", b.attach(b.T, id).State, state.Parked)
		steps, err := b.Journal(b.T.Context(), id)
		if err != nil || len(steps) != 4 || steps[3].Attempt != 2 {
			b.T.Errorf("%+v, %v", steps, err)
		}
		b.tell(b.T, id, state.UndoRun)
		wants(b.T, "state", b.attach(b.T, id).State, state.Undone)
		b.verified(b.T)
	})
}

func TestWhoSaysContinueTwiceIsToldWhoWasFirst(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
		wants(b.T, "state", b.attach(b.T, id).State, state.Gate)
		b.tell(b.T, id, state.Continue)
		b.tell(b.T, id, state.UndoRun)
		b.tell(b.T, id, state.Continue) // somebody changes his mind, twice
		err := b.Tell(b.T.Context(), id, state.Continue, person("bob"), "")
		told, ok := errors.AsType[*ToldError](err)
		if !ok || told.By != "alice" {
			b.T.Errorf("%v", err)
		}
		wants(b.T, "who was over before", len(b.toys.over), 0)
		wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		wants(b.T, "by whose word", b.run(id).Actor, "alice")
		wants(b.T, "who is over", b.toys.over, []string{id})
		b.verified(b.T)
	})
}

func TestARunThatIsAbandonedIsOver(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
		wants(b.T, "state", b.attach(b.T, id).State, state.Parked)
		wants(b.T, "who is over", len(b.toys.over), 0)
		b.tell(b.T, id, state.Abandon)
		wants(b.T, "state", b.attach(b.T, id).State, state.Failed)
		wants(b.T, "who is over", b.toys.over, []string{id})
	})
}

func TestACancelThatCameTooLateIsNotForTheNextTry(t *testing.T) {
	each(t, func(b *bench) {
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"stubborn", "fail", "b"}, Value: "1"})).ID
		wait := beside(func() error {
			_, err := b.Attach(b.T.Context(), id, 0, nil)
			return err
		})
		eventually(b.T, "it is in its step", func() bool { return b.toys.world.said("at stubborn") })
		b.tell(b.T, id, state.Cancel)
		eventually(b.T, "it is told", func() bool { return b.toys.world.said("told stubborn") })
		b.toys.world.say("go")
		if err := wait(); err != nil {
			b.T.Fatal(err)
		}
		wants(b.T, "state", b.run(id).State, state.Parked)
		b.tell(b.T, id, state.Retry)
		r := b.attach(b.T, id)
		wants(b.T, "it fails by itself", r.Problem, "set fail: it never works")
	})
}

func TestAQueuedRunIsCancelledWhereverItWaits(t *testing.T) {
	each(t, func(b *bench) {
		one := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
		b.tell(b.T, one, state.Cancel) // nobody has begun it
		r := b.attach(b.T, one)
		wants(b.T, "state", r.State, state.Cancelled)
		wants(b.T, "problem", r.Problem, "cancelled by alice")
		if !b.store.Team() {
			return // there nobody waits for a lease
		}
		held := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"wait"}, Value: "1"})).ID
		two := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"b"}, Value: "1"})).ID
		works := func(id string) func() error {
			return beside(func() error {
				_, err := b.Attach(b.T.Context(), id, 0, nil)
				return err
			})
		}
		first := works(held)
		eventually(b.T, "the first is in its step", func() bool { return b.toys.world.said("at wait") })
		second := works(two)
		eventually(b.T, "the second waits for the first", func() bool {
			events, err := b.Events(b.T.Context(), two, 0)
			return err == nil && events[len(events)-1].Kind == EventWaiting
		})
		b.tell(b.T, two, state.Cancel)
		if err := second(); err != nil {
			b.T.Error(err)
		}
		wants(b.T, "state", b.run(two).State, state.Cancelled)
		b.toys.world.say("go")
		if err := first(); err != nil {
			b.T.Error(err)
		}
		wants(b.T, "effects", b.toys.world.effects(), []string{"wait=1"})
		b.verified(b.T)
	})
}

// A process that waits for the lease of a run finds it ended by the other, and keeps nothing.
func TestARunThatEndedElsewhereLeavesNoLease(t *testing.T) {
	each(t, func(b *bench) {
		p := b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"})
		run := b.submit(b.T, p)
		wants(b.T, "state", b.attach(b.T, run.ID).State, state.Done)
		r, err := b.startRunner(b.T.Context(), false, "late")
		if err != nil {
			b.T.Fatal(err)
		}
		_, leases, err := r.acquire(b.T.Context(), run, p)
		if err != nil || len(leases) > 0 {
			b.T.Errorf("%+v, %v", leases, err)
		}
		if mine, err := r.adopt(b.T.Context(), run, "late"); err != nil || mine {
			b.T.Errorf("it was adopted: %v, %v", mine, err)
		}
		if err := r.close(b.T.Context()); err != nil {
			b.T.Error(err)
		}
		next := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"b"}, Value: "1"}))
		wants(b.T, "state", b.attach(b.T, next.ID).State, state.Done)
	})
}

func TestOnlyTheRunOfADeadRunnerIsTaken(t *testing.T) {
	each(t, func(b *bench) {
		run := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"}))
		var runners []*runner
		for _, q := range []string{"x", "y"} {
			r, err := b.startRunner(b.T.Context(), false, q)
			if err != nil {
				b.T.Fatal(err)
			}
			runners = append(runners, r)
		}
		wants(b.T, "taken at once by", atOnce(b.T, 2, func(i int) (bool, error) { return runners[i].take(b.T.Context(), run) }), 1)
		held := b.run(run.ID)
		wants(b.T, "taken from who lives by", atOnce(b.T, 2, func(i int) (bool, error) { return runners[i].take(b.T.Context(), held) }), 0)
		for _, r := range runners {
			if err := r.close(b.T.Context()); err != nil {
				b.T.Error(err)
			}
		}
		wants(b.T, "state", b.attach(b.T, run.ID).State, state.Done)
	}, func(o *Options) { o.TTL = time.Minute })
}
