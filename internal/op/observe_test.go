package op

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/telemetry"
	"dbops/internal/telemetry/otlptest"
)

// started is what the variables of this process ask for.
func started(ctx context.Context) *telemetry.Telemetry {
	return telemetry.Start(ctx, telemetry.Options{Version: "test", Getenv: os.Getenv, Log: slog.New(slog.DiscardHandler), Notice: func(string) {}})
}

func tellsOf(x *telemetry.Telemetry) func(*Options) {
	return func(o *Options) { o.Telemetry = Telemetry{Tracer: x.Tracer(), Meter: x.Meter(), Parent: x.Parent()} }
}

// watchedBench is a bench whose engine tells a collector; flush sends what was told.
func watchedBench(t *testing.T, variables ...string) (b *bench, to *otlptest.Collector, flush func()) {
	t.Helper()
	to = otlptest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.URL)
	for i := 0; i < len(variables); i += 2 {
		t.Setenv(variables[i], variables[i+1])
	}
	x := started(t.Context())
	flush = func() { x.Shutdown(t.Context()) }
	t.Cleanup(flush)
	return newBench(t, statetest.New(t, "sqlite"), tellsOf(x)), to, flush
}

func one(t *testing.T, to *otlptest.Collector, name string) otlptest.Span {
	t.Helper()
	all := to.Spans(name)
	if len(all) != 1 {
		t.Fatalf("%d spans %q among %+v", len(all), name, to.Spans(""))
	}
	return all[0]
}

func holds(t *testing.T, what string, got map[string]string, want ...string) {
	t.Helper()
	for i := 0; i < len(want); i += 2 {
		if got[want[i]] != want[i+1] {
			t.Errorf("%s: %s is %q, want %q", what, want[i], got[want[i]], want[i+1])
		}
	}
}

func names(events []otlptest.Event) (out []string) {
	for _, e := range events {
		out = append(out, e.Name)
	}
	return out
}

func TestARunAndItsStepsAreSpans(t *testing.T) {
	b, to, flush := watchedBench(t)
	tries := 0
	b.toys.on("b", func(context.Context, *Session) error {
		if tries++; tries == 1 {
			return fault.Newf(fault.Throttled, "set b", "the words of the cloud")
		}
		return nil
	})
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "the-value"})).ID
	wants(t, "state", b.attach(t, id).State, state.Done)
	flush()

	run := one(t, to, "run toy")
	holds(t, "run", run.Attributes, "dbops.run", id, "dbops.kind", "toy", "dbops.environment", "prod", "dbops.instance", "main", "dbops.state", "done", "dbops.resumed", "false")
	own := traceOf(id).TraceID()
	if run.Trace != hex.EncodeToString(own[:]) || run.Parent != "" || run.Failed || len(run.Links) != 0 {
		t.Errorf("%+v, want the root of trace %s", run, own)
	}
	wants(t, "events", names(run.Events), []string{"retry"})
	holds(t, "retry", run.Events[0].Attributes, "dbops.step", "b", "dbops.attempt", "1", "dbops.pause", "1")
	var steps []string
	for _, s := range to.Spans("") {
		if s.Name != run.Name {
			steps = append(steps, s.Name+" "+s.Attributes["dbops.attempt"]+" "+s.Attributes["dbops.outcome"]+" "+s.Status)
		}
		if s.Name != run.Name && (s.Parent != run.ID || s.Trace != run.Trace) {
			t.Errorf("%+v is no child of the run", s)
		}
	}
	wants(t, "steps", steps, []string{"step check 1 done ", "step a 1 done ", "step b 1 failed throttled", "step b 2 done "})

	for name, unit := range map[string]string{"dbops.run.ended": "{run}", "dbops.run.active": "{run}", "dbops.run.duration": "s", "dbops.step.duration": "s"} {
		if _, got := to.Metric(name); got != unit {
			t.Errorf("%s has the unit %q, want %q", name, got, unit)
		}
	}
	ended, _ := to.Metric("dbops.run.ended")
	if len(ended) != 1 || ended[0].Value != 1 {
		t.Errorf("%+v", ended)
	}
	holds(t, "ended", ended[0].Attributes, "dbops.kind", "toy", "dbops.environment", "prod", "dbops.state", "done")
	if took, _ := to.Metric("dbops.run.duration"); len(took) != 1 || took[0].Count != 1 || took[0].Value < 1 {
		t.Errorf("%+v: it lasted a second at least", took)
	}
	if took, _ := to.Metric("dbops.step.duration"); len(took) != 4 {
		t.Errorf("%+v", took)
	}
	active, _ := to.Metric("dbops.run.active")
	if len(active) != 1 || active[0].Value != 0 {
		t.Errorf("%+v", active)
	}
	for _, body := range to.Bodies() {
		for _, word := range []string{"the words of the cloud", "the-value", robot.Name} {
			if bytes.Contains(body, []byte(word)) {
				t.Errorf("%q was sent", word)
			}
		}
	}
}

func TestARunThatFailsIsAnErrorOfItsKind(t *testing.T) {
	b, to, flush := watchedBench(t)
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
	wants(t, "state", b.attach(t, id).State, state.Parked)
	b.tell(t, id, state.UndoRun)
	wants(t, "state", b.attach(t, id).State, state.Undone)
	flush()
	runs := to.Spans("run toy")
	if len(runs) != 2 || runs[0].Trace != runs[1].Trace {
		t.Fatalf("%+v", runs)
	}
	if !runs[0].Failed || runs[0].Status != "invalid" || runs[1].Failed {
		t.Errorf("%+v", runs)
	}
	holds(t, "parked", runs[0].Attributes, "dbops.state", "parked", "error.type", "invalid")
	holds(t, "undone", runs[1].Attributes, "dbops.state", "undone", "dbops.resumed", "true")
	wants(t, "first events", names(runs[0].Events), []string{"parked"})
	wants(t, "later events", names(runs[1].Events), []string{"decided"})
	holds(t, "decided", runs[1].Events[0].Attributes, "dbops.verb", "undo", "dbops.step", "fail")
	if s := one(t, to, "step fail"); !s.Failed || s.Status != "invalid" {
		t.Errorf("%+v", s)
	}
	one(t, to, "undo a")
}

