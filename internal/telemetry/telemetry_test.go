package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"dbops/internal/telemetry/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told is what a test's Telemetry says besides what it sends.
type told struct {
	mu      sync.Mutex
	log     bytes.Buffer
	notices []string
}

func (w *told) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(p)
}

func (w *told) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// start starts with these variables and no others.
func start(t *testing.T, variables map[string]string) (*Telemetry, *told) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "OTEL_") || strings.HasPrefix(name, "TRACE") {
			t.Setenv(name, "")
		}
	}
	for k, v := range variables {
		t.Setenv(k, v)
	}
	w := &told{}
	return Start(t.Context(), Options{
		Version: "1.2.3", Getenv: os.Getenv, Log: slog.New(slog.NewTextHandler(w, nil)), Notice: func(text string) { w.notices = append(w.notices, text) },
	}), w
}

// tell makes a span and counts something.
func tell(t *testing.T, x *Telemetry) {
	t.Helper()
	if x.Tracer() != nil {
		_, span := x.Tracer().Start(t.Context(), "a span")
		span.End()
	}
	if x.Meter() != nil {
		c, err := x.Meter().Int64Counter("a.counter")
		if err != nil {
			t.Fatal(err)
		}
		c.Add(t.Context(), 3)
	}
}

func TestNothingIsMadeWithoutAVariableThatAsksForIt(t *testing.T) {
	for name, variables := range map[string]map[string]string{
		"no variable":             {},
		"the SDK is disabled":     {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"disabled in capitals":    {"OTEL_SDK_DISABLED": "TRUE", "OTEL_TRACES_EXPORTER": "otlp"},
		"none of both":            {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
		"what asks for nothing":   {"OTEL_SERVICE_NAME": "me", "OTEL_RESOURCE_ATTRIBUTES": "a=b", "OTEL_TRACES_SAMPLER": "always_on", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
		"a job of CI and no more": {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			x, w := start(t, variables)
			if x != nil || x.Tracer() != nil || x.Meter() != nil || x.Parent().IsValid() {
				t.Errorf("made %+v", x)
			}
			if after := runtime.NumGoroutine(); after > before { // one of an earlier test may end meanwhile
				t.Errorf("%d goroutines, before %d", after, before)
			}
			x.Shutdown(t.Context())
			if w.text() != "" || len(w.notices) != 0 {
				t.Errorf("it said %q, %q", w.text(), w.notices)
			}
		})
	}
}

func TestTheVariablesSayWhatIsSent(t *testing.T) {
	const here = "URL"
	for name, c := range map[string]struct {
		variables       map[string]string
		traces, metrics bool
	}{
		"one endpoint for both":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here}, true, true},
		"traces have their own":    {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": here + "/v1/traces"}, true, false},
		"metrics have their own":   {map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": here + "/v1/metrics"}, false, true},
		"no traces":                {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_TRACES_EXPORTER": "none"}, false, true},
		"no metrics":               {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_METRICS_EXPORTER": " None "}, true, false},
		"named exporters":          {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp"}, true, true},
		"the protocol by its name": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, true, true},
		"no span is sampled":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_TRACES_SAMPLER": "always_off"}, false, true},
		"not disabled":             {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": here, "OTEL_SDK_DISABLED": "false"}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			to := otlptest.Start(t)
			for k, v := range c.variables {
				c.variables[k] = strings.ReplaceAll(v, here, to.URL)
			}
			x, w := start(t, c.variables)
			tell(t, x)
			x.Shutdown(t.Context())
			x.Shutdown(t.Context())
			if got := len(to.Spans("a span")) == 1; got != c.traces {
				t.Errorf("traces are sent: %v", got)
			}
			if got := slices.Equal(to.Metrics(), []string{"a.counter"}); got != c.metrics {
				t.Errorf("metrics are sent: %v (%v)", got, to.Metrics())
			}
			if w.text() != "" || len(w.notices) != 0 {
				t.Errorf("it said %q, %q", w.text(), w.notices)
			}
		})
	}
}

func TestWhoTellsIsInTheResource(t *testing.T) {
	to := otlptest.Start(t)
	x, _ := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": to.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-token=a%20word",
		"OTEL_SERVICE_NAME": "dbops-nightly", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=ci,service.version=mine",
	})
	tell(t, x)
	x.Shutdown(t.Context())
	spans := to.Spans("")
	if len(spans) != 1 {
		t.Fatalf("%+v", spans)
	}
	a := spans[0].Attributes
	for k, want := range map[string]string{
		"resource.service.name": "dbops-nightly", "resource.service.version": "mine", "resource.deployment.environment.name": "ci", "resource.telemetry.sdk.name": "opentelemetry",
	} {
		if a[k] != want {
			t.Errorf("%s is %q, want %q", k, a[k], want)
		}
	}
	if a["resource.service.instance.id"] == "" || a["resource.host.name"] == "" || a["resource.process.command_args"] != "" {
		t.Errorf("%v", a)
	}
	if got := to.Header("x-token"); got != "a word" {
		t.Errorf("the header is %q", got)
	}
}

func TestWithoutANameItIsDbops(t *testing.T) {
	to := otlptest.Start(t)
	x, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": to.URL})
	tell(t, x)
	x.Shutdown(t.Context())
	if spans := to.Spans(""); len(spans) != 1 || spans[0].Attributes["resource.service.name"] != "dbops" || spans[0].Attributes["resource.service.version"] != "1.2.3" {
		t.Errorf("%+v", spans)
	}
}

func TestTheParentComesFromTheEnvironment(t *testing.T) {
	x, w := start(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "TRACESTATE": "vendor=7",
	})
	defer x.Shutdown(t.Context())
	p := x.Parent()
	if p.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || p.SpanID().String() != "b7ad6b7169203331" || !p.IsSampled() || p.TraceState().Get("vendor") != "7" || len(w.notices) != 0 {
		t.Errorf("%+v, %v", p, w.notices)
	}
}

func TestAValueOfNoUseIsSaidAndIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		variables map[string]string
		says      string
		sent      bool
	}{
		"an endpoint without a scheme": {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address: want http://HOST:PORT or https://HOST:PORT; no traces are sent", false},
		"an endpoint with a password":  {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://me:s3cret-word@collector"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is no address", false},
		"an unknown exporter":          {map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, `OTEL_TRACES_EXPORTER is "zipkin": dbops knows otlp and none; it is ignored`, true},
		"an unknown protocol":          {map[string]string{"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, `OTEL_EXPORTER_OTLP_PROTOCOL is "http/json": dbops speaks http/protobuf and grpc; it is ignored`, true},
		"an unknown sampler":           {map[string]string{"OTEL_TRACES_SAMPLER": "sometimes"}, `OTEL_TRACES_SAMPLER is "sometimes", which nobody knows; it is ignored`, true},
		"a ratio that is none":         {map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "half"}, `OTEL_TRACES_SAMPLER_ARG is "half": want a number from 0 to 1; all is sampled`, true},
		"a time that is none":          {map[string]string{"OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, `OTEL_EXPORTER_OTLP_TIMEOUT is "10s": want a whole number; it is ignored`, true},
		"a header without a value":     {map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "a=b,s3cret-word"}, "OTEL_EXPORTER_OTLP_HEADERS: its header 2 is not NAME=VALUE", true},
		"a header badly encoded":       {map[string]string{"OTEL_EXPORTER_OTLP_HEADERS": "a=s3cret-word%zz"}, "OTEL_EXPORTER_OTLP_HEADERS: its header 1 is not NAME=VALUE", true},
		"a parent that is none":        {map[string]string{"TRACEPARENT": "my-job"}, `TRACEPARENT is "my-job", no trace context of the W3C; it is ignored`, true},
		"neither true nor false":       {map[string]string{"OTEL_SDK_DISABLED": "perhaps"}, `OTEL_SDK_DISABLED is "perhaps": want true or false; it is ignored`, true},
		"attributes that are none":     {map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "team"}, "OTEL_RESOURCE_ATTRIBUTES: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			to := otlptest.Start(t)
			all := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": to.URL, "OTEL_METRICS_EXPORTER": "none"}
			for k, v := range c.variables {
				all[k] = v
			}
			var said *told
			out := standardError(t, func() {
				x, w := start(t, all)
				tell(t, x)
				x.Shutdown(t.Context())
				said = w
			})
			if len(said.notices) != 1 || !strings.Contains(said.notices[0], c.says) {
				t.Errorf("it said %q, want %q", said.notices, c.says)
			}
			if strings.Contains(strings.Join(said.notices, "")+said.text()+out, "s3cret-word") {
				t.Errorf("a secret was said: %q, %q, %q", said.notices, said.text(), out)
			}
			if out != "" {
				t.Errorf("the libraries wrote %q", out)
			}
			if got := len(to.Spans("a span")) == 1; got != c.sent {
				t.Errorf("sent: %v", got)
			}
		})
	}
}

// standardError is what is written there while do runs.
func standardError(t *testing.T, do func()) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	was := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = was }()
	do()
	_ = w.Close()
	var b bytes.Buffer
	_, _ = b.ReadFrom(r)
	return b.String()
}

