package availability

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/play"
	"dbops/internal/state"
)

// spy stands between the operations and a cloud.
type spy struct {
	Cloud
	modify   func(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error)
	failover func(ctx context.Context, name string) (cloud.Receipt, error)
	progress func(ctx context.Context, r cloud.Receipt) (cloud.Progress, error)
	get      func(ctx context.Context, name string) (*cloud.Instance, error)
}

func (s *spy) between(c Cloud) Cloud { s.Cloud = c; return s }

func (s *spy) Modify(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
	if s.modify != nil {
		return s.modify(ctx, name, m)
	}
	return s.Cloud.Modify(ctx, name, m)
}

func (s *spy) Failover(ctx context.Context, name string) (cloud.Receipt, error) {
	if s.failover != nil {
		return s.failover(ctx, name)
	}
	return s.Cloud.Failover(ctx, name)
}

func (s *spy) Progress(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
	if s.progress != nil {
		return s.progress(ctx, r)
	}
	return s.Cloud.Progress(ctx, r)
}

func (s *spy) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	if s.get != nil {
		return s.get(ctx, name)
	}
	return s.Cloud.Get(ctx, name)
}

var errLost = fault.Newf(fault.Unavailable, "ask", "the answer was lost").Hint("it may have been accepted: look")

// somewhere is both clouds with one store, for what does not depend on it.
func somewhere(t testing.TB) (all []place) {
	t.Helper()
	for _, s := range both(t) {
		all = append(all, place{s, "sqlite"})
	}
	return all
}

func TestTroubleThatPassesIsNotNoticed(t *testing.T) {
	for _, p := range somewhere(t) {
		for _, effect := range []play.Effect{play.Throttle, play.Unavailable, play.Drop, play.Stale} {
			if effect == play.Stale && p.Kind == cloud.RDS {
				continue // knows no revisions
			}
			t.Run(p.String()+" "+string(effect), func(t *testing.T) {
				t.Parallel()
				b := p.bench(t, cloud.Zonal)
				p.fault(b.name, effect, 2, false)
				b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Done)
				b.has(t, cloud.Regional)
				if n := p.count("modify", b.name); n != 1 {
					t.Errorf("it was changed %d times", n)
				}
			})
		}
		t.Run(p.String()+" failover", func(t *testing.T) {
			t.Parallel()
			b := p.bench(t, cloud.Regional)
			p.fault(b.name, play.Throttle, 1, true)
			b.does(t, FailoverKind, FailoverRequest{}, state.Done)
			if n := p.count("failover", b.name); n != 1 {
				t.Errorf("it failed over %d times", n)
			}
		})
	}
}

func TestAnAnswerThatWasLostIsLookedFor(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String()+" set", func(t *testing.T) {
			t.Parallel()
			var s spy
			var lost atomic.Bool
			s.modify = func(ctx context.Context, name string, m cloud.Modify) (cloud.Receipt, error) {
				r, err := s.Cloud.Modify(ctx, name, m)
				if err == nil && lost.CompareAndSwap(false, true) {
					return cloud.Receipt{}, errLost
				}
				return r, err
			}
			b := p.bench(t, cloud.Zonal, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Done)
			b.has(t, cloud.Regional)
			r := b.report(t, run.ID)
			if n := p.count("modify", b.name); n != 1 || !lost.Load() || !strings.Contains(r.text(), "the change was found") {
				t.Errorf("asked for %d times: %s", n, r.text())
			}
		})
		t.Run(p.String()+" failover", func(t *testing.T) {
			t.Parallel()
			var s spy
			var lost atomic.Bool
			s.failover = func(ctx context.Context, name string) (cloud.Receipt, error) {
				r, err := s.Cloud.Failover(ctx, name)
				if err == nil && lost.CompareAndSwap(false, true) {
					return cloud.Receipt{}, errLost
				}
				return r, err
			}
			b := p.bench(t, cloud.Regional, s.between)
			run := b.does(t, FailoverKind, FailoverRequest{}, state.Done)
			r := b.report(t, run.ID)
			if n := p.count("failover", b.name); n != 1 || !lost.Load() || r.After.Primary != r.Before.Standby {
				t.Errorf("failed over %d times, from %s to %s", n, r.Before, r.After)
			}
		})
	}
}

func TestWhatIsDeniedWaitsForAPerson(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			b := p.bench(t, cloud.Zonal)
			p.fault(b.name, play.Deny, 1, false)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Parked)
			if run.Step != stepModify || run.Hint == "" {
				t.Errorf("run %+v", run)
			}
			b.tell(t, run.ID, state.Retry)
			if run = b.attach(t, run.ID); run.State != state.Done {
				t.Errorf("run %+v", run)
			}
			b.has(t, cloud.Regional)
			b.verified(t)
		})
	}
}

