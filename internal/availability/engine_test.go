package availability

import (
	"context"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

var actor = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}

// bench is an engine over a store, with the operations on one instance of a played cloud.
type bench struct {
	*op.Engine
	*stage
	name  string
	deps  Deps
	probe func(context.Context) error
}

// bench makes an instance and an engine. between wraps the cloud as the operations see it.
func (p place) bench(t testing.TB, a cloud.Availability, between ...func(Cloud) Cloud) *bench {
	t.Helper()
	s := p.stage
	b := &bench{stage: s, name: s.instance(t, a)}
	var c Cloud = s.Client
	for _, f := range between {
		c = f(c)
	}
	b.deps = quick(func(context.Context, op.Target) (Cloud, string, error) { return c, b.name, nil })
	b.probe = s.answers(b.name)
	b.deps.Probe = func(op.Target) func(context.Context) error { return b.probe }
	b.Engine = newEngine(t, statetest.New(t, p.store), b.deps)
	return b
}

// precise makes the probe ask often enough for the shortest restart.
func (p place) precise(t testing.TB, a cloud.Availability) *bench {
	t.Helper()
	b := p.bench(t, a)
	b.deps.Interval = 20 * time.Millisecond
	b.Engine = newEngine(t, statetest.New(t, p.store), b.deps)
	return b
}

func newEngine(t testing.TB, p statetest.Place, d Deps) *op.Engine {
	t.Helper()
	kinds, err := op.NewRegistry(New(d)...)
	must(t, err)
	return op.New(p.Store(t), kinds, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: 20 * time.Second, Host: "here"})
}

// quick are the times of a test.
func quick(c func(context.Context, op.Target) (Cloud, string, error)) Deps {
	return Deps{
		Cloud: c, Pace: op.Pace{First: 20 * time.Millisecond, Most: 60 * time.Millisecond, Patience: time.Minute},
		Interval: 100 * time.Millisecond, Settle: 20 * time.Millisecond, Grace: 10 * time.Second, Answer: 15 * time.Second,
	}
}

func (b *bench) target() op.Target { return op.Target{Environment: "prod", Instance: b.name} }

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: b.target(), Request: request, Requester: actor})
	must(t, err)
	return p
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: actor})
	must(t, err)
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	must(t, err)
	return r
}

// does plans a request and runs it until it ends or waits for somebody.
func (b *bench) does(t testing.TB, kind string, request any, want state.RunState) state.Run {
	t.Helper()
	run := b.attach(t, b.submit(t, b.plan(t, kind, request)))
	if run.State != want {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.verified(t)
	return run
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	must(t, b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"))
}

func (b *bench) report(t testing.TB, run string) Report {
	t.Helper()
	steps, err := b.Journal(t.Context(), run)
	must(t, err)
	for _, s := range steps {
		if s.Name == ReportStep && s.State == state.StepDone {
			r, err := ReadReport(s.Output)
			must(t, err)
			return r
		}
	}
	t.Fatalf("no report in %+v", steps)
	return Report{}
}

func (b *bench) verified(t testing.TB) {
	t.Helper()
	r, err := b.Store().Log.Verify(t.Context(), 0)
	if err != nil || !r.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, r)
	}
}

func (b *bench) has(t testing.TB, a cloud.Availability) *cloud.Instance {
	t.Helper()
	live := b.get(t, b.name)
	if !is(live, a) || live.State != cloud.Available {
		t.Errorf("it is %s (%s), pending %v, in %s", live.Availability, live.RawState, live.Pending, zonesOf(live))
	}
	return live
}

func TestTheAvailabilityIsSetAndSetBack(t *testing.T) {
	for _, p := range everywhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			b := p.precise(t, cloud.Regional)
			asked, down := 0, false
			change := func(want cloud.Availability) {
				t.Helper()
				before := b.get(t, b.name)
				run := b.does(t, SetKind, SetRequest{Want: want}, state.Done)
				after := b.has(t, want)
				asked++
				if n := p.count("modify", b.name); n != asked {
					t.Errorf("%d changes were asked for", n)
				}
				r := b.report(t, run.ID)
				t.Logf("%s: %s; %+v", want, r.text(), r)
				if r.Before != zonesOf(before) || r.After != zonesOf(after) || !r.Measured || r.Attempts == 0 || r.Asked.IsZero() || r.Ended.Before(r.Asked) {
					t.Errorf("report %+v", r)
				}
				down = down || r.DowntimeMS > 0 && r.Outages > 0
			}
			// The played Cloud SQL restarts, the played RDS does not. A restart may be over between two attempts of the probe.
			for range 5 {
				change(cloud.Zonal)
				change(cloud.Regional)
				if p.Kind == cloud.RDS || down {
					break
				}
			}
			if down != (p.Kind == cloud.CloudSQL) {
				t.Errorf("downtime was seen: %t", down)
			}
			if p := b.plan(t, SetKind, SetRequest{Want: cloud.Regional}); !p.Nothing() || len(p.Findings) > 0 {
				t.Errorf("what is so already is to be changed: %+v", p.Draft)
			}
		})
	}
}

func TestAFailoverSwapsTheZonesOnce(t *testing.T) {
	for _, p := range everywhere(t) {
		t.Run(p.String(), func(t *testing.T) {
			t.Parallel()
			b := p.precise(t, cloud.Regional)
			for asked, seen := 1, 0; seen < 2; asked++ {
				before := b.get(t, b.name)
				run := b.does(t, FailoverKind, FailoverRequest{}, state.Done)
				after := b.has(t, cloud.Regional)
				r := b.report(t, run.ID)
				t.Logf("%s; %+v", r.text(), r)
				if after.Zone != before.SecondaryZone || after.SecondaryZone != before.Zone || r.Before != zonesOf(before) || r.After != zonesOf(after) {
					t.Errorf("from %s to %s, report %+v", zonesOf(before), zonesOf(after), r)
				}
				if n := p.count("failover", b.name); n != asked {
					t.Errorf("%d failovers were asked for", n)
				}
				if r.Measured && r.DowntimeMS == 0 && r.UnwatchedMS > 0 && asked < 8 {
					continue // a busy machine looked away for longer than the outage was, and the report says so
				}
				seen++
				if !r.Measured || r.DowntimeMS == 0 || r.Outages == 0 || r.LongestMS > r.DowntimeMS || strings.Contains(r.text(), "not answer") {
					t.Errorf("report %+v", r)
				}
			}
		})
	}
}
