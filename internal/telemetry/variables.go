package telemetry

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The protocols of OTLP that are spoken.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// settings are what the variables ask for.
type settings struct {
	traces, metrics string // the protocol; empty: not wanted
	parent          trace.SpanContext
	secrets         []string // from headers and endpoints
	problems        []string // one a variable that cannot be used, without its value if that may be a secret
}

func (s *settings) off() bool { return s.traces == "" && s.metrics == "" }

func (s *settings) problem(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// read reads the variables. Those that only matter when something is sent are not looked at before.
func read(ctx context.Context, getenv func(string) string) *settings {
	s := &settings{}
	value := func(name string) string { return strings.TrimSpace(getenv(name)) }
	switch v := strings.ToLower(value("OTEL_SDK_DISABLED")); v {
	case "true":
		return s
	case "", "false":
	default:
		s.problem("OTEL_SDK_DISABLED is %q: want true or false; it is ignored", v)
	}
	s.traces, s.metrics = s.signal("TRACES", value), s.signal("METRICS", value)
	if s.off() {
		return s
	}
	s.checkNumbers(value)
	s.checkHeaders(value)
	if s.traces != "" {
		s.checkSampler(value)
		s.parent = s.parentOf(ctx, value)
	}
	return s
}

// signal is the protocol in which traces or metrics are sent, empty for not at all.
func (s *settings) signal(name string, value func(string) string) string {
	endpointName := "OTEL_EXPORTER_OTLP_" + name + "_ENDPOINT"
	endpoint := value(endpointName)
	if endpoint == "" {
		endpointName = "OTEL_EXPORTER_OTLP_ENDPOINT"
		endpoint = value(endpointName)
	}
	wanted := endpoint != ""
	exporter := "OTEL_" + name + "_EXPORTER"
	for e := range strings.SplitSeq(value(exporter), ",") {
		switch e := strings.ToLower(strings.TrimSpace(e)); e {
		case "":
		case "otlp":
			wanted = true
		case "none":
			return ""
		default:
			s.problem("%s is %q: dbops knows otlp and none; it is ignored", exporter, e)
		}
	}
	if !wanted {
		return ""
	}
	protocol := s.protocol(name, value)
	if endpoint != "" && !s.address(endpoint) {
		s.problem("%s is no address: want http://HOST:PORT or https://HOST:PORT; no %s are sent", endpointName, strings.ToLower(name))
		return ""
	}
	return protocol
}

func (s *settings) protocol(name string, value func(string) string) string {
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_" + name + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		switch v := strings.ToLower(value(variable)); v {
		case "":
		case protocolHTTP, protocolGRPC:
			return v
		default:
			p := fmt.Sprintf("%s is %q: dbops speaks %s and %s; it is ignored", variable, v, protocolHTTP, protocolGRPC)
			if !slices.Contains(s.problems, p) { // both signals may read it
				s.problems = append(s.problems, p)
			}
		}
	}
	return protocolHTTP
}

// address tells whether an endpoint can be one.
func (s *settings) address(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	if pw, ok := u.User.Password(); ok && pw != "" {
		s.secrets = append(s.secrets, pw, u.User.String())
	}
	return true
}

func (s *settings) checkNumbers(value func(string) string) {
	for _, name := range []string{
		"OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
		"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
		"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT",
	} {
		if v := value(name); v != "" {
			if n, err := strconv.Atoi(v); err != nil || n < 0 {
				s.problem("%s is %q: want a whole number; it is ignored", name, v)
			}
		}
	}
}

// checkHeaders looks whether the exporters can read the headers, and remembers what is secret in them.
func (s *settings) checkHeaders(value func(string) string) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"} {
		all := value(name)
		if all == "" {
			continue
		}
		for i, h := range strings.Split(all, ",") {
			key, v, ok := strings.Cut(h, "=")
			plain, err := url.PathUnescape(v)
			if !ok || err != nil || strings.TrimSpace(key) == "" {
				s.problem("%s: its header %d is not NAME=VALUE with a value that is percent-encoded; it is left out", name, i+1)
				continue
			}
			if plain = strings.TrimSpace(plain); plain != "" {
				s.secrets = append(s.secrets, plain)
			}
		}
	}
}

func (s *settings) checkSampler(value func(string) string) {
	const name, ratio = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	switch v := strings.ToLower(value(name)); v {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		arg := value(ratio)
		if n, err := strconv.ParseFloat(arg, 64); arg != "" && (err != nil || n < 0 || n > 1) {
			s.problem("%s is %q: want a number from 0 to 1; all is sampled", ratio, arg)
		}
	default:
		s.problem("%s is %q, which nobody knows; it is ignored", name, v)
	}
}

func (s *settings) parentOf(ctx context.Context, value func(string) string) trace.SpanContext {
	given := value("TRACEPARENT")
	if given == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": given, "tracestate": value("TRACESTATE")}
	parent := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(ctx, carrier))
	if !parent.IsValid() {
		s.problem("TRACEPARENT is %q, no trace context of the W3C; it is ignored", given)
	}
	return parent
}
