package gcpapi

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	monitoring "google.golang.org/api/monitoring/v3"

	"dbops/internal/sandbox/gcpapi/googleid"
	"dbops/internal/sandbox/meter"
	"dbops/internal/sandbox/play"
)

const (
	// monitoringService is the name of Cloud Monitoring in a [play.Fault].
	monitoringService = "monitoring"
	monitoringPrefix  = "/v3/projects/"
	timeSeriesAction  = "timeSeries.list"
	timeSeriesList    = "monitoring.timeSeries.list"
	// metricDelay is how long after its begin a minute can be seen in Cloud Monitoring.
	metricDelay  = 3 * time.Minute
	metricFamily = "cloudsql.googleapis.com/database/"
)

// serveMonitoring is Cloud Monitoring as far as time series of Cloud SQL are listed, without aggregation and pages.
func (s *Server) serveMonitoring(w http.ResponseWriter, r *http.Request) {
	answer, err := s.timeSeries(r)
	if errors.Is(err, errDrop) {
		panic(http.ErrAbortHandler) // closes the connection without an answer
	}
	if err != nil {
		e := asError(err)
		s.cfg.Log.Info("monitoring", "path", r.URL.Path, "status", e.code, "error", e.message)
		e.write(w)
		return
	}
	s.cfg.Log.Info("monitoring", "path", r.URL.Path, "status", http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	_ = json.NewEncoder(w).Encode(answer) // the client is gone if it fails
}

func (s *Server) timeSeries(r *http.Request) (*monitoring.ListTimeSeriesResponse, error) {
	project, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, monitoringPrefix), "/")
	if r.Method != http.MethodGet || rest != "timeSeries" {
		return nil, notEmulated("%s %s", r.Method, r.URL.Path)
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	bearer, err := s.identity.Check(token)
	if err != nil {
		return nil, unauthenticated()
	}
	if !bearer.May(googleid.ScopePlatform) {
		return nil, scopeMissing()
	}
	refused := &apiError{
		code: http.StatusForbidden, reason: "forbidden", message: "Permission " + timeSeriesList + " denied (or the resource may not exist).",
	}
	if !slices.Contains(s.cfg.Projects, project) || !s.identity.Allowed(bearer.Email, timeSeriesList) {
		return nil, refused
	}
	if err := s.monitoringFault(refused); err != nil {
		return nil, err
	}
	q := r.URL.Query()
	for name := range q {
		if !slices.Contains([]string{"alt", "prettyPrint", "filter", "interval.startTime", "interval.endTime"}, name) {
			return nil, notEmulated("parameter %s of timeSeries.list", name)
		}
	}
	from, to, err := interval(q.Get("interval.startTime"), q.Get("interval.endTime"))
	if err != nil {
		return nil, err
	}
	want, err := parseMetricFilter(q.Get("filter"))
	if err != nil {
		return nil, err
	}
	return s.measured(r, project, want, from, to)
}

// monitoringFault takes the failures that were asked for.
func (s *Server) monitoringFault(refused error) error {
	switch s.cfg.Faults.Take(monitoringService, timeSeriesAction, "", play.Throttle, play.Deny, play.Unavailable, play.Drop) {
	case play.Throttle:
		return &apiError{
			code: http.StatusTooManyRequests, reason: "rateLimitExceeded",
			message: "Quota exceeded for quota metric 'Time series queries' and limit 'Time series queries per minute' of service 'monitoring.googleapis.com'.",
		}
	case play.Deny:
		return refused
	case play.Unavailable:
		return &apiError{code: http.StatusServiceUnavailable, reason: "backendError", message: "The service is currently unavailable."}
	case play.Drop:
		return errDrop
	default:
		return nil
	}
}

func interval(start, end string) (from, to time.Time, err error) {
	to, err = time.Parse(time.RFC3339, end)
	if err != nil {
		return from, to, invalid("Field interval.endTime had an invalid value of %q", end)
	}
	from = to
	if start != "" {
		if from, err = time.Parse(time.RFC3339, start); err != nil || from.After(to) {
			return from, to, invalid("Field interval.startTime had an invalid value of %q", start)
		}
	}
	return from, to, nil
}

// metricFilter is what a filter asks for.
type metricFilter struct{ metric, instance string } // instance is project:name; empty: all

var filterTerm = regexp.MustCompile(`^([a-z._]+)\s*=\s*"([^"]*)"$`)

