package app

import (
	"context"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// upgradesOf is a person whose state holds runs of upgrades that nobody works on.
type upgradesOf struct {
	*App
	store *state.Store
}

// put stores a run that is newer than all before.
func (a upgradesOf) put(t testing.TB, id, kind string) {
	t.Helper()
	ctx := t.Context()
	var at, now time.Time
	must(t, a.store.Read(ctx, "look at the clock", func(ctx context.Context, tx *state.Tx) (err error) { at, err = tx.Now(ctx); return err }))
	until(t, "the clock goes on", func() bool {
		must(t, a.store.Read(ctx, "look at the clock", func(ctx context.Context, tx *state.Tx) (err error) { now, err = tx.Now(ctx); return err }))
		return now.After(at)
	})
	must(t, a.store.Tx(ctx, "put a run", func(ctx context.Context, tx *state.Tx) error {
		if err := tx.PutPlan(ctx, state.Plan{Hash: id, Kind: kind, Environment: "prod", Instance: "main", Body: []byte("{}")}); err != nil {
			return err
		}
		return tx.PutRun(ctx, state.Run{ID: id, PlanHash: id, Kind: kind, Environment: "prod", Instance: "main", Title: "upgrade"})
	}))
}

func (a upgradesOf) set(t testing.TB, id string, s state.RunState) {
	t.Helper()
	must(t, a.store.Tx(t.Context(), "set a run", func(ctx context.Context, tx *state.Tx) error { return tx.SetRun(ctx, id, s, "step", "", "") }))
}

func TestTheLastUpgradeIsTheOneThatGoesOn(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	store, err := a.Store(t.Context())
	must(t, err)
	u := upgradesOf{a, store}
	is := func(what, want string) {
		t.Helper()
		got, err := a.LastUpgrade(t.Context(), "prod", "main")
		if want == "" && fault.KindOf(err) != fault.Usage || want != "" && (err != nil || got.ID != want) {
			t.Errorf("%s: %q, %v; want %q", what, got.ID, err, want)
		}
	}
	is("none", "")
	u.put(t, "rehearsal", upgrade.RehearseKind)
	is("a rehearsal is none", "")
	u.set(t, "rehearsal", state.Done)
	u.put(t, "first", upgrade.RunKind)
	u.put(t, "second", upgrade.RunKind)
	is("of two that wait the first", "first")
	for _, s := range []state.RunState{state.Running, state.Gate, state.Parked, state.Undoing} {
		u.set(t, "first", s)
		is("one that is "+string(s)+", before one that waits for it", "first")
	}
	u.set(t, "second", state.Running) // as it is once it was looked at
	is("the one that began first", "first")
	u.put(t, "back", upgrade.RollbackKind)
	is("a rollback is none", "first")
	u.set(t, "first", state.Undone)
	is("what was undone is over", "second")
	u.set(t, "second", state.Done)
	is("what is done can be taken back", "second")
	u.put(t, "third", upgrade.InPlaceKind)
	is("one that is to come", "third")
	u.set(t, "third", state.Cancelled)
	is("what was cancelled was never begun", "second")
	u.put(t, "fourth", upgrade.RunKind)
	u.step(t, "fourth", op.CheckStep, state.StepFailed)
	u.set(t, "fourth", state.Failed)
	is("what failed at its first look changed nothing", "second")
	u.put(t, "fifth", upgrade.RunKind)
	u.step(t, "fifth", "copy shop", state.StepFailed)
	u.set(t, "fifth", state.Failed)
	is("what was given up as it is", "fifth")

	var some []Unfinished
	some, err = a.Unfinished(t.Context(), "prod")
	must(t, err)
	if len(some) != 1 || some[0].Run.ID != "back" || some[0].Waits || !some[0].ShutOut.IsZero() {
		t.Errorf("%+v", some)
	}
}

func TestAnUpgradeThatStaysThoughItWasUndoneIsTheLastOne(t *testing.T) {
	t.Parallel()
	all := []state.Run{{ID: "second", Kind: upgrade.InPlaceKind, State: state.Undone}, {ID: "first", Kind: upgrade.RunKind, State: state.Done}}
	if got := lastUpgrade(all, map[string]bool{"second": true}); got == nil || got.ID != "second" {
		t.Errorf("the cloud had upgraded it: %+v", got)
	}
	if got := lastUpgrade(all, nil); got == nil || got.ID != "first" {
		t.Errorf("it had not: %+v", got)
	}
}

func TestWhoShutsClientsOutIsTold(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	if some, err := a.Unfinished(t.Context(), ""); err != nil || len(some) > 0 {
		t.Errorf("without a state: %v, %+v", err, some)
	}
	store, err := a.Store(t.Context())
	must(t, err)
	u := upgradesOf{a, store}
	told := func(what, runs string) {
		t.Helper()
		some, err := a.Unfinished(t.Context(), "prod")
		must(t, err)
		got := ""
		for _, s := range some {
			got += s.Run.ID
			if s.Waits {
				got += " waits"
			}
			if !s.ShutOut.IsZero() {
				got += " shuts out"
			}
			got += ";"
		}
		if got != runs {
			t.Errorf("%s: %q, want %q", what, got, runs)
		}
	}
	u.put(t, "run", upgrade.RunKind)
	u.set(t, "run", state.Gate)
	told("at its gate", "run waits;")
	u.step(t, "run", "quiesce", state.StepDone)
	u.set(t, "run", state.Parked)
	told("parked behind it", "run waits shuts out;")
	u.set(t, "run", state.Failed)
	told("abandoned so", "run shuts out;")
	u.put(t, "back", upgrade.RollbackKind)
	told("its way back waits", "run shuts out;back;")
	u.step(t, "back", "back", state.StepRunning)
	u.set(t, "back", state.Running)
	told("and was begun by nobody who is there", "back waits shuts out;")
	u.set(t, "back", state.Done)
	told("and is done", "")
	u.put(t, "other", "backup.create")
	u.set(t, "other", state.Parked)
	told("any other run", "other waits;")
}

func (a upgradesOf) step(t testing.TB, run, name string, s state.StepState) {
	t.Helper()
	must(t, a.store.Tx(t.Context(), "put a step", func(ctx context.Context, tx *state.Tx) error {
		step := state.Step{Phase: state.Do, Pos: 1, Attempt: 1, Name: name, State: s}
		if err := tx.BeginStep(ctx, run, step); err != nil || s == state.StepRunning {
			return err
		}
		return tx.EndStep(ctx, run, step)
	}))
}
