package runbook

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(childEnv); where != "" {
		os.Exit(child(where))
	}
	code := pgtest.Main(m)
	if err := goleak.Find(); err != nil && code == 0 {
		println(err.Error())
		code = 1
	}
	os.Exit(code)
}

var robot = op.Actor{Name: "robot@example.com", Via: op.ViaGoogle}

// world is a folder in which operations leave lines, in the order in which it saw them.
type world struct{ dir string }

func (w world) lines() []string {
	b, err := os.ReadFile(filepath.Join(w.dir, "lines"))
	if err != nil && !os.IsNotExist(err) {
		panic(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func (w world) has(line string) bool { return slices.Contains(w.lines(), line) }

// add is one write, so that a process that is killed has done it or not.
func (w world) add(line string) {
	f, err := os.OpenFile(filepath.Join(w.dir, "lines"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.WriteString(line + "\n")
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		panic(err)
	}
}

// toyRequest has a line written, in two steps with a gate between them if that is wanted.
type toyRequest struct {
	Line string
	Gate bool
}

type toyFacts struct{ There, Blocked bool }

// toy is an operation that writes "begin LINE" and then LINE. One whose line is in broken fails between them; one whose line is in blocked cannot be planned.
type toy struct {
	world

	mu                      sync.Mutex
	broken, blocked, judged map[string]bool
	plans                   int
	onPlan                  func(n int)   // told of each plan; nil: nobody is
	wait                    chan struct{} // told when a step called wait runs, which then waits for its end
}

func newToy(dir string) *toy {
	return &toy{world: world{dir}, broken: map[string]bool{}, blocked: map[string]bool{}, judged: map[string]bool{}, wait: make(chan struct{}, 1)}
}

// set says how the operation of a line is from now on.
func (y *toy) set(m map[string]bool, line string, on bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	m[line] = on
}

func (y *toy) is(m map[string]bool, line string) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	return m[line]
}

func (y *toy) kind() op.Kind {
	write := func(line string) op.Step {
		return op.Step{Name: strings.ReplaceAll(line, " ", "-"), Title: "write " + line, Do: func(ctx context.Context, s *op.Session) (op.Result, error) {
			switch {
			case y.is(y.broken, line):
				return op.Result{}, fault.Newf(fault.Denied, "write "+line, "the pen is broken")
			case line == "wait":
				y.wait <- struct{}{}
				<-ctx.Done()
				return op.Result{}, ctx.Err()
			case !y.has(line):
				if err := s.Fence(); err != nil {
					return op.Result{}, err
				}
				y.add(line)
			}
			return op.Result{Text: line + " is written"}, nil
		}}
	}
	return op.Operation[toyRequest, toyFacts]{
		Kind: "toy",
		Observe: func(_ context.Context, _ op.Target, q toyRequest) (toyFacts, error) {
			return toyFacts{There: y.has(q.Line), Blocked: y.is(y.blocked, q.Line)}, nil
		},
		Derive: func(t op.Target, q toyRequest, f toyFacts) op.Draft {
			d := op.Draft{Title: "write " + q.Line + " on " + t.String(), Downtime: op.Downtime{Expected: "none", Text: "toys"}}
			if !f.There {
				d.Changes = []op.Change{{Setting: "line", To: q.Line}}
			}
			if f.Blocked {
				check := "toy"
				if q.Line == "busy" {
					check = stateCheck
				}
				d.Findings = []op.Finding{{Severity: op.Block, Check: check, Text: "it must not be written", Remedy: "allow it"}}
			}
			return d
		},
		Steps: func(_ op.Target, q toyRequest, _ toyFacts) []op.Step {
			steps := []op.Step{write("begin " + q.Line), write(q.Line)}
			if q.Gate {
				steps = slices.Insert(steps, 1, op.Step{Name: "ask", Title: "wait", Gate: "look at it"})
			}
			return steps
		},
	}.AsKind()
}

// bench is an engine over a store, with runbooks of toys: "write" writes the line of its instance, "write all" on two instances, "upgrade run" has a gate.
type bench struct {
	*op.Engine
	t     testing.TB
	toy   *toy
	guard Guard
	deps  Deps
}

func newBench(t testing.TB, p statetest.Place, y *toy, guard Guard) *bench {
	t.Helper()
	b := &bench{t: t, toy: y, guard: guard}
	must(t, b.open(p.Store(t), nil))
	return b
}

// open makes the engine. between wraps it as runbooks see it.
func (b *bench) open(s *state.Store, between func(Engine) Engine) error {
	b.deps = Deps{
		House:   House{Guard: func(string, string) (Guard, error) { return b.guard, nil }, Check: func(string, Operation) error { return nil }},
		Plan:    b.planOperation,
		Pace:    op.Pace{First: time.Millisecond, Most: time.Millisecond, Patience: time.Minute},
		Upgrade: b.upgrade,
		MayRun:  func(*op.Plan) error { return nil },
		Judge: func(_ context.Context, r state.Run) error {
			if line := strings.Fields(r.Title)[1]; b.toy.is(b.toy.judged, line) {
				return fault.Newf(fault.Findings, r.Title, "it reads badly")
			}
			return nil
		},
		Engine: func(context.Context) (Engine, error) {
			if between != nil {
				return between(b.Engine), nil
			}
			return b.Engine, nil
		},
	}
	kinds, err := op.NewRegistry(b.toy.kind(), New(b.deps))
	if err != nil {
		return err
	}
	b.Engine = op.New(s, kinds, op.Options{Version: "test", Poll: 20 * time.Millisecond, TTL: time.Minute, Host: "here"})
	return nil
}

func (b *bench) planOperation(ctx context.Context, env string, o Operation, by op.Actor) (all []*op.Plan, err error) {
	b.toy.mu.Lock()
	b.toy.plans++
	n := b.toy.plans
	b.toy.mu.Unlock()
	if b.toy.onPlan != nil {
		b.toy.onPlan(n)
	}
	if o.Args[0] == "mistake" {
		return nil, fault.Newf(fault.Usage, "read the arguments", "that is no line")
	}
	instances := []string{o.Instance}
	if o.Command == "write all" {
		instances = []string{"one", "two"}
	}
	for _, instance := range instances {
		line := o.Args[0]
		if o.Command == "write all" {
			line += instance
		}
		p, err := b.Plan(ctx, op.PlanRequest{
			Kind: "toy", Target: op.Target{Environment: env, Instance: instance, Protected: b.guard.Protected}, Approvals: b.guard.Approvals,
			Request: toyRequest{Line: line, Gate: o.Command == UpgradeRun}, Requester: by,
		})
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (b *bench) upgrade(ctx context.Context, env, instance string) (state.Run, error) {
	all, err := b.Runs(ctx, state.RunFilter{Environment: env, Instance: instance})
	if err != nil {
		return state.Run{}, err
	}
	i := slices.IndexFunc(all, func(r state.Run) bool { return r.Kind == "toy" })
	if i < 0 {
		return state.Run{}, errors.New("there is no upgrade")
	}
	return all[i], nil
}

// book is a runbook of steps, as it would be read from a file.
func book(t testing.TB, steps string) Runbook {
	t.Helper()
	file := filepath.Join(t.TempDir(), "runbook.yaml")
	must(t, os.WriteFile(file, []byte("schema: dbops/runbook/v1\ntitle: toys\nenvironment: staging\ninstance: main\nsteps:\n"+steps), 0o600))
	r, err := Read(file, Overrides{})
	must(t, err)
	return r
}

// submit plans and submits a runbook.
func (b *bench) submit(r Runbook) string {
	b.t.Helper()
	p, err := b.Plan(b.t.Context(), op.PlanRequest{
		Kind: Kind, Target: op.Target{Environment: r.Environment, Instance: r.Instance, Protected: b.guard.Protected}, Request: Request{r}, Requester: robot,
	})
	must(b.t, err)
	run, _, err := b.Submit(b.t.Context(), p, op.SubmitOptions{Actor: robot, Confirm: r.Instance})
	must(b.t, err)
	return run.ID
}

// attach brings a run on, and demands the state in which it ends or waits.
func (b *bench) attach(id string, want state.RunState) state.Run {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	r, err := b.Attach(ctx, id, 0, nil)
	must(b.t, err)
	if r.State != want {
		b.t.Fatalf("run %s is %s at %s: %s (%s), want %s", id, r.State, r.Step, r.Problem, r.Hint, want)
	}
	return r
}

func (b *bench) tell(id string, v state.Verb) {
	b.t.Helper()
	must(b.t, b.Tell(b.t.Context(), id, v, op.Actor{Name: "alice", Via: op.ViaGoogle}, "a test"))
}

// parts are the runs of a runbook's run, the first one first: the step, the attempt, and the state.
func (b *bench) parts(id string) (all []string) {
	b.t.Helper()
	runs, err := b.Runs(b.t.Context(), state.RunFilter{PartOf: id})
	must(b.t, err)
	slices.SortFunc(runs, func(x, y state.Run) int { return strings.Compare(x.PartStep, y.PartStep) })
	for _, r := range runs {
		all = append(all, r.PartStep+" "+string(r.State))
	}
	return all
}

// text is what the run's journal and events say, in one.
func (b *bench) text(id string) string {
	b.t.Helper()
	events, err := b.Events(b.t.Context(), id, 0)
	must(b.t, err)
	var out bytes.Buffer
	for _, e := range events {
		out.WriteString(e.Kind + " " + e.Step + " " + e.Text + "\n")
	}
	return out.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wants(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %s, want %s", what, quoted(got), quoted(want))
	}
}

func quoted(all []string) string {
	for i, s := range all {
		all[i] = strconv.Quote(s)
	}
	return strings.Join(all, ", ")
}
