package runbook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

// work is one operation of a runbook.
type work struct {
	d         Deps
	book      Runbook
	step      Step
	operation Operation // with its instance
	stops     bool      // its run is done, for the runbook, when it waits at its gate
}

// planned is what an operation will do: what its plan step stores.
type planned struct {
	Plans    []part `json:"plans,omitempty"`
	Continue string `json:"continue,omitempty"` // the run that it leads through its gate
}

// part is one plan of an operation. The run of a plan is named after its hash.
type part struct {
	Target  string `json:"target"`
	Title   string `json:"title"`
	Hash    string `json:"plan"`
	Nothing bool   `json:"nothing,omitempty"` // it is so already
}

// carried is what a carried operation stores.
type carried struct {
	Runs []string `json:"runs"`
}

func (w *work) what() string { return fmt.Sprintf("step %s: %s", w.step.Name, w.operation) }

// plan works out what the operation will do now that its turn has come, and stores it for the gate and for whoever approves.
func (w *work) plan(ctx context.Context, s *op.Session) (op.Result, error) {
	if w.operation.Command == UpgradeCutover {
		return w.planCutover(ctx)
	}
	engine, err := w.d.Engine(ctx)
	if err != nil {
		return op.Result{}, err
	}
	plans, err := w.now(ctx, s)
	if err != nil {
		return op.Result{}, err
	}
	var out planned
	var texts []string
	for _, p := range plans {
		one := part{Target: p.Target.String(), Title: p.Title, Hash: p.Hash(), Nothing: p.Nothing()}
		out.Plans = append(out.Plans, one)
		if one.Nothing {
			texts = append(texts, "nothing to do: "+p.Title)
			continue
		}
		if err := engine.Keep(ctx, p); err != nil {
			return op.Result{}, err
		}
		texts = append(texts, summary(p))
		if p.Approvals == 0 {
			continue
		}
		a, err := engine.Request(ctx, p, s.By())
		if err != nil {
			return op.Result{}, err
		}
		if a.State == state.Requested {
			texts = append(texts, "somebody else approves it: dbops approvals show "+a.ID)
		}
	}
	if len(plans) == 0 {
		texts = append(texts, "nothing to do: nothing is chosen")
	}
	return op.Result{Output: out, Text: strings.Join(texts, "; ")}, nil
}

