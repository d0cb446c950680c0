package backup

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"dbops/internal/cloud"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// bench is an engine over a store and a stage.
type bench struct {
	*op.Engine
	g     *stage
	place statetest.Place
	store *state.Store
	deps  Deps
}

var pace = op.Pace{First: 20 * time.Millisecond, Most: 100 * time.Millisecond, Patience: time.Minute}

func newBench(t *testing.T, g *stage, p statetest.Place, s *state.Store) *bench {
	t.Helper()
	b := &bench{g: g, place: p, store: s}
	b.use(t, &busy{Cloud: g.cloud, p: g.place}, source)
	return b
}

// use changes the cloud that the bench's operations see, and the name of their target.
func (b *bench) use(t testing.TB, c Cloud, name string) {
	t.Helper()
	b.with(t, b.g.deps(c, name))
}

func (b *bench) with(t testing.TB, d Deps) {
	t.Helper()
	var err error
	if b.Engine, err = engine(b.store, d); err != nil {
		t.Fatal(err)
	}
	b.deps = d
}

func engine(s *state.Store, d Deps) (*op.Engine, error) {
	kinds, err := op.NewRegistry(New(d).Kinds()...)
	if err != nil {
		return nil, err
	}
	return op.New(s, kinds, op.Options{Version: "test", Poll: 50 * time.Millisecond, TTL: 20 * time.Second, Host: "here"}), nil
}

// deps are those of a process that works against a played cloud.
func (p place) deps(c Cloud, name string) Deps {
	return Deps{
		Cloud:   func(context.Context, op.Target) (Cloud, string, error) { return c, name, nil },
		Connect: p.connect, Pace: pace, Reach: 20 * time.Second, Settle: 20 * time.Second,
	}
}

// scenario is a test over a played cloud; the bench's store holds the runs of others, too.
type scenario struct {
	name string
	on   string // where: "rds" and "cloudsql", each with "/sqlite" and "/postgres"; a part of that for all that hold it
	test func(t *testing.T, b *bench)
}

// play runs scenarios over both clouds, side by side, on one stage each.
func play(t *testing.T, all ...scenario) {
	t.Helper()
	for _, kind := range clouds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			g := newStage(t, kind)
			for _, store := range statetest.Kinds {
				t.Run(store, func(t *testing.T) {
					p := statetest.New(t, store)
					s := p.Store(t)
					for _, sc := range all {
						for on := range strings.FieldsSeq(sc.on) {
							if strings.Contains(string(kind)+"/"+store, on) {
								t.Run(sc.name, func(t *testing.T) { sc.test(t, newBench(t, g, p, s)) })
							}
						}
					}
				})
			}
		})
	}
}

var (
	tester = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}
	target = op.Target{Environment: "prod", Instance: "shop"}
)

func (b *bench) plan(t testing.TB, kind string, request any) *op.Plan {
	t.Helper()
	p, err := b.Plan(t.Context(), op.PlanRequest{Kind: kind, Target: target, Request: request, Requester: tester})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run plans, submits and attaches.
func (b *bench) run(t testing.TB, kind string, request any) state.Run {
	t.Helper()
	return b.attach(t, b.submit(t, b.plan(t, kind, request)))
}

func (b *bench) submit(t testing.TB, p *op.Plan) string {
	t.Helper()
	r, _, err := b.Submit(t.Context(), p, op.SubmitOptions{Actor: tester})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	if err := b.Tell(t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"); err != nil {
		t.Fatal(err)
	}
}

// done demands that a run ended well, and that the audit log is whole.
func (b *bench) done(t testing.TB, r state.Run) {
	t.Helper()
	if r.State != state.Done {
		t.Fatalf("the run is %s: %s (%s)", r.State, r.Problem, r.Hint)
	}
	b.verified(t)
}

func (b *bench) verified(t testing.TB) {
	t.Helper()
	if report, err := b.store.Log.Verify(t.Context(), 0); err != nil || !report.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, report)
	}
}

// output reads what a step of a run stored.
func output[T any](t testing.TB, e *op.Engine, run, step string) (v T) {
	t.Helper()
	journal, err := e.Journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if !outputOf(journal, step, &v) {
		t.Fatalf("step %s stored nothing in %+v", step, journal)
	}
	return v
}

func (b *bench) report(t testing.TB, run string) DrillReport {
	t.Helper()
	journal, err := b.Journal(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	r, ok, err := ReportOf(journal)
	if err != nil || !ok {
		t.Fatalf("no report: %v", err)
	}
	t.Logf("%+v", r)
	return r
}

func (g *stage) get(t testing.TB, name string) *cloud.Instance {
	t.Helper()
	live, err := g.cloud.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// gone demands that there is no instance of a name.
func (g *stage) gone(t testing.TB, name string) {
	t.Helper()
	if live, err := g.cloud.Get(t.Context(), name); err == nil {
		t.Errorf("%s is left: %s", name, live.RawState)
	}
}

func outputOf(journal []state.Step, step string, into any) bool {
	for _, s := range journal {
		if s.Phase == state.Do && s.Name == step && s.State == state.StepDone {
			return json.Unmarshal(s.Output, into) == nil
		}
	}
	return false
}

// newNameOf is a name that nothing has.
func newNameOf(prefix string) string { return prefix + "-" + uuid.NewString()[:8] }