func TestAChangeThatFailsIsToldAndNothingIsSetBack(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			b := p.bench(t, cloud.Zonal)
			p.fault(b.name, play.Fail, 1, false)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Parked)
			if run.Step != stepWait || !strings.Contains(run.Problem, "sandbox") || !strings.Contains(run.Hint, "dbops runs undo "+run.ID) {
				t.Errorf("run %+v", run)
			}
			b.tell(t, run.ID, state.UndoRun)
			if run = b.attach(t, run.ID); run.State != state.Undone {
				t.Errorf("run %+v", run)
			}
			if n := p.count("modify", b.name); n != 1 {
				t.Errorf("it was changed %d times", n)
			}
		})
	}
}

func TestAChangeThatHangsCanBeCancelled(t *testing.T) {
	for _, p := range somewhere(t) {
		for kind, request := range map[string]any{SetKind: SetRequest{Want: cloud.Zonal}, FailoverKind: FailoverRequest{}} {
			t.Run(p.String()+" "+kind, func(t *testing.T) {
				t.Parallel()
				var s spy
				waiting := make(chan struct{}, 1)
				s.progress = func(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
					select {
					case waiting <- struct{}{}:
					default:
					}
					return s.Cloud.Progress(ctx, r)
				}
				b := p.bench(t, cloud.Regional, s.between)
				p.fault(b.name, play.Hang, 1, kind == FailoverKind)
				id := b.submit(t, b.plan(t, kind, request))
				end := make(chan state.Run, 1)
				go func() { end <- b.attach(t, id) }()
				<-waiting
				b.tell(t, id, state.Cancel)
				run := <-end
				if run.State != state.Parked || run.Step != stepWait || !strings.HasPrefix(run.Problem, "cancelled by alice") {
					t.Errorf("run %+v", run)
				}
				b.tell(t, id, state.Abandon)
				if run = b.attach(t, id); run.State != state.Failed {
					t.Errorf("run %+v", run)
				}
				b.verified(t)
			})
		}
	}
}

func TestAnInstanceThatIsRemovedInTheMiddle(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			var s spy
			s.progress = func(ctx context.Context, r cloud.Receipt) (cloud.Progress, error) {
				progress, err := s.Cloud.Progress(ctx, r)
				if err != nil || !progress.Done {
					return progress, err
				}
				gone, err := p.Client.Delete(ctx, r.Instance)
				for err == nil && !progress.Done || gone.Change == "" {
					progress, err = p.Client.Progress(ctx, gone)
				}
				for err == nil { // until it is not found
					_, err = p.Client.Get(ctx, r.Instance)
				}
				return s.Cloud.Progress(ctx, r)
			}
			b := p.bench(t, cloud.Zonal, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Regional}, state.Parked)
			if run.Step != stepWait || !strings.Contains(run.Hint, "dbops runs abandon "+run.ID) || !strings.Contains(run.Problem, b.name) {
				t.Errorf("run %+v", run)
			}
			b.tell(t, run.ID, state.Abandon)
			if run = b.attach(t, run.ID); run.State != state.Failed {
				t.Errorf("run %+v", run)
			}
		})
	}
}

func TestAChangeBySomebodyElseMakesAPlanStale(t *testing.T) {
	for _, p := range everywhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			b := p.bench(t, cloud.Regional)
			plans := []*op.Plan{b.plan(t, SetKind, SetRequest{Want: cloud.Zonal}), b.plan(t, FailoverKind, FailoverRequest{})}
			b.change(t, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Zonal)}})
			for _, plan := range plans {
				run := b.attach(t, b.submit(t, plan))
				if run.State != state.Failed || !strings.Contains(run.Problem, "availability was regional, is zonal") {
					t.Errorf("run %+v", run)
				}
			}
			if n, m := p.count("modify", b.name), p.count("failover", b.name); n != 1 || m != 0 {
				t.Errorf("%d changes, %d failovers", n, m)
			}
			b.verified(t)
		})
	}
}

// change is somebody else's, past dbops.
func (b *bench) change(t testing.TB, m cloud.Modify) {
	t.Helper()
	r, err := b.Client.Modify(t.Context(), b.name, m)
	must(t, err)
	for {
		p, err := b.Client.Progress(t.Context(), r)
		must(t, err)
		if p.Done {
			return
		}
		must(t, op.Sleep(t.Context(), 5*time.Millisecond))
	}
}