// now is what the operation would do at this moment. A plan that is blocked is an error, unless that passes in a while: an instance is busy with what
// an operation before it has left.
func (w *work) now(ctx context.Context, s *op.Session) ([]*op.Plan, error) {
	for start, pause := time.Now(), w.d.Pace.First; ; pause = min(pause+pause/2, w.d.Pace.Most) {
		plans, err := w.d.Plan(ctx, s.Plan.Environment, w.operation, s.By())
		if k := fault.KindOf(err); err != nil && (k == fault.Usage || k == fault.Config) {
			return nil, fault.New(k, w.what(), err).
				Hint("the run keeps the file as it was: abandon it, mend the file, then dbops runbook run FILE --from %s", w.step.Name)
		}
		if err != nil {
			return nil, err
		}
		p, block := firstBlock(plans)
		if p == nil {
			return plans, nil
		}
		if block.Check != stateCheck || time.Since(start) > w.d.Pace.Patience {
			return nil, fault.Newf(fault.Blocked, w.what(), "%s: %s", p.Title, block.Text).Hint("%s; then retry plans it again", block.Remedy)
		}
		s.Progress(ctx, "waiting: %s", block.Text)
		if err := op.Sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// stateCheck is the check of operations that want an instance to be available.
const stateCheck = "state"

func firstBlock(plans []*op.Plan) (*op.Plan, op.Finding) {
	for _, p := range plans {
		if b := p.Blocked(); len(b) > 0 {
			return p, b[0]
		}
	}
	return nil, op.Finding{}
}

// summary is a plan in a line.
func summary(p *op.Plan) string {
	text := fmt.Sprintf("%s; changes: %d; downtime: %s", p.Title, len(p.Changes), p.Downtime.Expected)
	for _, f := range p.Findings {
		if f.Severity == op.Warn {
			text += "; warn: " + f.Text
		}
	}
	return text
}

// planCutover finds the run that waits at its gate.
func (w *work) planCutover(ctx context.Context) (op.Result, error) {
	run, err := w.d.Upgrade(ctx, w.book.Environment, w.operation.Instance)
	if err != nil {
		return op.Result{}, err
	}
	if run.State != state.Gate {
		return op.Result{}, fault.Newf(fault.Blocked, w.what(), "run %s does not wait at its gate, it is %s", run.ID, run.State).
			Hint("dbops runs show %s; when it waits there, retry", run.ID)
	}
	return op.Result{Output: planned{Continue: run.ID}, Text: "run " + run.ID + " waits at its gate: " + run.Problem}, nil
}

// carry does what was planned: each plan in its own run, one after the other.
func (w *work) carry(ctx context.Context, s *op.Session) (op.Result, error) {
	var p planned
	if _, err := s.Output(planStep(w.step.Name), &p); err != nil {
		return op.Result{}, err
	}
	engine, err := w.d.Engine(ctx)
	if err != nil {
		return op.Result{}, err
	}
	h := &hand{work: w, session: s, engine: engine}
	if p.Continue != "" {
		run, err := h.through(ctx, p.Continue)
		return h.result(run), err
	}
	var runs []state.Run
	for i, one := range p.Plans {
		if one.Nothing {
			continue
		}
		run, err := h.bring(ctx, i, one)
		if run.ID != "" {
			runs = append(runs, run)
		}
		if err != nil {
			return h.result(runs...), err
		}
	}
	return h.result(runs...), nil
}

// hand carries one operation in one attempt.
type hand struct {
	*work
	session *op.Session
	engine  Engine
}

func (h *hand) result(runs ...state.Run) op.Result {
	var out carried
	var texts []string
	for _, r := range runs {
		out.Runs = append(out.Runs, r.ID)
		texts = append(texts, fmt.Sprintf("run %s: %s", r.ID, word(r)))
	}
	if len(runs) == 0 {
		texts = append(texts, "nothing to do")
	}
	return op.Result{Output: out, Text: strings.Join(texts, "; ")}
}

func word(r state.Run) string {
	if r.State == state.Gate {
		return "waits at its gate"
	}
	return string(r.State)
}

// The runs of a step are told apart by the plan that they are of and by the attempt that began them: shop.0#1.
func (h *hand) place(i int) op.Part {
	return op.Part{Run: h.session.Run, Step: fmt.Sprintf("%s.%d#%d", h.step.Name, i, h.session.Attempt)}
}

// last is the newest run of a plan of the step, and the attempt that began it.
func (h *hand) last(ctx context.Context, i int) (run state.Run, attempt int, err error) {
	all, err := h.engine.Runs(ctx, state.RunFilter{PartOf: h.session.Run, Limit: 10000})
	if err != nil {
		return run, 0, err
	}
	prefix := fmt.Sprintf("%s.%d#", h.step.Name, i)
	for _, r := range all {
		if n, err := strconv.Atoi(strings.TrimPrefix(r.PartStep, prefix)); err == nil && strings.HasPrefix(r.PartStep, prefix) && n > attempt {
			run, attempt = r, n
		}
	}
	return run, attempt, nil
}

// bring brings one plan about. What was begun goes on; what a person wants tried again is: the step of a parked run, or, where the run has ended
// without it, a new plan and a new run.
func (h *hand) bring(ctx context.Context, i int, one part) (state.Run, error) {
	run, attempt, err := h.last(ctx, i)
	if err != nil {
		return run, err
	}
	anew := attempt < h.session.Attempt // a later attempt than the one that began it: somebody said retry
	switch {
	case attempt == 0:
		return h.begin(ctx, i, one)
	case run.State == state.Done:
		if err := h.d.Judge(ctx, run); err == nil || !anew {
			return run, h.verdict(run, err)
		}
		return h.again(ctx, i, one)
	case run.State.Ended() && anew:
		return h.again(ctx, i, one)
	case run.State == state.Gate && h.stops:
		return run, nil
	}
	return h.on(ctx, run)
}

// begin submits what was planned before the gate.
func (h *hand) begin(ctx context.Context, i int, one part) (state.Run, error) {
	p, err := h.engine.PlanOf(ctx, one.Hash)
	if err != nil {
		return state.Run{}, err
	}
	run, err := h.submit(ctx, i, p)
	if fault.KindOf(err) == fault.Stale && h.session.Attempt > 1 {
		return h.again(ctx, i, one)
	}
	return run, err
}

// again plans anew and submits that.
func (h *hand) again(ctx context.Context, i int, one part) (state.Run, error) {
	plans, err := h.now(ctx, h.session)
	if err != nil {
		return state.Run{}, err
	}
	n := slices.IndexFunc(plans, func(p *op.Plan) bool { return p.Target.String() == one.Target })
	if n < 0 || plans[n].Nothing() {
		return state.Run{}, nil // it is so by now
	}
	h.session.Progress(ctx, "planned again: %s", summary(plans[n]))
	if plans[n].Approvals > 0 {
		if _, err := h.engine.Request(ctx, plans[n], h.session.By()); err != nil {
			return state.Run{}, err
		}
	}
	return h.submit(ctx, i, plans[n])
}

func (h *hand) submit(ctx context.Context, i int, p *op.Plan) (state.Run, error) {
	if err := h.d.MayRun(p); err != nil {
		return state.Run{}, err
	}
	if err := h.session.Fence(); err != nil {
		return state.Run{}, err
	}
	// The instance's name was confirmed for the runbook, and at its gates.
	run, _, err := h.engine.Submit(ctx, p, op.SubmitOptions{Actor: h.session.By(), Confirm: p.Instance, Part: h.place(i)})
	if err != nil {
		hint := map[fault.Kind]string{
			fault.Unapproved: "when it is approved, retry: dbops approvals list",
			fault.Stale:      "retry plans it again and runs that; dbops runbook plan shows it before",
		}[fault.KindOf(err)]
		return run, fault.New(fault.KindOf(err), h.what(), err).Hint("%s", cmp.Or(hint, fault.HintOf(err)))
	}
	return h.on(ctx, run)
}

// through leads a run through its gate.
func (h *hand) through(ctx context.Context, id string) (state.Run, error) {
	run, err := h.engine.Run(ctx, id)
	if err != nil {
		return run, err
	}
	if run.State == state.Gate {
		err := h.engine.Tell(ctx, id, state.Continue, h.session.By(), "runbook "+h.session.Run+", step "+h.step.Name)
		if _, told := errors.AsType[*op.ToldError](err); err != nil && !told {
			return run, err
		}
	}
	return h.on(ctx, run)
}

// on carries a run on until it has ended or waits.
func (h *hand) on(ctx context.Context, run state.Run) (state.Run, error) {
	if run.State == state.Parked {
		if h.session.Attempt == 1 || !slices.Contains(run.Verbs, string(state.Retry)) {
			return run, h.verdict(run, nil)
		}
		if err := h.engine.Tell(ctx, run.ID, state.Retry, h.session.By(), "runbook "+h.session.Run+", step "+h.step.Name); err != nil {
			return run, err
		}
	}
	h.session.Progress(ctx, "run %s: %s", run.ID, run.Title)
	now, err := h.session.Carry(ctx, run.ID, func(e state.Event) {
		switch text := run.ID + "  " + strings.TrimSpace(e.Step+"  "+e.Text); e.Kind {
		case op.EventSubmitted, op.EventRunner:
		case op.EventProgress:
			var detail any
			if len(e.Detail) > 0 {
				detail = e.Detail
			}
			h.session.ProgressOf(ctx, detail, "%s", text)
		default:
			h.session.Milestone(ctx, nil, "%s", text)
		}
	})
	if err != nil {
		return now, err
	}
	if now.State == state.Gate && h.stops {
		return now, nil
	}
	var judged error
	if now.State == state.Done {
		judged = h.d.Judge(ctx, now)
	}
	return now, h.verdict(now, judged)
}

// verdict is why a run is not what the step wants; nil if it is.
func (h *hand) verdict(run state.Run, judged error) error {
	fail := func(hint, format string, args ...any) error {
		return fault.Newf(fault.Failed, h.what(), format, args...).Hint("%s", hint)
	}
	switch {
	case judged != nil:
		return fault.New(fault.Findings, h.what(), judged).Hint("%s; retry does it again, abandon ends the runbook", fault.HintOf(judged))
	case run.State == state.Done:
		return nil
	case run.State == state.Gate:
		return fail(fmt.Sprintf("dbops runs decide %s continue; when it is done, retry", run.ID), "run %s waits for a person: %s", run.ID, run.Problem)
	case run.State == state.Parked:
		return fail(fmt.Sprintf("retry tries its step again; dbops runs show %s", run.ID), "run %s, step %s: %s", run.ID, run.Step, run.Problem)
	}
	return fail(fmt.Sprintf("retry plans it again and runs that; dbops runs show %s", run.ID), "run %s is %s: %s", run.ID, run.State, run.Problem)
}
