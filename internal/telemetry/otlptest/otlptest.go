// Package otlptest is a collector for tests: it takes OTLP over HTTP and keeps what it was sent.
package otlptest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector is a running collector. It ends with the test.
type Collector struct {
	URL string // for OTEL_EXPORTER_OTLP_ENDPOINT

	mu      sync.Mutex
	spans   []Span
	metrics []*metrics.Metric
	headers http.Header
	bodies  [][]byte
}

// Span is one span, with the attributes of its resource under the prefix "resource.".
type Span struct {
	Name            string
	Trace, ID       string // hex
	Parent          string // hex; empty: none
	Kind            trace.Span_SpanKind
	Attributes      map[string]string
	Events          []Event
	Links           []string // traces
	Failed          bool
	Status          string
	Started, Lasted time.Duration // since the epoch; long
}

// Event is an event of a span.
type Event struct {
	Name       string
	Attributes map[string]string
}

// Start starts a collector. answer, if any, may refuse or delay what comes, by returning a status other than 0.
func Start(t testing.TB, answer ...func(r *http.Request) int) *Collector {
	t.Helper()
	c := &Collector{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body) // until then nobody notices that the other side has left
		for _, f := range answer {
			if status := f(r); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		if err == nil {
			err = c.take(r, b)
		}
		if err != nil {
			t.Errorf("the collector was sent what it cannot read: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(s.Close)
	c.URL = s.URL
	return c
}

func (c *Collector) take(r *http.Request, b []byte) error {
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return err
		}
		if b, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bodies, c.headers = append(c.bodies, b), r.Header.Clone()
	if r.URL.Path == "/v1/metrics" {
		var m collectormetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			return err
		}
		for _, of := range m.GetResourceMetrics() {
			for _, scope := range of.GetScopeMetrics() {
				c.metrics = append(c.metrics, scope.GetMetrics()...)
			}
		}
		return nil
	}
	var m collectortrace.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &m); err != nil {
		return err
	}
	for _, of := range m.GetResourceSpans() {
		resource := attributes("resource.", of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(s, resource))
			}
		}
	}
	return nil
}

func spanOf(s *trace.Span, resource map[string]string) Span {
	out := Span{
		Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Kind: s.GetKind(), Attributes: attributes("", s.GetAttributes()),
		Failed: s.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR, Status: s.GetStatus().GetMessage(),
		Started: time.Duration(s.GetStartTimeUnixNano()), Lasted: time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()),
	}
	for k, v := range resource {
		out.Attributes[k] = v
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, Event{e.GetName(), attributes("", e.GetAttributes())})
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId()))
	}
	return out
}

func attributes(prefix string, all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		v := a.GetValue().GetStringValue()
		switch x := a.GetValue().GetValue().(type) {
		case *common.AnyValue_IntValue:
			v = strconv.FormatInt(x.IntValue, 10)
		case *common.AnyValue_BoolValue:
			v = strconv.FormatBool(x.BoolValue)
		case *common.AnyValue_DoubleValue:
			v = strconv.FormatFloat(x.DoubleValue, 'g', -1, 64)
		}
		out[prefix+a.GetKey()] = v
	}
	return out
}

// Spans are those of a name, in the order in which they began; of all names if that is empty.
func (c *Collector) Spans(name string) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := slices.DeleteFunc(slices.Clone(c.spans), func(s Span) bool { return name != "" && s.Name != name })
	slices.SortStableFunc(out, func(a, b Span) int { return int(a.Started - b.Started) })
	return out
}

// Point is one value of a metric: of a histogram its sum and its count.
type Point struct {
	Attributes map[string]string
	Value      float64
	Count      uint64
}

// Metric is the last that was told of a metric, and its unit; nothing if it was not.
func (c *Collector) Metric(name string) (points []Point, unit string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.metrics {
		if m.GetName() != name {
			continue
		}
		points, unit = nil, m.GetUnit()
		for _, p := range m.GetSum().GetDataPoints() {
			points = append(points, Point{attributes("", p.GetAttributes()), float64(p.GetAsInt()) + p.GetAsDouble(), 0})
		}
		for _, p := range m.GetHistogram().GetDataPoints() {
			points = append(points, Point{attributes("", p.GetAttributes()), p.GetSum(), p.GetCount()})
		}
	}
	return points, unit
}

// Metrics are the names of all that was told.
func (c *Collector) Metrics() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.metrics {
		names = append(names, m.GetName())
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Bodies are the messages as they came, to look for what must not be in them.
func (c *Collector) Bodies() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bodies)
}

// Header is one of the last request.
func (c *Collector) Header(name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers.Get(name)
}
