package op

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// Telemetry is where a runner tells what it does, for those who watch more than dbops. Nothing depends on it. The zero value is nowhere.
type Telemetry struct {
	Tracer trace.Tracer // nil: no spans
	Meter  metric.Meter // nil: no metrics
	// Parent is what this process is a part of, such as a job of CI: the runs that it submits are, too, whoever works on them.
	Parent trace.SpanContext
}

// teller tells of runs. Nil tells nothing.
type teller struct {
	tracer trace.Tracer
	parent trace.SpanContext
	log    *slog.Logger

	ended     metric.Int64Counter
	active    metric.Int64UpDownCounter
	run, step metric.Float64Histogram
}

func newTeller(o Telemetry, log *slog.Logger) *teller {
	if o.Tracer == nil && o.Meter == nil {
		return nil
	}
	t := &teller{tracer: o.Tracer, parent: o.Parent, log: log}
	if t.tracer == nil {
		t.tracer = tracenoop.Tracer{}
	}
	if o.Meter == nil {
		o.Meter = metricnoop.Meter{}
	}
	// Their errors are of names, which are constant: the instruments can be used all the same.
	t.ended, _ = o.Meter.Int64Counter("dbops.run.ended", metric.WithUnit("{run}"), metric.WithDescription("Runs that ended here, by how."))
	t.active, _ = o.Meter.Int64UpDownCounter("dbops.run.active", metric.WithUnit("{run}"), metric.WithDescription("Runs that this process holds, by what they do."))
	t.run, _ = o.Meter.Float64Histogram("dbops.run.duration", metric.WithUnit("s"), metric.WithDescription("From the first step of a run to its end, with all waiting."),
		metric.WithExplicitBucketBoundaries(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800, 43200, 86400))
	t.step, _ = o.Meter.Float64Histogram("dbops.step.duration", metric.WithUnit("s"), metric.WithDescription("Of an attempt at a step."),
		metric.WithExplicitBucketBoundaries(.05, .25, 1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 10800))
	return t
}

// origin is what a submitted run keeps of what it is a part of, so that whoever works on it tells it there. Nil: nothing.
func (t *teller) origin(ctx context.Context) json.RawMessage {
	if t == nil || !t.parent.IsValid() {
		return nil
	}
	kept := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(ctx, t.parent), kept)
	b, err := json.Marshal(kept)
	if err != nil {
		return nil
	}
	return b
}

// past is what a run's earlier processes did: what is read again from the book was told by them.
type past struct {
	steps    []state.Step
	controls []state.Control
	origin   trace.SpanContext
}

func (e *Engine) pastOf(ctx context.Context, id string) (p past, err error) {
	err = e.store.Read(ctx, "read the journal", func(ctx context.Context, tx *state.Tx) error {
		if p.steps, err = tx.Steps(ctx, id); err != nil {
			return err
		}
		if p.controls, err = tx.Controls(ctx, id); err != nil {
			return err
		}
		events, err := tx.Events(ctx, id, 0)
		i := slices.IndexFunc(events, func(e state.Event) bool { return e.Kind == EventSubmitted })
		kept := propagation.MapCarrier{}
		if err == nil && i >= 0 && json.Unmarshal(events[i].Detail, &kept) == nil {
			p.origin = trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, kept))
		}
		return err
	})
	return p, err
}

func (p *past) later(at point) bool {
	return slices.ContainsFunc(p.steps, func(s state.Step) bool { return s.Phase == at.Phase && s.Pos == at.Pos && s.Attempt > at.Attempt })
}

func (p *past) decided(at point) bool {
	return slices.ContainsFunc(p.controls, func(c state.Control) bool { return c.Point == at.String() })
}

// traceOf is the trace of a run that is no part of another: every process that works on the run comes to the same. It has no span, so those
// of the run are its roots.
func traceOf(run string) trace.SpanContext {
	h := sha256.Sum256([]byte("dbops run " + run))
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID(h[:16]), TraceFlags: trace.FlagsSampled})
}

// toldBook tells what is written into a book.
type toldBook struct {
	book
	t     *teller
	past  past
	kind  string
	env   string
	since time.Time

	ctx   context.Context //nolint:containedctx // with the run's span
	span  trace.Span
	state state.RunState

	step  trace.Span // nil: none is under way
	begun time.Time
}

// told is b, told to whoever wants to know; the caller calls left when this process is done with the run.
func (t *teller) told(ctx context.Context, b *dbosBook) (told book, left func()) {
	if t == nil {
		return b, func() {}
	}
	past, err := b.r.e.pastOf(ctx, b.run.ID)
	if err != nil {
		t.log.Warn("what a run did before cannot be read: it may be told again", "run", b.run.ID, "error", err)
	}
	run := b.run
	k := &toldBook{book: b, t: t, past: past, kind: run.Kind, env: run.Environment, since: run.Started, state: state.Running}
	if k.since.IsZero() {
		k.since = time.Now()
	}
	parent, links := past.origin, []trace.Link(nil)
	if !parent.IsValid() {
		parent = traceOf(run.ID)
	}
	if t.parent.IsValid() && t.parent.TraceID() != parent.TraceID() { // a job that goes on with what another has begun
		links = append(links, trace.Link{SpanContext: t.parent})
	}
	k.ctx, k.span = t.tracer.Start(trace.ContextWithSpanContext(context.WithoutCancel(ctx), parent), "run "+run.Kind, trace.WithLinks(links...), trace.WithAttributes(
		attribute.String("dbops.run", run.ID), attribute.String("dbops.kind", run.Kind),
		attribute.String("dbops.environment", run.Environment), attribute.String("dbops.instance", run.Instance),
		attribute.Bool("dbops.resumed", run.State != state.Queued),
	))
	k.count(1)
	return k, k.left
}