func TestWhatSomebodyChangesBackIsSeen(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			var s spy
			var b *bench
			var once sync.Once
			s.get = func(ctx context.Context, name string) (*cloud.Instance, error) {
				live, err := s.Cloud.Get(ctx, name)
				if err == nil && live.Availability == cloud.Zonal && live.State == cloud.Available { // the end of waiting
					once.Do(func() { b.change(t, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Regional)}}) })
				}
				return live, err
			}
			b = p.bench(t, cloud.Regional, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Parked)
			if run.Step != "verify" || !strings.Contains(run.Problem, "it is regional") || !strings.Contains(run.Hint, "dbops runs abandon "+run.ID) {
				t.Errorf("run %+v", run)
			}
		})
	}
}

// broken lets the step verify fail until it is mended.
func (s *spy) broken(p place) (mend func()) {
	var whole atomic.Bool
	var after atomic.Int32
	s.get = func(ctx context.Context, name string) (*cloud.Instance, error) {
		if p.count("modify", name) > 0 && !whole.Load() && after.Add(1) > 1 { // the first is the end of waiting
			return nil, fault.New(fault.Denied, "describe "+name, errors.New("not any more")).Hint("allow it")
		}
		return s.Cloud.Get(ctx, name)
	}
	return func() { whole.Store(true) }
}

func TestUndoSetsBackWhatTheRunSet(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			var s spy
			mend := s.broken(p)
			b := p.bench(t, cloud.Regional, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Parked)
			if run.Step != "verify" {
				t.Fatalf("run %+v", run)
			}
			mend()
			b.tell(t, run.ID, state.UndoRun)
			if run = b.attach(t, run.ID); run.State != state.Undone {
				t.Errorf("run %+v", run)
			}
			b.has(t, cloud.Regional)
			if n := p.count("modify", b.name); n != 2 {
				t.Errorf("%d changes", n)
			}
			b.verified(t)
		})
	}
}

func TestUndoLeavesWhatSomebodyHasSetBack(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			var s spy
			mend := s.broken(p)
			b := p.bench(t, cloud.Regional, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Parked)
			b.change(t, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Regional)}})
			mend()
			b.tell(t, run.ID, state.UndoRun)
			if run = b.attach(t, run.ID); run.State != state.Undone {
				t.Errorf("run %+v", run)
			}
			if n := p.count("modify", b.name); n != 2 {
				t.Errorf("%d changes", n)
			}
		})
	}
}

func TestUndoDoesNotTouchWhatMayBeSomebodyElses(t *testing.T) {
	for _, p := range somewhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			s := spy{modify: func(context.Context, string, cloud.Modify) (cloud.Receipt, error) {
				return cloud.Receipt{}, fault.Newf(fault.Denied, "modify", "no")
			}}
			b := p.bench(t, cloud.Regional, s.between)
			run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Parked)
			b.change(t, cloud.Modify{Settings: cloud.Settings{Availability: new(cloud.Zonal)}})
			b.tell(t, run.ID, state.UndoRun)
			if run = b.attach(t, run.ID); run.State != state.Parked || !strings.Contains(run.Hint, "dbops availability set regional") {
				t.Errorf("run %+v", run)
			}
			if n := p.count("modify", b.name); n != 1 {
				t.Errorf("%d changes", n)
			}
		})
	}
}

func TestWithoutALoginNothingIsMeasured(t *testing.T) {
	t.Parallel()
	p := place{playedCloudSQL(t), "sqlite"}
	b := p.bench(t, cloud.Regional)
	b.probe = nil
	run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Done)
	if r := b.report(t, run.ID); r.Measured || r.text() != "downtime not measured; no login to probe with is configured" {
		t.Errorf("report %s, %+v", r.text(), r)
	}
}

func TestALoginThatFailsMeasuresNothing(t *testing.T) {
	t.Parallel()
	p := place{playedRDS(t), "sqlite"}
	b := p.bench(t, cloud.Regional)
	b.probe = func(context.Context) error { return errors.New("password=hunter2") }
	run := b.does(t, SetKind, SetRequest{Want: cloud.Zonal}, state.Done)
	if r := b.report(t, run.ID); r.Measured || !strings.Contains(r.text(), "never served") || strings.Contains(r.text(), "hunter2") {
		t.Errorf("report %s", r.text())
	}
	steps, err := b.Journal(t.Context(), run.ID)
	must(t, err)
	for _, step := range steps {
		if step.Name == stepModify && !strings.Contains(string(step.Output), `"before":"no connection"`) {
			t.Errorf("it is not known that nobody was served before either: %s", step.Output)
		}
	}
}
