package op

import (
	"context"
	"slices"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// Whoever makes an abandoned run wait in the queue is not its runner: who takes it from there may die before it has the lease.
func TestARunOfAWorkerThatDiedBeforeItHadTheLeaseIsTakenOver(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "postgres"))
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
	sweeper, err := b.startRunner(t.Context(), true, "elsewhere") // takes nothing itself
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := sweeper.close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	// A run that somebody took and left behind.
	if err := b.store.Tx(t.Context(), "take it", func(ctx context.Context, tx *state.Tx) error { return tx.SetRunner(ctx, id, "dead") }); err != nil {
		t.Fatal(err)
	}
	if err := sweeper.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	wants(t, "runner", b.run(id).Runner, "")
	wants(t, "record", b.record(id), "ENQUEUED")
	p := b.child(childSpec{Do: "work", TTL: 10 * time.Second, DieOn: "the run is begun"})
	if _, err := p.ends(t); err == nil {
		t.Fatal("the child lives")
	}
	wants(t, "record", b.record(id), "PENDING")
	wants(t, "runner", b.run(id).Runner, "")
	eventually(t, "it waits in the queue again", func() bool {
		if err := sweeper.sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.record(id) == "ENQUEUED"
	})
	b.worker()
	wants(t, "state", b.attach(t, id).State, state.Done)
	b.verified(t)
}

// The store has the last word about a lease, whatever the process believes.
func TestNothingIsRecordedUnderALeaseThatIsSomebodyElses(t *testing.T) {
	each(t, func(b *bench) {
		stolen := false
		b.toys.on("b", func(context.Context, *Session) error {
			if !stolen {
				b.makeOlder("update leases set token = token + 1")
			}
			stolen = true
			return nil
		})
		id := b.submit(b.T, b.plan(b.T, toyRequest{Settings: []string{"a", "b"}, Value: "1"})).ID
		_, err := b.Attach(b.T.Context(), id, 0, nil)
		failed(b.T, err, fault.Unavailable, "the lease is lost")
		steps, err := b.Journal(b.T.Context(), id)
		if err != nil || !slices.ContainsFunc(steps, func(s state.Step) bool { return s.Name == "b" && s.State == state.StepRunning }) {
			b.T.Errorf("%+v, %v", steps, err)
		}
		wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		wants(b.T, "effects", b.toys.world.effects(), []string{"a=1", "b=1"})
		b.verified(b.T)
	})
}