func TestAGateIsAnEventAndNotToldTwice(t *testing.T) {
	b, to, flush := watchedBench(t)
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1", Gate: true})).ID
	for range 2 { // at the gate, at the failure
		b.attach(t, id)
		if r, err := b.Run(t.Context(), id); err == nil && r.State == state.Gate {
			b.tell(t, id, state.Continue)
		}
	}
	b.tell(t, id, state.Abandon)
	wants(t, "state", b.attach(t, id).State, state.Failed)
	flush()
	var all []string
	for _, r := range to.Spans("run toy") {
		all = append(all, fmt.Sprint(r.Attributes["dbops.state"], names(r.Events)))
	}
	wants(t, "what was told", all, []string{"gate[gate]", "parked[decided parked]", "failed[decided]"})
	one(t, to, "step a") // each was done once
	one(t, to, "step check")
}

const job, other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"

func TestARunIsPartOfTheJobThatSubmittedIt(t *testing.T) {
	b, to, flush := watchedBench(t, "TRACEPARENT", job)
	id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
	wants(t, "state", b.attach(t, id).State, state.Gate)
	flush()

	t.Setenv("TRACEPARENT", other) // a later job goes on
	x := started(t.Context())
	later := &bench{Engine: newEngine(t, b.store, b.toys, tellsOf(x)), T: t, toys: b.toys, place: b.place}
	later.tell(t, id, state.Continue)
	wants(t, "state", later.attach(t, id).State, state.Done)
	x.Shutdown(t.Context())

	runs := to.Spans("run toy")
	if len(runs) != 2 {
		t.Fatalf("%+v", runs)
	}
	for _, r := range runs {
		if r.Trace != "0af7651916cd43dd8448eb211c80319c" || r.Parent != "b7ad6b7169203331" {
			t.Errorf("%+v is not in the trace of the job", r)
		}
	}
	wants(t, "links", [][]string{runs[0].Links, runs[1].Links}, [][]string{nil, {"1af7651916cd43dd8448eb211c80319c"}})
}

func TestAJobThatIsNotSampledKeepsItsRunsOut(t *testing.T) {
	b, to, flush := watchedBench(t, "TRACEPARENT", job[:len(job)-1]+"0")
	b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID)
	flush()
	if spans := to.Spans(""); len(spans) != 0 {
		t.Errorf("%+v", spans)
	}
	if ended, _ := to.Metric("dbops.run.ended"); len(ended) != 1 {
		t.Errorf("metrics do not depend on it: %+v", ended)
	}
}

// toldChild works on its plan until it is killed.
func toldChild(ctx context.Context, c childSpec) error {
	s, err := c.Place.Open(ctx, "tester")
	if err != nil {
		return err
	}
	x := started(ctx)
	e, err := c.engine(s, &toys{world: toyWorld{c.World}}, tellsOf(x))
	if err != nil {
		return err
	}
	run, _, err := e.Submit(ctx, c.Plan, SubmitOptions{Actor: robot})
	if err == nil {
		_, err = e.Attach(ctx, run.ID, 0, nil)
	}
	return err
}

func TestARunGoesOnInItsTraceAfterItsProcessWasKilled(t *testing.T) {
	b, to, flush := watchedBench(t, "OTEL_BSP_SCHEDULE_DELAY", "10")
	plan := b.plan(t, toyRequest{Settings: []string{"a", "wait", "c"}, Value: "1"})
	cmd := childSpec{Do: "told", Place: b.place, World: b.toys.world.dir, Plan: plan}.command(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits, and has told of the step before", func() bool { return b.toys.world.said("at wait") && len(to.Spans("step a")) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	b.toys.world.say("go")
	wants(t, "state", b.attach(t, plan.RunID()).State, state.Done)
	flush()

	run := one(t, to, "run toy") // the span of the first died with it
	holds(t, "run", run.Attributes, "dbops.state", "done", "dbops.resumed", "true")
	var steps []string
	for _, s := range to.Spans("") {
		if s.Trace != run.Trace {
			t.Errorf("%+v is in another trace than %+v", s, run)
		}
		if s.Name != run.Name {
			steps = append(steps, s.Name)
		}
	}
	wants(t, "steps", steps, []string{"step check", "step a", "step wait", "step c"})
	if first := one(t, to, "step a"); first.Attributes["resource.service.instance.id"] == run.Attributes["resource.service.instance.id"] {
		t.Error("both processes have one name")
	}
}

func TestAnEngineThatTellsNobodyHasNothingInTheWay(t *testing.T) {
	e := New(nil, nil, Options{})
	b := &dbosBook{}
	allocs := testing.AllocsPerRun(100, func() {
		told, left := e.teller.told(t.Context(), b)
		if told != book(b) || e.teller.origin(t.Context()) != nil {
			t.Error("something is in between")
		}
		left()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestTheTraceOfARunIsItsOwn(t *testing.T) {
	a, b := traceOf("r1"), traceOf("r2")
	if a.TraceID() == b.TraceID() || a.TraceID() != traceOf("r1").TraceID() || !a.TraceID().IsValid() || a.SpanID() != (trace.SpanID{}) {
		t.Errorf("%v, %v", a, b)
	}
}
