package op

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// toyWorld is a world in a folder: every effect of a step on a setting, in the order in which the world saw them.
type toyWorld struct{ dir string }

// get is what a setting was set to last.
func (w toyWorld) get(setting string) (value string) {
	for _, e := range w.effects() {
		if v, ok := strings.CutPrefix(e, setting+"="); ok {
			value = v
		}
	}
	return value
}

// set is one write, so that a process that is killed has done it or not.
func (w toyWorld) set(setting, value string) {
	f, err := os.OpenFile(filepath.Join(w.dir, "effects"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	_, err = f.WriteString(setting + "=" + value + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		panic(err)
	}
}

func (w toyWorld) effects() []string {
	b, err := os.ReadFile(filepath.Join(w.dir, "effects"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		panic(err)
	}
	return strings.Fields(string(b))
}

// wait makes a step whose name begins with wait last until the world says go; one that begins with stubborn does not even heed its context.
func (w toyWorld) wait(ctx context.Context, setting string) error {
	stubborn := strings.HasPrefix(setting, "stubborn")
	if !stubborn && !strings.HasPrefix(setting, "wait") {
		return nil
	}
	if stubborn {
		stop := context.AfterFunc(ctx, func() { w.say("told " + setting) })
		defer stop()
		ctx = context.WithoutCancel(ctx)
	}
	w.say("at " + setting)
	for !w.said("go") {
		if err := Sleep(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// say and said are signs between processes.
func (w toyWorld) say(what string) {
	if err := os.WriteFile(filepath.Join(w.dir, "said "+what), nil, 0o600); err != nil {
		panic(err)
	}
}

func (w toyWorld) said(what string) bool {
	_, err := os.Stat(filepath.Join(w.dir, "said "+what))
	return err == nil
}

// toyRequest asks for settings to get a value, one step each.
type toyRequest struct {
	Settings []string
	Value    string
	Gate     bool
	Naive    bool // steps act without looking
}

type toyFacts struct{ Was map[string]string }

// toys let a test act in the middle of steps.
type toys struct {
	world toyWorld
	name  string // of the kind. Defaults to toy
	extra string // a step that this version has and others have not
	other bool   // this version holds a step called fail for final, and for one after which there is no way back
	hook  func(at string)
	// oneWay steps cannot be undone.
	oneWay bool
	// inside is told when a step of a target is entered and left.
	inside func(target string, in bool)
	over   []string // runs that have ended
	engine *Engine  // carries the runs that are parts of others

	mu sync.Mutex
	do map[string]func(ctx context.Context, s *Session) error // by step, called before it acts
}

func (y *toys) on(step string, do func(ctx context.Context, s *Session) error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.do == nil {
		y.do = map[string]func(context.Context, *Session) error{}
	}
	y.do[step] = do
}

func (y *toys) kind() Kind {
	return Operation[toyRequest, toyFacts]{
		Kind: cmp.Or(y.name, "toy"),
		Observe: func(_ context.Context, _ Target, r toyRequest) (toyFacts, error) {
			f := toyFacts{Was: map[string]string{}}
			for _, s := range r.Settings {
				f.Was[s] = y.world.get(s)
			}
			return f, nil
		},
		Derive: func(t Target, r toyRequest, f toyFacts) Draft {
			d := Draft{Title: "set toys of " + t.String() + " to " + r.Value, Downtime: Downtime{Expected: "none", Text: "toys"}}
			for _, s := range r.Settings {
				d.Untouched = d.Untouched || s == "untouched"
				if s == "blocked" {
					d.Findings = append(d.Findings, Finding{Severity: Block, Check: "toy", Text: "it must not be set", Remedy: "leave it"})
				}
				if f.Was[s] != r.Value {
					d.Changes = append(d.Changes, Change{Setting: s, From: f.Was[s], To: r.Value})
				}
			}
			return d
		},
		Steps: func(_ Target, r toyRequest, f toyFacts) (steps []Step) {
			for _, s := range r.Settings {
				step := Step{
					Name: s, Title: "set " + s, UndoTitle: "set " + s + " back",
					Do:   y.setter(s, r.Value, r.Naive),
					Undo: y.setter(s, f.Was[s], r.Naive),
				}
				step.Final = s == "final" || y.other && s == "fail"
				step.Onward = y.other && s == "fail"
				if y.oneWay {
					step.Undo, step.UndoTitle = nil, ""
				}
				if of, ok := strings.CutPrefix(s, "part"); ok {
					step.Undo, step.UndoTitle, step.Do = nil, "", y.carry(s, cmp.Or(strings.TrimPrefix(of, " of "), "p,q"), r.Value)
				}
				if s == "fail" || s == "final" {
					step.Do = func(ctx context.Context, session *Session) (Result, error) {
						y.mu.Lock()
						do := y.do[s]
						y.mu.Unlock()
						if do != nil && s == "final" {
							return Result{}, do(ctx, session)
						}
						return Result{}, fault.Newf(fault.Invalid, "set fail", "it never works")
					}
				}
				steps = append(steps, step)
			}
			if y.extra != "" {
				steps = append(steps, Step{Name: y.extra, Title: y.extra, Do: y.setter(y.extra, r.Value, false)})
			}
			if r.Gate {
				steps = slices.Insert(steps, len(steps)-1, Step{Name: "ask", Title: "wait for somebody", Gate: "look at it"})
			}
			return steps
		},
		Over: func(_ context.Context, run string) {
			y.mu.Lock()
			defer y.mu.Unlock()
			y.over = append(y.over, run)
		},
	}.AsKind()
}

// carry is a step that has settings set by a run of its own, on an instance of its own.
func (y *toys) carry(step, settings, value string) func(context.Context, *Session) (Result, error) {
	return func(ctx context.Context, s *Session) (Result, error) {
		parts, err := y.engine.Runs(ctx, state.RunFilter{PartOf: s.Run})
		if err != nil {
			return Result{}, err
		}
		var run state.Run
		if len(parts) > 0 {
			run = parts[0]
		} else {
			target := s.Plan.Target
			target.Instance += "-part"
			p, err := y.engine.Plan(ctx, PlanRequest{Kind: s.Plan.Kind, Target: target, Request: toyRequest{Settings: strings.Split(settings, ","), Value: value}, Requester: s.By()})
			if err != nil {
				return Result{}, err
			}
			if run, _, err = y.engine.Submit(ctx, p, SubmitOptions{Actor: s.By(), Part: Part{s.Run, step}}); err != nil {
				return Result{}, err
			}
		}
		if s.Attempt > 1 && run.State == state.Parked {
			if err := y.engine.Tell(ctx, run.ID, state.Retry, s.By(), "the whole is tried again"); err != nil {
				return Result{}, err
			}
		}
		run, err = s.Carry(ctx, run.ID, func(e state.Event) { s.Progress(ctx, "%s %s", e.Step, e.Text) })
		if err == nil && run.State != state.Done {
			err = fault.Newf(fault.Failed, "carry "+run.ID, "it is %s: %s", run.State, run.Problem)
		}
		return Result{Output: run.ID, Text: "part " + run.ID}, err
	}
}

func (y *toys) setter(setting, value string, naive bool) func(context.Context, *Session) (Result, error) {
	return func(ctx context.Context, s *Session) (Result, error) {
		if y.inside != nil {
			y.inside(s.Plan.Target.String(), true)
			defer y.inside(s.Plan.Target.String(), false)
		}
		y.mu.Lock()
		do := y.do[setting]
		y.mu.Unlock()
		if do != nil {
			if err := do(ctx, s); err != nil {
				return Result{}, err
			}
		}
		if err := y.world.wait(ctx, setting); err != nil {
			return Result{}, err
		}
		was := y.world.get(setting)
		if was != value || naive {
			if err := s.Fence(); err != nil {
				return Result{}, err
			}
			y.world.set(setting, value)
			if y.hook != nil {
				y.hook("acted " + setting)
			}
		}
		return Result{Output: map[string]string{"set": setting}, Changes: []Change{{Setting: setting, From: was, To: value}}, RequestID: "toy-1", Text: setting + " is " + value}, nil
	}
}

// bench is an engine over a store, with toys.
type bench struct {
	*Engine
	T     *testing.T
	toys  *toys
	place statetest.Place
}

func newBench(t *testing.T, p statetest.Place, change ...func(*Options)) *bench {
	t.Helper()
	y := &toys{world: toyWorld{t.TempDir()}}
	return &bench{Engine: newEngine(t, p.Store(t), y, change...), T: t, toys: y, place: p}
}

// each runs a test over a store of each kind.
func each(t *testing.T, test func(b *bench), change ...func(*Options)) {
	t.Helper()
	t.Parallel()
	statetest.Each(t, func(t *testing.T, p statetest.Place) { //nolint:thelper // it is the test
		test(newBench(t, p, change...))
	})
}

func newEngine(t testing.TB, s *state.Store, y *toys, change ...func(*Options)) *Engine {
	t.Helper()
	kinds, err := NewRegistry(y.kind())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Version: "test", Poll: 20 * time.Millisecond, TTL: 20 * time.Second, Host: "here", Notify: noticed}
	for _, c := range change {
		c(&o)
	}
	y.engine = New(s, kinds, o)
	return y.engine
}

// noticed tells one receiver of everything.
func noticed(h Happening) []state.Notice {
	return []state.Notice{{ID: uuid.NewString(), Receiver: "everybody", Environment: h.Run.Environment, Run: h.Run.ID, Occasion: h.On, Body: []byte(h.Approval + h.Text)}}
}

var robot = Actor{Name: "robot@example.com", Via: ViaGoogle}

func (b *bench) plan(t testing.TB, r toyRequest, change ...func(*PlanRequest)) *Plan {
	t.Helper()
	q := PlanRequest{Kind: "toy", Target: Target{Environment: "prod", Instance: "main"}, Request: r, Requester: robot}
	for _, c := range change {
		c(&q)
	}
	p, err := b.Plan(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (b *bench) submit(t testing.TB, p *Plan) state.Run {
	t.Helper()
	r, again, err := b.Submit(t.Context(), p, SubmitOptions{Actor: robot})
	if err != nil || again {
		t.Fatalf("submitted again: %v, %v", again, err)
	}
	return r
}

func (b *bench) attach(t testing.TB, id string) state.Run {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, func(e state.Event) { t.Logf("%s %s: %s", e.Kind, e.Step, e.Text) })
	if err != nil {
		t.Errorf("attach to %s: %v", id, err) // not Fatal: tests attach from goroutines, too
	}
	return r
}

func (b *bench) tell(t testing.TB, id string, v state.Verb) {
	t.Helper()
	if err := b.Tell(t.Context(), id, v, Actor{Name: "alice", Via: ViaGoogle}, "a test"); err != nil {
		t.Fatal(err)
	}
}

// verified demands that the audit log is whole, and returns its entries.
func (b *bench) verified(t testing.TB) {
	t.Helper()
	report, err := b.store.Log.Verify(t.Context(), 0)
	if err != nil || !report.OK() {
		t.Errorf("the audit log does not verify: %v, %+v", err, report)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for !is() {
		if Sleep(ctx, 10*time.Millisecond) != nil {
			t.Fatalf("it did not happen: %s", what)
		}
	}
}

func wants(t testing.TB, what string, got, want any) {
	t.Helper()
	x, _ := json.Marshal(got)
	y, _ := json.Marshal(want)
	if string(x) != string(y) {
		t.Errorf("%s: got %s, want %s", what, x, y)
	}
}

func failed(t testing.TB, err error, kind fault.Kind, text string) {
	t.Helper()
	if err == nil || fault.KindOf(err) != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v (%s), want %s: %s", err, fault.KindOf(err), kind, text)
	}
}
