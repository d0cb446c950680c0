package runbook

import (
	"context"
	"fmt"
	"strings"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// Engine is what a runbook needs of the engine: [op.Engine].
type Engine interface {
	Keep(ctx context.Context, p *op.Plan) error
	Request(ctx context.Context, p *op.Plan, by op.Actor) (state.Approval, error)
	PlanOf(ctx context.Context, hash string) (*op.Plan, error)
	Submit(ctx context.Context, p *op.Plan, o op.SubmitOptions) (state.Run, bool, error)
	Tell(ctx context.Context, id string, v state.Verb, by op.Actor, reason string) error
	Run(ctx context.Context, id string) (state.Run, error)
	Runs(ctx context.Context, f state.RunFilter) ([]state.Run, error)
	Journal(ctx context.Context, id string) ([]state.Step, error)
	Approvals(ctx context.Context, planHash string) ([]state.Approval, error)
}

// Deps are what runbooks need of the house.
type Deps struct {
	House

	// Plan works out what an operation would do now: a plan for each instance that it is about, or none if there is nothing to choose.
	Plan func(ctx context.Context, environment string, o Operation, by op.Actor) ([]*op.Plan, error)
	// Upgrade is the run of the last upgrade of an instance.
	Upgrade func(ctx context.Context, environment, instance string) (state.Run, error)
	// MayRun refuses a plan that its environment would not let run now.
	MayRun func(p *op.Plan) error
	// Judge is an error if a run is done and what it found is bad.
	Judge func(ctx context.Context, run state.Run) error
	// Engine is asked for when a step needs it: it is made with the kinds, of which this is one.
	Engine func(ctx context.Context) (Engine, error)
	// Pace is how an operation waits whose instance is busy for a while, as with what the operation before it has left.
	Pace op.Pace
}

// Request is what is run.
type Request struct {
	Runbook Runbook `json:"runbook"`
}

// facts are how the instances are guarded: what the steps are made of besides the file.
type facts struct {
	Guards map[string]Guard `json:"guards"`
}

// New is the operation of running a runbook.
func New(d Deps) op.Kind {
	return op.Operation[Request, facts]{
		Kind: Kind,
		Observe: func(_ context.Context, t op.Target, q Request) (facts, error) {
			f := facts{Guards: map[string]Guard{}}
			for _, name := range q.Runbook.Instances() {
				g, err := d.Guard(t.Environment, name)
				if err != nil {
					return f, err
				}
				f.Guards[name] = g
			}
			if blocks := Blocks(Lint(q.Runbook, d.House)); len(blocks) > 0 {
				return f, fault.Newf(fault.Usage, "plan the runbook "+q.Runbook.Title, "%s: %s", blocks[0].Step, blocks[0].Text).Hint("%s", blocks[0].Remedy)
			}
			return f, nil
		},
		Derive: derive,
		Steps:  func(t op.Target, q Request, f facts) []op.Step { return d.steps(t, q.Runbook, f) },
		Pass:   d.pass,
		Words:  map[string]string{"guards": "how the instances are guarded"},
	}.AsKind()
}

func derive(t op.Target, q Request, f facts) op.Draft {
	b := q.Runbook
	d := op.Draft{
		Title: TitleOf(b), Untouched: true,
		Downtime: op.Downtime{Expected: "unknown", Text: "that of its operations: each says it in its own plan, which is made when its turn comes"},
		Notes:    []string{"each operation has a plan and a run of its own, which is a part of this one; what needs approval is approved then"},
		Back:     "each of its operations has its own way back: dbops runs show lists them",
	}
	gates := 0
	for i, s := range b.Steps {
		if s.gateText(f.Guards[b.instanceOf(s.Operation)].Approvals) != "" {
			gates++
		}
		if s.Operation.Is() {
			d.Changes = append(d.Changes, op.Change{
				Target: targetOf(t, b, s.Operation).String(), Setting: fmt.Sprintf("step %d", i+1), To: s.Operation.String(),
			})
		}
	}
	if gates > 0 {
		d.Notes = append(d.Notes, fmt.Sprintf("gates: %d; at each of them it waits for a person", gates))
	}
	return d
}

// TitleOf is the title of a runbook's plan and run.
func TitleOf(b Runbook) string { return "runbook: " + b.Title }

func targetOf(t op.Target, b Runbook, o Operation) op.Target {
	t.Instance = b.instanceOf(o)
	return t
}

// steps are those of the run: of each operation its plan, the gate, and the carrying out.
func (d Deps) steps(t op.Target, b Runbook, f facts) (all []op.Step) {
	for i, s := range b.Steps {
		gate := s.gateText(f.Guards[b.instanceOf(s.Operation)].Approvals)
		w := &work{d: d, book: b, step: s, stops: s.Operation.Is() && b.stops(i)}
		if s.Operation.Is() {
			w.operation = s.Operation
			w.operation.Instance = b.instanceOf(s.Operation)
			all = append(all, op.Step{
				Name: planStep(s.Name), Title: fmt.Sprintf("plan %s on %s", s.Operation, targetOf(t, b, s.Operation)), Do: w.plan, Onward: true,
			})
		}
		if gate != "" {
			name := s.Name
			if s.Operation.Is() {
				name += gateSuffix
			}
			all = append(all, op.Step{Name: name, Title: "wait for a person: " + oneLine(gate), Gate: gate})
		}
		if s.Operation.Is() {
			all = append(all, op.Step{Name: s.Name, Title: fmt.Sprintf("%s on %s", s.Operation, targetOf(t, b, s.Operation)), Do: w.carry, Onward: true})
		}
	}
	return all
}

// The names of the steps of an operation besides its own.
const (
	planSuffix = ".plan"
	gateSuffix = ".gate"
)

func planStep(name string) string { return name + planSuffix }

// oneLine is a text of several lines in one.
func oneLine(s string) string {
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " / ")
}