// parseMetricFilter understands comparisons of the metric's type and the instance, joined by AND.
func parseMetricFilter(filter string) (f metricFilter, err error) {
	for term := range strings.SplitSeq(filter, " AND ") {
		m := filterTerm.FindStringSubmatch(strings.TrimSpace(term))
		if m == nil {
			return f, notEmulated("filter %s", filter)
		}
		switch m[1] {
		case "metric.type":
			f.metric = m[2]
		case "resource.labels.database_id", "resource.label.database_id":
			f.instance = m[2]
		case "resource.type":
			if m[2] != "cloudsql_database" {
				return f, notEmulated("filter by resource.type %s", m[2])
			}
		default:
			return f, notEmulated("filter by %s", m[1])
		}
	}
	if f.metric == "" {
		return f, invalid("Field filter had an invalid value of %q: must specify a restriction on \"metric.type\"", filter)
	}
	return f, nil
}

// gauge is a metric of Cloud SQL: its values of a point, by the label that tells them apart.
type gauge struct {
	label   string
	integer bool
	of      func(p meter.Point, disk float64) map[string]float64
}

// gauges are the metrics that are played. There are no read replicas, and so no values of their lag.
func gauges() map[string]gauge {
	one := func(v float64) map[string]float64 { return map[string]float64{"": v} }
	return map[string]gauge{
		metricFamily + "cpu/utilization": {of: func(p meter.Point, _ float64) map[string]float64 {
			if p.CPU == nil {
				return nil
			}
			return one(*p.CPU)
		}},
		metricFamily + "disk/bytes_used": {integer: true, of: func(p meter.Point, _ float64) map[string]float64 { return one(float64(p.Bytes)) }},
		metricFamily + "disk/quota":      {integer: true, of: func(_ meter.Point, disk float64) map[string]float64 { return one(disk) }},
		metricFamily + "postgresql/num_backends": {label: "database", integer: true, of: func(p meter.Point, _ float64) map[string]float64 {
			out := map[string]float64{"postgres": 0}
			for name, n := range p.Connections {
				out[name] = float64(n)
			}
			return out
		}},
		metricFamily + "replication/replica_lag": {of: func(meter.Point, float64) map[string]float64 { return nil }},
	}
}

func (s *Server) measured(r *http.Request, project string, want metricFilter, from, to time.Time) (*monitoring.ListTimeSeriesResponse, error) {
	g, ok := gauges()[want.metric]
	if !ok {
		return nil, &apiError{
			code: http.StatusNotFound, reason: "notFound",
			message: "Cannot find metric(s) that match type = \"" + want.metric + "\". If a metric was created recently, it could take up to 10 minutes to become available.",
		}
	}
	type target struct {
		id, region, server string
		disk               float64
	}
	var targets []target
	s.mu.Lock()
	for _, i := range s.sorted(project) {
		t := target{project + ":" + i.DB.Name, i.DB.Region, i.Server, float64(i.DB.Settings.DataDiskSizeGb) * (1 << 30)}
		if want.instance == "" || want.instance == t.id {
			targets = append(targets, t)
		}
	}
	s.mu.Unlock()
	out := &monitoring.ListTimeSeriesResponse{}
	for _, t := range targets {
		server := s.cfg.World.Server(t.server)
		if server == nil {
			continue
		}
		points := s.meter.Points(r.Context(), t.server, server, from, to.Add(1)) // the end is included
		slices.Reverse(points)                                                   // the newest first
		series := map[string]*monitoring.TimeSeries{}
		for _, p := range points {
			for label, v := range g.of(p, t.disk) {
				one := series[label]
				if one == nil {
					one = &monitoring.TimeSeries{
						Metric: &monitoring.Metric{Type: want.metric}, MetricKind: "GAUGE", ValueType: "DOUBLE",
						Resource: &monitoring.MonitoredResource{
							Type: "cloudsql_database", Labels: map[string]string{"database_id": t.id, "project_id": project, "region": t.region},
						},
					}
					if g.integer {
						one.ValueType = "INT64"
					}
					if g.label != "" {
						one.Metric.Labels = map[string]string{g.label: label}
					}
					series[label] = one
				}
				at := p.At.Format(time.RFC3339)
				point := &monitoring.Point{Interval: &monitoring.TimeInterval{StartTime: at, EndTime: at}, Value: &monitoring.TypedValue{DoubleValue: &v}}
				if g.integer {
					point.Value = &monitoring.TypedValue{Int64Value: new(int64(v))}
				}
				one.Points = append(one.Points, point)
			}
		}
		for _, label := range slices.Sorted(maps.Keys(series)) {
			out.TimeSeries = append(out.TimeSeries, series[label])
		}
	}
	return out, nil
}
