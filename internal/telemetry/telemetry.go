// Package telemetry sends traces and metrics to a collector, if the standard variables of OpenTelemetry ask for it, and else is nothing.
//
// It owns the SDK: other rooms know OpenTelemetry's API at most, and get a tracer and a meter from [Start] by way of internal/app. Nothing
// is registered globally that makes data, so that the clouds' libraries, which look there, go on telling nobody anything. A collector
// that is slow or dead costs a command [Patience] at its end, and a line in the log.
package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Patience is how long the end of a process waits for the collector at most.
const Patience = 2 * time.Second

// scope names dbops to those who read its spans and metrics.
const scope = "dbops"

// Options are what [Start] needs.
type Options struct {
	Version string
	// Getenv reads the variables. The exporters read those of the process besides: endpoints, headers, certificates.
	Getenv func(string) string
	// Log is told of a collector that does not take what it is sent: once for traces, once for metrics.
	Log *slog.Logger
	// Notice is told of each variable whose value is of no use.
	Notice func(text string)
}

// Telemetry is what a process tells. Nil is off: its methods may be called.
type Telemetry struct {
	tracer trace.Tracer
	meter  metric.Meter
	parent trace.SpanContext
	ends   []func(context.Context) error

	log     *slog.Logger
	secrets []string // that must not be logged
	said    sync.Map // signals whose collector was complained of

	alive context.Context //nolint:containedctx // of what is being sent: it ends with Shutdown's patience
	cut   context.CancelFunc
}

// Start makes what the variables ask for, and returns nil if they ask for nothing. Nothing is contacted before there is something to tell. A
// value that cannot be used is told and ignored, as the specification wants it. The caller ends it with [Telemetry.Shutdown].
func Start(ctx context.Context, o Options) *Telemetry {
	s := read(ctx, o.Getenv)
	for _, p := range s.problems {
		o.Notice(p)
	}
	if s.off() {
		return nil
	}
	// The libraries' own complaints: they may hold the headers, and standard error may be a screen.
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))

	t := &Telemetry{parent: s.parent, log: o.Log, secrets: s.secrets}
	t.alive, t.cut = context.WithCancel(context.WithoutCancel(ctx))
	what, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", "dbops"), attribute.String("service.version", o.Version), attribute.String("service.instance.id", uuid.NewString()),
		),
		resource.WithFromEnv(), // the last word
	)
	if err != nil {
		o.Notice("OTEL_RESOURCE_ATTRIBUTES: " + err.Error() + "; what can be read of it is used")
	}
	if s.traces != "" {
		e, err := spanExporter(ctx, s.traces)
		if err != nil {
			t.failed("traces", err)
		} else {
			p := sdktrace.NewTracerProvider(sdktrace.WithResource(what), sdktrace.WithBatcher(spanSink{e, t}))
			t.tracer, t.ends = p.Tracer(scope, trace.WithInstrumentationVersion(o.Version)), append(t.ends, p.Shutdown)
		}
	}
	if s.metrics != "" {
		e, err := metricExporter(ctx, s.metrics)
		if err != nil {
			t.failed("metrics", err)
		} else {
			p := sdkmetric.NewMeterProvider(sdkmetric.WithResource(what), sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metricSink{e, t})))
			t.meter, t.ends = p.Meter(scope, metric.WithInstrumentationVersion(o.Version)), append(t.ends, p.Shutdown)
		}
	}
	return t
}

// Tracer makes spans; nil if no traces are wanted.
func (t *Telemetry) Tracer() trace.Tracer {
	if t == nil {
		return nil
	}
	return t.tracer
}

// Meter makes instruments; nil if no metrics are wanted.
func (t *Telemetry) Meter() metric.Meter {
	if t == nil {
		return nil
	}
	return t.meter
}

// Parent is the span that this process is a part of by TRACEPARENT, such as a job of CI. It may be none.
func (t *Telemetry) Parent() trace.SpanContext {
	if t == nil {
		return trace.SpanContext{}
	}
	return t.parent
}

// Shutdown sends what was not sent yet, for [Patience] at most, and leaves nothing running. What is told after it is lost. It may be called
// more than once.
func (t *Telemetry) Shutdown(ctx context.Context) {
	if t == nil {
		return
	}
	ctx = context.WithoutCancel(ctx)
	soon, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	defer context.AfterFunc(soon, t.cut)()
	var wg sync.WaitGroup
	for _, end := range t.ends {
		wg.Go(func() { _ = end(ctx) }) // the sinks have told; cut ends what they wait for
	}
	wg.Wait()
	t.cut()
}
