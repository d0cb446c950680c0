package op

import (
	"context"
	"slices"
	"testing"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/state"
)

// toldOf are the occasions of the notices about a run, sorted.
func (b *bench) toldOf(t testing.TB, run string) (all []string) {
	t.Helper()
	for _, n := range b.notices(t) {
		if n.Run == run {
			all = append(all, n.Occasion)
		}
	}
	slices.Sort(all)
	return all
}

func (b *bench) notices(t testing.TB) (all []state.Notice) {
	t.Helper()
	err := b.store.Read(t.Context(), "read the notices", func(ctx context.Context, tx *state.Tx) (err error) {
		all, err = tx.Notices(ctx, state.NoticeFilter{Limit: 10000})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// happened is what others have to be told of a run, by its events.
func (b *bench) happened(t testing.TB, run string) (all []string) {
	t.Helper()
	events, err := b.Events(t.Context(), run, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		switch e.Kind {
		case EventGate:
			all = append(all, OnGate)
		case EventParked:
			all = append(all, OnFailure)
		case EventEnded:
			all = append(all, occasionOf(r.State))
		}
	}
	slices.Sort(all)
	return all
}

func TestWhoIsToldOfWhat(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		gated := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
		b.attach(t, gated)
		b.tell(t, gated, state.Continue)
		b.attach(t, gated)
		wants(t, "of a run with a gate", b.toldOf(t, gated), []string{OnFinished, OnGate})

		failing := b.submit(t, b.plan(t, toyRequest{Settings: []string{"c", "fail"}, Value: "1"})).ID
		b.attach(t, failing)
		b.tell(t, failing, state.Retry)
		b.attach(t, failing)
		b.tell(t, failing, state.Abandon)
		b.attach(t, failing)
		wants(t, "of one that fails twice and is given up", b.toldOf(t, failing), []string{OnFailure, OnFailure, OnFailure})

		queued := b.submit(t, b.plan(t, toyRequest{Settings: []string{"d"}, Value: "1"})).ID
		b.tell(t, queued, state.Cancel)
		wants(t, "of one that is cancelled before it began", b.toldOf(t, queued), []string{OnFinished})

		whole := b.submit(t, b.plan(t, toyRequest{Settings: []string{"part"}, Value: "2"})).ID
		b.attach(t, whole)
		wants(t, "of one with a part", b.toldOf(t, whole), []string{OnFinished})
		wants(t, "of the part", b.toldOf(t, b.part(t, whole).ID), nil)

		p := b.plan(t, toyRequest{Settings: []string{"e"}, Value: "1"}, func(q *PlanRequest) { q.Approvals = 1 })
		a, err := b.Request(t.Context(), p, robot)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Request(t.Context(), p, robot); err != nil { // which asks nobody anew
			t.Fatal(err)
		}
		all := slices.DeleteFunc(b.notices(t), func(n state.Notice) bool { return n.Occasion != OnApproval })
		if len(all) != 1 || string(all[0].Body) != a.ID || all[0].Environment != "prod" {
			t.Errorf("of an approval: %+v", all)
		}
	})
}

func TestNothingIsToldOfWhatDidNotHappen(t *testing.T) {
	each(t, func(b *bench) {
		p := b.plan(b.T, toyRequest{Settings: []string{"blocked"}, Value: "1"})
		if _, _, err := b.Submit(b.T.Context(), p, SubmitOptions{Actor: robot}); fault.KindOf(err) != fault.Blocked {
			b.T.Errorf("a blocked plan was submitted: %v", err)
		}
		if all := b.notices(b.T); len(all) > 0 {
			b.T.Errorf("somebody is told: %+v", all)
		}
	})
}

func TestOccasionsAreThoseOfTheConfiguration(t *testing.T) {
	t.Parallel()
	wants(t, "occasions", []string{OnGate, OnApproval, OnFailure, OnFinished}, []string{config.OnGate, config.OnApproval, config.OnFailure, config.OnFinished})
}
