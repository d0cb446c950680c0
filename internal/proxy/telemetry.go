package proxy

import (
	"cmp"
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Telemetry tells OpenTelemetry of a [Server]. [Telemetry.Observe] belongs into Config.Observe, with Config.Phases; what can be counted when it
// is asked for is counted then, so that relaying costs nothing.
type Telemetry struct {
	tracer trace.Tracer
	parent context.Context //nolint:containedctx // of spans: what the process is a part of
	about  metric.MeasurementOption
	where  []attribute.KeyValue

	connections metric.Int64Counter
	login       metric.Float64Histogram

	mu     sync.Mutex
	server func() *Server // known once the server has been made; nil when it has ended
	last   Totals         // of one that has ended
	spans  map[uint64]trace.Span
}

// NewTelemetry returns what tells of the server that the function tells, in an environment and with an access. Either of tracer and meter may be
// nil. The connections of a process that is a part of parent are, too.
func NewTelemetry(server func() *Server, environment, access string, tracer trace.Tracer, meter metric.Meter, parent trace.SpanContext) *Telemetry {
	if tracer == nil {
		tracer = tracenoop.Tracer{}
	}
	if meter == nil {
		meter = metricnoop.Meter{}
	}
	where := []attribute.KeyValue{attribute.String("dbops.environment", environment), attribute.String("dbops.access", access)}
	t := &Telemetry{
		tracer: tracer, parent: trace.ContextWithSpanContext(context.Background(), parent), where: where, about: metric.WithAttributes(where...),
		server: server, spans: map[uint64]trace.Span{},
	}
	// Their errors are of names, which are constant: the instruments can be used all the same.
	t.connections, _ = meter.Int64Counter("dbops.proxy.connections", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections of clients that have ended, by how."))
	t.login, _ = meter.Float64Histogram("db.client.connection.create_time", metric.WithUnit("s"),
		metric.WithDescription("From the client's password to the session upstream."),
		metric.WithExplicitBucketBoundaries(.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10))
	open, _ := meter.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"), metric.WithDescription("Sessions that are open now."))
	bytes, _ := meter.Int64ObservableCounter("dbops.proxy.io", metric.WithUnit("By"), metric.WithDescription("Bytes relayed."))
	cancels, _ := meter.Int64ObservableCounter("dbops.proxy.cancel_requests", metric.WithUnit("{request}"), metric.WithDescription("Requests to cancel a statement."))
	_, _ = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		total, sessions := t.now()
		for at, n := range sessions {
			o.ObserveInt64(open, n, t.about, metric.WithAttributes(pool(environment, at.database), attribute.String("db.client.connection.state", at.state)))
		}
		o.ObserveInt64(bytes, total.FromClient, t.about, metric.WithAttributes(attribute.String("dbops.direction", "from_client")))
		o.ObserveInt64(bytes, total.ToClient, t.about, metric.WithAttributes(attribute.String("dbops.direction", "to_client")))
		o.ObserveInt64(cancels, total.Cancels, t.about)
		return nil
	}, open, bytes, cancels)
	return t
}

// pool is what the conventions call the connections to one database: here each client has one.
func pool(environment, database string) attribute.KeyValue {
	return attribute.String("db.client.connection.pool.name", environment+"/"+database)
}

type sessionsAt struct{ database, state string }

func (t *Telemetry) now() (Totals, map[sessionsAt]int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.server == nil || t.server() == nil {
		return t.last, nil
	}
	s := t.server()
	open := map[sessionsAt]int64{}
	for _, name := range s.databases.Load().names {
		open[sessionsAt{name, "idle"}], open[sessionsAt{name, "used"}] = 0, 0
	}
	for _, c := range s.Connections() {
		state := "used"
		if c.State == "idle" {
			state = "idle"
		}
		open[sessionsAt{c.Database, state}]++
	}
	return s.Totals(), open
}

