package op

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Kind is one sort of operation: what the engine needs to plan it, to run it, and to resume its runs in another process or version.
type Kind interface {
	// Name is stable: stored runs are found by it. "availability.set"
	Name() string

	// Observe reads what a plan depends on and nothing that changes by itself, as JSON that is the same when the world is. It changes
	// nothing and may be called at any time.
	Observe(ctx context.Context, t Target, request json.RawMessage) (facts json.RawMessage, err error)

	// Derive works out the plan. It is a pure function: the engine calls it again before a run, to see that nobody edited the plan.
	Derive(t Target, request, facts json.RawMessage) (Draft, error)

	// Steps are those of a plan, in order. Their number and names depend on nothing but the arguments.
	Steps(t Target, request, facts json.RawMessage) ([]Step, error)
}

// Step is the unit of a run. It looks before it acts, because it may be taken again after it has acted: when its process was killed, or
// the answer was lost.
type Step struct {
	Name  string // stable: a run's journal is matched by it. "modify"
	Title string // what it does: "set the availability of prod/main to zonal"

	// Do looks, acts, and verifies. Long ones call [Session.Fence] before each call that changes something, and report progress.
	Do func(ctx context.Context, s *Session) (Result, error)

	// Undo changes back what Do changed, as far as it did. Nil: Do changes nothing, or it cannot be undone.
	Undo func(ctx context.Context, s *Session) (Result, error)
	// UndoTitle says what Undo does.
	UndoTitle string

	// Final ends the run when the step fails for good, or is cancelled: what it did stays and tells of itself, and nobody need decide.
	Final bool
	// Onward tells that what is done here, or was done before, cannot be undone any more: where the step fails nobody is offered that.
	Onward bool

	// Gate, if set, makes the step wait for a person in place of doing something; the text says what for.
	Gate string
}

// Result is what a step did and learned. It is stored before the next step begins; secrets have no place in it.
type Result struct {
	Output    any      // JSON; later steps read it with [Session.Output] if the step is done
	Changes   []Change // what was changed, for the audit log
	RequestID string   // the provider's, of the call that changed something
	Text      string   // one line for a person: what was found or done
}

// Operation is a [Kind] with typed requests and facts.
type Operation[R, F any] struct {
	Kind    string
	Observe func(ctx context.Context, t Target, request R) (F, error)
	Derive  func(t Target, request R, facts F) Draft
	Steps   func(t Target, request R, facts F) []Step
	// Same tells whether facts that differ from those of the plan mean the same plan, such as a number of rows that grows by itself. Nil: no.
	Same func(planned, now F) bool
	// Words say how the plan calls what the facts call otherwise, for whoever is told that it changed: by the path of a fact in their JSON, or
	// the beginning of one; "" leaves that out.
	Words map[string]string
	// Pass is asked before a word leads a run through its gate; its error keeps it there. Nil: whoever may say the word is enough.
	Pass func(ctx context.Context, r state.Run) error
	// Over is called when a run that this process worked on has ended, however: what was kept for it in memory can go. Nil: nothing was.
	Over func(ctx context.Context, run string)
}

// AsKind is the operation as the engine needs it.
func (o Operation[R, F]) AsKind() Kind { return typed[R, F]{o} }

type typed[R, F any] struct{ o Operation[R, F] }

func (k typed[R, F]) Name() string { return k.o.Kind }

func (k typed[R, F]) words() map[string]string { return k.o.Words }

func (k typed[R, F]) same(planned, now json.RawMessage) bool {
	var x, y F
	return k.o.Same != nil && json.Unmarshal(planned, &x) == nil && json.Unmarshal(now, &y) == nil && k.o.Same(x, y)
}

func (k typed[R, F]) over(ctx context.Context, run string) {
	if k.o.Over != nil {
		k.o.Over(ctx, run)
	}
}

func (k typed[R, F]) pass(ctx context.Context, r state.Run) error {
	if k.o.Pass == nil {
		return nil
	}
	return k.o.Pass(ctx, r)
}

// mayPass is why a run has to stay at its gate. A kind that this dbops does not know has no say.
func (e *Engine) mayPass(ctx context.Context, id string) error {
	r, err := e.Run(ctx, id)
	if err != nil || r.State != state.Gate {
		return nil //nolint:nilerr // the word itself is refused then
	}
	k, err := e.kinds.Kind(r.Kind)
	if err != nil {
		return nil //nolint:nilerr // of another version
	}
	if p, ok := k.(interface {
		pass(ctx context.Context, r state.Run) error
	}); ok {
		return p.pass(ctx, r)
	}
	return nil
}