// begin implements book.
func (k *toldBook) begin(ctx context.Context, p point) (ended bool, err error) {
	if ended, err = k.book.begin(ctx, p); err != nil || ended {
		return ended, err
	}
	k.begun = time.Now()
	_, k.step = k.t.tracer.Start(k.ctx, stepSpan(p), trace.WithAttributes(attribute.String("dbops.step", p.Name), attempt(p)))
	return false, nil
}

func stepSpan(p point) string {
	if p.Phase == state.Undo {
		return "undo " + p.Name
	}
	return "step " + p.Name
}

func attempt(p point) attribute.KeyValue { return attribute.Int("dbops.attempt", p.Attempt) }

// end implements book.
func (k *toldBook) end(ctx context.Context, p point, o outcome) (outcome, error) {
	o, err := k.book.end(ctx, p, o)
	if err != nil || k.step == nil {
		return o, err
	}
	how := "failed"
	switch {
	case o.OK:
		how = "done"
	case o.Cancelled:
		how = "cancelled"
	default:
		failedSpan(k.step, o.Kind)
	}
	k.endStep(how)
	k.t.step.Record(trace.ContextWithSpan(ctx, k.span), time.Since(k.begun).Seconds(), metric.WithAttributes(
		attribute.String("dbops.kind", k.kind), attribute.String("dbops.step", stepSpan(p)), attribute.String("dbops.outcome", how)))
	return o, nil
}

func (k *toldBook) endStep(how string) {
	k.step.SetAttributes(attribute.String("dbops.outcome", how))
	k.step.End()
	k.step = nil
}

// failedSpan says what sort of failure it was; its text may hold what is for the journal only.
func failedSpan(s trace.Span, kind fault.Kind) {
	if kind == "" {
		kind = fault.Internal
	}
	s.SetAttributes(attribute.String("error.type", string(kind)))
	s.SetStatus(codes.Error, string(kind))
}

// again implements book.
func (k *toldBook) again(ctx context.Context, p point, pause time.Duration) (bool, error) {
	if !k.past.later(p) {
		k.span.AddEvent("retry", trace.WithAttributes(attribute.String("dbops.step", p.Name), attempt(p), attribute.Float64("dbops.pause", pause.Seconds())))
	}
	return k.book.again(ctx, p, pause)
}

// decide implements book.
func (k *toldBook) decide(ctx context.Context, p point, s state.RunState, o outcome, verbs ...state.Verb) (state.Verb, error) {
	if k.past.decided(p) {
		return k.book.decide(ctx, p, s, o, verbs...)
	}
	about := []attribute.KeyValue{attribute.String("dbops.step", p.Name), attempt(p)}
	if o.Kind != "" {
		about = append(about, attribute.String("error.type", string(o.Kind)))
	}
	if last(k.past.controls, "", verbs).Verb == "" { // else it waited in an earlier process, and somebody has decided since
		k.span.AddEvent(string(s), trace.WithAttributes(about...))
	}
	k.set(s)
	v, err := k.book.decide(ctx, p, s, o, verbs...)
	if err != nil {
		if s == state.Parked {
			failedSpan(k.span, o.Kind)
		}
		return v, err
	}
	k.span.AddEvent("decided", trace.WithAttributes(attribute.String("dbops.step", p.Name), attribute.String("dbops.verb", string(v))))
	k.set(state.Running)
	return v, nil
}

// finish implements book.
func (k *toldBook) finish(ctx context.Context, s state.RunState, o outcome) error {
	if err := k.book.finish(ctx, s, o); err != nil {
		return err
	}
	k.count(-1)
	k.state = s
	if s == state.Failed {
		failedSpan(k.span, o.Kind)
	}
	how := metric.WithAttributes(attribute.String("dbops.kind", k.kind), attribute.String("dbops.environment", k.env), attribute.String("dbops.state", string(s)))
	ctx = trace.ContextWithSpan(ctx, k.span) // for exemplars
	k.t.ended.Add(ctx, 1, how)
	k.t.run.Record(ctx, max(0, time.Since(k.since).Seconds()), how)
	return nil
}

// left ends the spans. A run that has not ended goes on in another process, or waits for a person there.
func (k *toldBook) left() {
	if k.step != nil {
		k.endStep("interrupted")
	}
	how := string(k.state)
	if !k.state.Ended() {
		k.count(-1)
		if k.state == state.Running {
			how = "interrupted"
		}
	}
	k.span.SetAttributes(attribute.String("dbops.state", how))
	k.span.End()
}

func (k *toldBook) set(s state.RunState) {
	k.count(-1)
	k.state = s
	k.count(1)
}

func (k *toldBook) count(n int64) {
	k.t.active.Add(k.ctx, n, metric.WithAttributes(
		attribute.String("dbops.kind", k.kind), attribute.String("dbops.environment", k.env), attribute.String("dbops.state", string(k.state))))
}
