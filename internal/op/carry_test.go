package op

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// part is the run that a run has as a part.
func (b *bench) part(t testing.TB, whole string) state.Run {
	t.Helper()
	all, err := b.Runs(t.Context(), state.RunFilter{PartOf: whole})
	if err != nil || len(all) != 1 || all[0].PartOf != whole || all[0].PartStep != "part" {
		t.Fatalf("the parts of %s: %+v, %v", whole, all, err)
	}
	return all[0]
}

func TestARunCarriesAnother(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		run := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "part", "b"}, Value: "1"})).ID)
		wants(t, "state", run.State, state.Done)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "p=1", "q=1", "b=1"})
		part := b.part(t, run.ID)
		wants(t, "state of the part", part.State, state.Done)
		wants(t, "who did the part", part.Actor, robot.Name)
		events, err := b.Events(t.Context(), run.ID, 0)
		if err != nil || !slices.ContainsFunc(events, func(e state.Event) bool { return e.Kind == EventProgress && e.Step == "" && e.Text != "" }) {
			t.Errorf("what happens in the part is not told: %+v, %v", events, err)
		}
		b.verified(t)
	})
}

func TestAPartThatFailsParksTheWhole(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		var broken atomic.Bool
		broken.Store(true)
		b.toys.on("q", func(context.Context, *Session) error {
			if broken.Load() {
				return fault.Newf(fault.Denied, "set q", "not allowed")
			}
			return nil
		})
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "part", "b"}, Value: "1"})).ID
		wants(t, "state", b.attach(t, id).State, state.Parked)
		wants(t, "state of the part", b.part(t, id).State, state.Parked)
		broken.Store(false)
		b.tell(t, id, state.Retry)
		wants(t, "state", b.attach(t, id).State, state.Done)
		part := b.part(t, id)
		wants(t, "state of the part", part.State, state.Done)
		wants(t, "by whose word it went on", part.Actor, "alice")
		wants(t, "effects", b.toys.world.effects(), []string{"a=1", "p=1", "q=1", "b=1"})
		b.verified(t)
	})
}

func TestWhoCancelsTheWholeCancelsThePart(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		started := make(chan struct{}, 1)
		b.toys.on("q", func(ctx context.Context, _ *Session) error {
			started <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"part", "b"}, Value: "1"})).ID
		done := make(chan state.Run, 1)
		go func() { done <- b.attach(t, id) }()
		<-started
		b.tell(t, id, state.Cancel)
		run := <-done
		wants(t, "state", run.State, state.Parked)
		wants(t, "problem", run.Problem, "cancelled by alice (a test)")
		part := b.part(t, id)
		wants(t, "state of the part", part.State, state.Parked)
		wants(t, "step of the part", part.Step, "q")
		wants(t, "effects", b.toys.world.effects(), []string{"p=1"})
		b.verified(t)
	})
}

// A worker with one place does not wait for itself.
func TestAPartNeedsNoSecondPlace(t *testing.T) {
	t.Parallel()
	p := statetest.New(t, "postgres")
	b := newBench(t, p, func(o *Options) { o.Runs = 1 })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Work(ctx) }()
	var ids []string
	for _, instance := range []string{"one", "two", "three"} {
		plan := b.plan(t, toyRequest{Settings: []string{"part of " + instance}, Value: "1"}, func(q *PlanRequest) { q.Target.Instance = instance })
		ids = append(ids, b.submit(t, plan).ID)
	}
	for _, id := range ids {
		eventually(t, id+" is done", func() bool {
			r, err := b.Run(t.Context(), id)
			return err == nil && r.State == state.Done
		})
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAProcessKilledAnywhereInAPartLosesNothing(t *testing.T) {
	t.Parallel()
	for _, kind := range statetest.Kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newCrashes(t, kind, toyRequest{Settings: []string{"part", "b"}, Value: "1"}, "", state.Done)
			c.everyPoint(t, "begin do 1 part #1", func(c crash, died string) {
				wants(c.T, died+": effects", c.toys.world.effects(), []string{"p=1", "q=1", "b=1"})
				c.whole(died)
				part := c.part(c.T, c.spec.Plan.RunID())
				wants(c.T, died+": state of the part", part.State, state.Done)
				steps, err := c.Journal(c.T.Context(), part.ID)
				if err != nil || slices.ContainsFunc(steps, func(s state.Step) bool { return s.State != state.StepDone }) {
					c.T.Errorf("%s: the part's journal: %+v, %v", died, steps, err)
				}
			})
		})
	}
}

func TestAPartIsFoundByItsWhole(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		whole := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"}))
		p := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Target.Instance = "other" })
		part, _, err := b.Submit(t.Context(), p, SubmitOptions{Actor: robot, Part: Part{whole.ID, "part"}})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, "the part", b.part(t, whole.ID).ID, part.ID)
		wants(t, "its queue", part.Queue, whole.Queue)
	}, func(o *Options) { o.Poll = time.Hour })
}
