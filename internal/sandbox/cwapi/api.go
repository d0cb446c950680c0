// Package cwapi plays Amazon CloudWatch as far as metrics are read: GetMetricData, in the three protocols that it has: RPC v2 with CBOR, as the Go
// SDK speaks it, JSON, as the AWS CLI does, and the query protocol of older ones.
//
// What a metric's values are is the business of the service that has it: see [Config.Series]. A metric that nobody has is empty, not an error, as
// in CloudWatch. Metric math, labels, units and pages are not played, and a request that asks for them is refused, never ignored.
package cwapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/meter"
	"dbops/internal/sandbox/play"
)

const (
	service = "cloudwatch" // in permissions and faults
	// Scope is the name of the service in signatures.
	Scope = "monitoring"
)

// Series returns the values of a metric from a moment on, before another, oldest first; none of a metric that is not there.
type Series func(ctx context.Context, metric string, dimensions map[string]string, from, to time.Time) []meter.Value

// Config is what an [API] stands on.
type Config struct {
	Keys   *awsid.Keys
	Series map[string]Series // by namespace
	Faults *play.Faults      // service "cloudwatch"; nil: none
	Log    *slog.Logger      // defaults to discarding
}

// API is the played CloudWatch.
type API struct{ cfg Config }

// New returns one.
func New(cfg Config) *API {
	if cfg.Faults == nil {
		cfg.Faults = &play.Faults{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &API{cfg}
}

// protocol is how a client speaks.
type protocol interface {
	// action is what the request asks for.
	action(r *http.Request, body []byte) (string, error)
	decode(body []byte, in *input) error
	write(w http.ResponseWriter, action string, out *output, err error)
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var p protocol = query{}
	switch {
	case isCBOR(r):
		p = rpc{}
	case isJSON(r):
		p = jsonRPC{}
	}
	action, out, err := a.serve(r, p)
	if err != nil {
		a.cfg.Log.LogAttrs(r.Context(), slog.LevelDebug, "cloudwatch request refused", slog.String("action", action), slog.Any("error", err))
	} else {
		a.cfg.Log.LogAttrs(r.Context(), slog.LevelDebug, "cloudwatch request", slog.String("action", action))
	}
	p.write(w, action, out, err)
}

func (a *API) serve(r *http.Request, p protocol) (string, *output, error) {
	body, err := awsid.ReadBody(r)
	if err != nil {
		return "", nil, err
	}
	caller, err := a.cfg.Keys.Verify(r, body, Scope)
	if err != nil {
		return "", nil, err
	}
	action, err := p.action(r, body)
	if err != nil {
		return "", nil, err
	}
	if action != getMetricData {
		return action, nil, awsid.NotEmulated("cloudwatch " + action)
	}
	if err := caller.Authorize(service+":"+action, "*"); err != nil {
		return action, nil, err
	}
	if err := awsid.Injected(a.cfg.Faults, caller, service, action, "", "*"); err != nil {
		return action, nil, err
	}
	var in input
	if err := p.decode(body, &in); err != nil {
		return action, nil, err
	}
	out, err := a.getMetricData(r.Context(), &in)
	return action, out, err
}