// Observe tells of an event.
func (t *Telemetry) Observe(e Event) {
	switch e.Kind {
	case "open":
		t.opened(e)
	case "close":
		t.closed(e)
	case "refused":
		t.refused(e)
	}
}

func (t *Telemetry) opened(e Event) {
	c := e.Connection
	environment := t.where[0].Value.AsString()
	t.login.Record(t.parent, e.Took.Seconds(), t.about, metric.WithAttributes(pool(environment, c.Database)))
	span := t.begin(c.Since, append(t.database(c), attribute.String("dbops.user", c.User)))
	t.phases(span, e.Phases, "")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[c.ID] = span
}

func (t *Telemetry) closed(e Event) {
	how := class(e.Reason)
	t.ended(how, "")
	t.mu.Lock()
	span := t.spans[e.Connection.ID]
	delete(t.spans, e.Connection.ID)
	t.mu.Unlock()
	if span == nil {
		return
	}
	span.SetAttributes(attribute.String("dbops.outcome", how),
		attribute.Int64("dbops.from_client", e.Connection.FromClient), attribute.Int64("dbops.to_client", e.Connection.ToClient))
	if e.Failure {
		span.SetAttributes(attribute.String("error.type", how))
		span.SetStatus(codes.Error, how)
	}
	span.End(trace.WithTimestamp(e.At))
}

// refused tells of a connection that became no session. What it asked for is told if it is there: else the name is the client's word.
func (t *Telemetry) refused(e Event) {
	how := "refused"
	if e.SQLState == "" {
		how = "left" // or did not speak the protocol
	}
	t.ended(how, e.SQLState)
	t.mu.Lock()
	server := t.server
	t.mu.Unlock()
	var about []attribute.KeyValue
	if server != nil && server() != nil {
		if up, unknown := server().find(e.Connection.Database); unknown == nil {
			about = t.database(&Connection{Database: up.Database, Instance: up.Instance})
		}
	}
	about = append(about, attribute.String("dbops.outcome", how), attribute.String("error.type", cmp.Or(e.SQLState, how)))
	if e.SQLState != "" {
		about = append(about, attribute.String("db.response.status_code", e.SQLState))
	}
	span := t.begin(e.At.Add(-e.Took), about)
	t.phases(span, e.Phases, cmp.Or(e.SQLState, how))
	span.SetStatus(codes.Error, cmp.Or(e.SQLState, how))
	span.End(trace.WithTimestamp(e.At))
}

func (t *Telemetry) begin(at time.Time, about []attribute.KeyValue) trace.Span {
	_, span := t.tracer.Start(t.parent, "proxy connection", trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(at),
		trace.WithAttributes(append(about, t.where...)...), trace.WithAttributes(attribute.String("db.system.name", "postgresql")))
	return span
}

func (t *Telemetry) database(c *Connection) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("db.namespace", c.Database), attribute.String("dbops.instance", c.Instance)}
}

// phases are the children of a connection's span; failure is why the last of them failed.
func (t *Telemetry) phases(of trace.Span, all []Phase, failure string) {
	ctx := trace.ContextWithSpan(t.parent, of)
	for i, p := range all {
		_, span := t.tracer.Start(ctx, p.Name, trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(p.From))
		if failure != "" && i == len(all)-1 {
			span.SetStatus(codes.Error, failure)
		}
		span.End(trace.WithTimestamp(p.To))
	}
}

func (t *Telemetry) ended(how, sqlState string) {
	about := []attribute.KeyValue{attribute.String("dbops.outcome", how)}
	if sqlState != "" {
		about = append(about, attribute.String("db.response.status_code", sqlState))
	}
	t.connections.Add(t.parent, 1, t.about, metric.WithAttributes(about...))
}

// Close is called when the server has ended: what it counted stays told.
func (t *Telemetry) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.server != nil && t.server() != nil {
		t.last = t.server().Totals()
	}
	t.server = nil
	for id, span := range t.spans { // none, if all was in order
		span.End()
		delete(t.spans, id)
	}
}
