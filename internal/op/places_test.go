package op

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// told tells whether a run has an event of a kind with a text.
func (b *bench) told(id, kind, text string) bool {
	b.T.Helper()
	events, err := b.Events(b.T.Context(), id, 0)
	if err != nil {
		b.T.Fatal(err)
	}
	return slices.ContainsFunc(events, func(e state.Event) bool { return e.Kind == kind && strings.Contains(e.Text, text) })
}

func on(instance string) func(*PlanRequest) {
	return func(q *PlanRequest) { q.Target.Instance = instance }
}

func TestAWorkerBeginsNoMoreRunsThanItMayAndKeepsNoneWaitingThatItBegan(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	b.worker(func(o *Options) { o.Runs = 1 })
	gate := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true}, on("one"))).ID
	wants(t, "state", b.attach(t, gate).State, state.Gate)

	first := b.submit(t, b.plan(t, toyRequest{Settings: []string{"wait1"}, Value: "1"}, on("two"))).ID
	eventually(t, "a run that waits for a person keeps nobody from working", func() bool { return b.toys.world.said("at wait1") })
	second := b.submit(t, b.plan(t, toyRequest{Settings: []string{"wait2"}, Value: "1"}, on("three"))).ID
	eventually(t, "the second is told why it waits", func() bool { return b.told(second, EventWaiting, "works on 1 runs already") })

	b.tell(t, gate, state.Continue)
	wants(t, "state of what was begun", b.attach(t, gate).State, state.Done)
	if b.toys.world.said("at wait2") {
		t.Error("the second run was begun while the first was worked on")
	}
	// What waits for its turn can be cancelled.
	third := b.submit(t, b.plan(t, toyRequest{Settings: []string{"c"}, Value: "1"}, on("four"))).ID
	b.tell(t, third, state.Cancel)
	wants(t, "state of a cancelled run", b.attach(t, third).State, state.Cancelled)

	b.toys.world.say("go")
	wants(t, "state", b.attach(t, first).State, state.Done)
	wants(t, "state", b.attach(t, second).State, state.Done)
	b.verified(t)
}

func TestWhoWatchesIsToldThatNoWorkerServes(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
	told, end := make(chan string, 100), make(chan state.Run, 1)
	go func() {
		r, err := b.Watch(t.Context(), id, 0, func(e state.Event) { told <- e.Kind + ": " + e.Text })
		if err != nil {
			t.Error(err)
		}
		end <- r
	}()
	want := "waiting: no worker serves the queue default: start one with dbops worker --queue default, or work on the run here with dbops runs resume " + id
	for got := ""; got != want; {
		select {
		case got = <-told:
		case <-time.After(time.Minute):
			t.Fatal("nobody said so")
		}
	}
	b.worker()
	wants(t, "state", (<-end).State, state.Done)
	for len(told) > 0 {
		if again := <-told; again == want {
			t.Error("it was said twice")
		}
	}
}
