package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"dbops/internal/secret"
)

func spanExporter(ctx context.Context, protocol string) (sdktrace.SpanExporter, error) {
	if protocol == protocolGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf)) // whatever the variable says
}

func metricExporter(ctx context.Context, protocol string) (sdkmetric.Exporter, error) {
	if protocol == protocolGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// spanSink keeps what is wrong with a collector from everybody but the log, and what it waits for from lasting longer than the process.
type spanSink struct {
	sdktrace.SpanExporter
	t *Telemetry
}

// ExportSpans implements [sdktrace.SpanExporter].
func (s spanSink) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	ctx, cancel := s.t.bound(ctx)
	defer cancel()
	if err := s.SpanExporter.ExportSpans(ctx, spans); err != nil {
		s.t.failed("traces", err)
	}
	return nil
}

type metricSink struct {
	sdkmetric.Exporter
	t *Telemetry
}

// Export implements [sdkmetric.Exporter].
func (s metricSink) Export(ctx context.Context, m *metricdata.ResourceMetrics) error {
	if len(m.ScopeMetrics) == 0 { // a command that did nothing worth counting
		return nil
	}
	ctx, cancel := s.t.bound(ctx)
	defer cancel()
	if err := s.Exporter.Export(ctx, m); err != nil {
		s.t.failed("metrics", err)
	}
	return nil
}

// bound is a context that ends with the patience of Shutdown, too.
func (t *Telemetry) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(t.alive, cancel)
	return ctx, func() { release(); cancel() }
}

// failed complains of a collector once.
func (t *Telemetry) failed(signal string, err error) {
	if _, before := t.said.LoadOrStore(signal, true); before {
		return
	}
	text := err.Error()
	if t.alive.Err() != nil {
		text = "no answer within " + Patience.String()
	}
	for _, s := range t.secrets {
		text = strings.ReplaceAll(text, s, secret.Redacted)
	}
	const most = 300 // a collector may answer with a page
	if r := []rune(text); len(r) > most {
		text = string(r[:most]) + " ..."
	}
	t.log.Warn("telemetry cannot be sent; this is said once", "signal", signal, "error", text)
}
