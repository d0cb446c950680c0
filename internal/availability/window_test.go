package availability

import (
	"context"
	"strings"
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

func TestAChangeWaitsForTheWindowAndIsTakenBack(t *testing.T) {
	for _, store := range []string{"sqlite", "postgres"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			p := place{playedRDS(t), store}
			b := p.bench(t, cloud.Zonal)
			b.change(t, cloud.Modify{Settings: cloud.Settings{Class: new("db.r6g.xlarge")}, When: cloud.InWindow})
			before := b.get(t, b.name)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Regional, InWindow: true}, state.Done)
			live := b.get(t, b.name)
			if live.Availability != cloud.Zonal || waiting(live.Pending) != cloud.Regional || live.Class != before.Class {
				t.Errorf("it is %s, class %s, pending %v", live.Availability, live.Class, live.Pending)
			}
			if r := b.report(t, run.ID); r.Window != live.Maintenance.Window || r.Window == "" || r.Measured {
				t.Errorf("report %+v", r)
			}
			if p := b.plan(t, SetKind, SetRequest{Want: cloud.Regional, InWindow: true}); !p.Nothing() {
				t.Errorf("it waits already, and is to be changed: %+v", p.Changes)
			}
			b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Done)
			live = b.has(t, cloud.Zonal)
			if len(live.Pending) != 1 || live.Pending[0].Setting != "class" || live.Class != before.Class {
				t.Errorf("class %s, pending %v", live.Class, live.Pending)
			}
		})
	}
}

func TestUndoTakesBackWhatWaitsForTheWindow(t *testing.T) {
	t.Parallel()
	p := place{playedRDS(t), "sqlite"}
	var s spy
	mend := s.broken(p)
	b := p.bench(t, cloud.Zonal, s.between)
	run := b.does(t, SetKind, SetRequest{Want: cloud.Regional, InWindow: true}, state.Parked)
	mend()
	b.tell(t, run.ID, state.UndoRun)
	if run = b.attach(t, run.ID); run.State != state.Undone {
		t.Errorf("run %+v", run)
	}
	if live := b.has(t, cloud.Zonal); len(live.Pending) > 0 {
		t.Errorf("pending %v", live.Pending)
	}
}

func TestWhatIsPendingIsAppliedAlongAsPlanned(t *testing.T) {
	t.Parallel()
	p := place{playedRDS(t), "sqlite"}
	b := p.bench(t, cloud.Zonal)
	b.change(t, cloud.Modify{Settings: cloud.Settings{Class: new("db.r6g.xlarge")}, When: cloud.InWindow})
	plan := b.plan(t, SetKind, SetRequest{Want: cloud.Regional})
	if len(plan.Findings) != 1 || plan.Findings[0].Severity != op.Warn || !strings.Contains(plan.Findings[0].Text, "db.r6g.xlarge") || len(plan.Changes) != 3 {
		t.Errorf("plan %+v", plan.Draft)
	}
	run := b.attach(t, b.submit(t, plan))
	if live := b.has(t, cloud.Regional); run.State != state.Done || live.Class != "db.r6g.xlarge" {
		t.Errorf("run %+v, class %s", run, live.Class)
	}
	if r := b.report(t, run.ID); r.DowntimeMS == 0 {
		t.Errorf("the change of class restarts the played server: %+v", r)
	}
}

// What somebody leaves pending between the engine's comparison and the request was in no plan.
func TestWhatBecamePendingSinceIsNotAppliedAlong(t *testing.T) {
	t.Parallel()
	p := place{playedRDS(t), "sqlite"}
	var s spy
	denied := true
	s.modify = func(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
		if denied {
			denied = false
			return cloud.Receipt{}, fault.Newf(fault.Denied, "modify", "not yet")
		}
		return s.Cloud.Modify(ctx, name, m)
	}
	b := p.bench(t, cloud.Zonal, s.between)
	run := b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Parked)
	b.change(t, cloud.Modify{Settings: cloud.Settings{Class: new("db.r6g.xlarge")}, When: cloud.InWindow})
	b.tell(t, run.ID, state.Retry)
	if run = b.attach(t, run.ID); run.State != state.Parked || !strings.Contains(run.Problem, "class from") || run.Hint == "" {
		t.Errorf("run %+v", run)
	}
	if live := b.get(t, b.name); live.Availability != cloud.Zonal || len(live.Pending) != 1 {
		t.Errorf("it is %s, pending %v", live.Availability, live.Pending)
	}
}

func TestAnAvailabilityThatIsNoneIsRefused(t *testing.T) {
	k := New(Deps{})[0]
	_, err := k.Observe(t.Context(), prod, []byte(`{"want":"global"}`))
	if fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
		t.Errorf("got %v", err)
	}
}