func TestACollectorThatFailsIsSaidOnceAndCostsLittle(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://token:s3cret-word@" + closed.Addr().String()
	_ = closed.Close()
	hang := func(r *http.Request) int { <-r.Context().Done(); return http.StatusTeapot }
	status := func(n int) func(*http.Request) int { return func(*http.Request) int { return n } }
	for name, c := range map[string]struct {
		url       string
		protocol  string
		says      string
		variables map[string]string
	}{
		"it hangs":            {url: otlptest.Start(t, hang).URL, says: "no answer within 2s"},
		"nobody listens":      {url: nobody, says: "refused"},
		"it answers 500":      {url: otlptest.Start(t, status(500)).URL, says: "500"},
		"it wants less":       {url: otlptest.Start(t, status(503)).URL, says: "no answer within 2s"},
		"nobody hears gRPC":   {url: nobody, protocol: "grpc", says: "no answer within 2s"},
		"it hangs under gRPC": {url: silent(t), protocol: "grpc", says: "no answer within 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			x, w := start(t, map[string]string{
				"OTEL_EXPORTER_OTLP_ENDPOINT": c.url, "OTEL_EXPORTER_OTLP_PROTOCOL": c.protocol, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=s3cret-word",
				"OTEL_BSP_SCHEDULE_DELAY": "5", "OTEL_METRIC_EXPORT_INTERVAL": "20",
			})
			for range 3 {
				tell(t, x)
				runtime.Gosched()
			}
			begun := time.Now()
			x.Shutdown(t.Context())
			if took := time.Since(begun); took > 10*Patience { // the machine may be slow; without the bound it is half a minute
				t.Errorf("its end took %s", took)
			}
			log := w.text()
			for _, signal := range []string{"traces", "metrics"} {
				if strings.Count(log, "signal="+signal) != 1 {
					t.Errorf("not said once of %s: %s", signal, log)
				}
			}
			if !strings.Contains(log, c.says) || strings.Contains(log, "s3cret-word") || len(w.notices) != 0 {
				t.Errorf("it said %s, %q; want %q", log, w.notices, c.says)
			}
		})
	}
}

// silent is the address of a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = new(bytes.Buffer).ReadFrom(c) // until the other side leaves
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return "http://" + ln.Addr().String()
}

func TestGRPCIsSpoken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var called []string
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		mu.Lock()
		defer mu.Unlock()
		called = append(called, method)
		return nil
	}))
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	x, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + ln.Addr().String(), "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
	tell(t, x)
	x.Shutdown(t.Context())
	s.Stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	slices.Sort(called)
	if want := []string{"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"}; !slices.Equal(called, want) {
		t.Errorf("called %v, want %v", called, want)
	}
}

// What other libraries tell is theirs: they look for the global provider.
func TestOtherLibrariesGoOnTellingNobody(t *testing.T) {
	to := otlptest.Start(t)
	x, _ := start(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": to.URL})
	_, span := otel.Tracer("a library").Start(context.Background(), "theirs")
	if span.IsRecording() {
		t.Error("the span of a library is recorded")
	}
	span.End()
	x.Shutdown(t.Context())
	if len(to.Bodies()) != 0 {
		t.Error("a process that did nothing sent something")
	}
}

func BenchmarkStartWhenOff(b *testing.B) {
	o := Options{Getenv: func(string) string { return "" }, Log: slog.New(slog.DiscardHandler), Notice: func(string) {}}
	b.ReportAllocs()
	for b.Loop() {
		Start(context.Background(), o).Shutdown(context.Background())
	}
}