// sameFacts tells whether the world is as a plan knew it.
func sameFacts(k Kind, planned, now json.RawMessage) bool {
	if sameJSON(planned, now) {
		return true
	}
	s, ok := k.(interface {
		same(planned, now json.RawMessage) bool
	})
	return ok && s.same(planned, now)
}

// overOf tells a kind that a run has ended, if it wants to know.
func overOf(ctx context.Context, k Kind, run string) {
	if o, ok := k.(interface {
		over(ctx context.Context, run string)
	}); ok {
		o.over(ctx, run)
	}
}

// wordsOf are those of a kind, if it has any.
func wordsOf(k Kind) map[string]string {
	if w, ok := k.(interface{ words() map[string]string }); ok {
		return w.words()
	}
	return nil
}

func (k typed[R, F]) Observe(ctx context.Context, t Target, request json.RawMessage) (json.RawMessage, error) {
	var r R
	if err := json.Unmarshal(request, &r); err != nil {
		return nil, fmt.Errorf("read the request of %s: %w", k.o.Kind, err)
	}
	f, err := k.o.Observe(ctx, t, r)
	if err != nil {
		return nil, err
	}
	return json.Marshal(f)
}

func (k typed[R, F]) Derive(t Target, request, facts json.RawMessage) (Draft, error) {
	r, f, err := k.decode(request, facts)
	if err != nil {
		return Draft{}, err
	}
	return k.o.Derive(t, r, f), nil
}

func (k typed[R, F]) Steps(t Target, request, facts json.RawMessage) ([]Step, error) {
	r, f, err := k.decode(request, facts)
	if err != nil {
		return nil, err
	}
	return k.o.Steps(t, r, f), nil
}

func (k typed[R, F]) decode(request, facts json.RawMessage) (r R, f F, err error) {
	if err := json.Unmarshal(request, &r); err != nil {
		return r, f, fmt.Errorf("read the request of %s: %w", k.o.Kind, err)
	}
	if err := json.Unmarshal(facts, &f); err != nil {
		return r, f, fmt.Errorf("read the facts of %s: %w", k.o.Kind, err)
	}
	return r, f, nil
}

// Registry holds the kinds that this dbops knows.
type Registry struct{ kinds map[string]Kind }

// NewRegistry returns a registry of kinds, whose names differ.
func NewRegistry(kinds ...Kind) (*Registry, error) {
	r := &Registry{kinds: map[string]Kind{}}
	for _, k := range kinds {
		if _, ok := r.kinds[k.Name()]; ok {
			return nil, fmt.Errorf("two operations are called %s", k.Name())
		}
		r.kinds[k.Name()] = k
	}
	return r, nil
}

// Kind returns the kind of that name, or a fault.Config.
func (r *Registry) Kind(name string) (Kind, error) {
	if k, ok := r.kinds[name]; ok {
		return k, nil
	}
	return nil, fault.Newf(fault.Config, "find the operation "+name, "this dbops does not know it").
		Hint("it was planned by another version: use that one, or make the plan again")
}

// rebuild returns the steps of a stored plan, and refuses a plan whose steps this dbops would not do so. What decides how a run goes on is as
// the plan has it, for a run that another version began must come to the same places.
func rebuild(k Kind, p *Plan) ([]Step, error) {
	steps, err := k.Steps(p.Target, p.Request, p.Facts)
	if err != nil {
		return nil, err
	}
	now := infos(steps)
	if len(now) != len(p.Steps) {
		return nil, notThose(p)
	}
	for i, stored := range p.Steps {
		now[i].Final, now[i].Onward = stored.Final, stored.Onward
		if now[i] != stored {
			return nil, notThose(p)
		}
		steps[i].Final, steps[i].Onward = stored.Final, stored.Onward
	}
	return steps, nil
}

// derived refuses a plan that this dbops would not make from its facts.
func derived(k Kind, p *Plan) error {
	steps, err := k.Steps(p.Target, p.Request, p.Facts)
	if err == nil && !slices.Equal(infos(steps), p.Steps) {
		err = notThose(p)
	}
	return err
}

func notThose(p *Plan) error {
	return fault.Newf(fault.Invalid, "rebuild the steps of "+p.Kind+" on "+p.Target.String(), "they are not those of the plan").
		Hint("it was planned by another version of dbops (%s): use that one, or make the plan again", p.Tool)
}

func infos(steps []Step) []StepInfo {
	out := make([]StepInfo, len(steps))
	for i, s := range steps {
		out[i] = StepInfo{Name: s.Name, Title: s.Title, Gate: s.Gate != "", Final: s.Final, Onward: s.Onward}
		if s.Undo != nil {
			out[i].Undo = cmp.Or(s.UndoTitle, "undo: "+s.Title)
		}
	}
	return out
}
