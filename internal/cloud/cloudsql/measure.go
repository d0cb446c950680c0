package cloudsql

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/auth"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/googleapi"
	monitoring "google.golang.org/api/monitoring/v3"
	"google.golang.org/api/option"

	"dbops/internal/cloud"
	"dbops/internal/cloud/gcpclient"
)

var _ cloud.Measurer = (*Provider)(nil)

// loadWindow is how old a figure may be: Cloud Monitoring has one a minute, and shows it up to four minutes late.
const loadWindow = 15 * time.Minute

// The metrics of an instance.
const (
	metricPrefix      = "cloudsql.googleapis.com/database/"
	cpuMetric         = "cpu/utilization" // share of its processors
	usedMetric        = "disk/bytes_used"
	quotaMetric       = "disk/quota"              // size of the disk, bytes
	connectionsMetric = "postgresql/num_backends" // of one database each
	lagMetric         = "replication/replica_lag" // seconds, of read replicas only
)

var loadMetrics = [...]string{cpuMetric, usedMetric, quotaMetric, connectionsMetric, lagMetric} //nolint:gochecknoglobals // a constant

// watch is the SDK's client of Cloud Monitoring, made anew when the credentials were.
type watch struct {
	endpoint string // empty: Google's

	mu    sync.Mutex
	api   *monitoring.Service
	creds *auth.Credentials // that api holds
}

func (w *watch) service(ctx context.Context, google *gcpclient.Client) (*monitoring.Service, error) {
	opts, creds, err := google.Options()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.api != nil && w.creds == creds {
		return w.api, nil
	}
	if w.endpoint != "" {
		opts = append(opts, option.WithEndpoint(w.endpoint))
	}
	api, err := monitoring.NewService(context.WithoutCancel(ctx), opts...) // it outlives this request
	if err != nil {
		return nil, err
	}
	w.api, w.creds = api, creds
	return api, nil
}

// Measure returns what Cloud Monitoring measured of instances of the project.
func (p *Provider) Measure(ctx context.Context, names ...string) (map[string]cloud.Load, error) {
	q := gcpclient.Question{
		Op: "measure Cloud SQL instances of " + p.project, Permission: "monitoring.timeSeries.list", Role: "roles/monitoring.viewer",
		API: "monitoring.googleapis.com", Project: p.project,
	}
	if len(names) == 1 {
		q.Op = p.op("measure", names[0])
	}
	for _, name := range names {
		if err := named(q, name); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	ask, cancel := context.WithTimeout(ctx, gcpclient.Timeout)
	defer cancel()
	api, err := p.watch.service(ctx, p.google)
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	points, err := p.latest(ask, api, names)
	if err != nil {
		return nil, p.google.Fault(ctx, q, err)
	}
	out := map[string]cloud.Load{}
	for _, name := range names {
		if l := load(points, name); !l.At.IsZero() {
			out[name] = l
		}
	}
	return out, nil
}

// latest are the latest points of each metric, by instance. A request is about one metric and all instances of the project, or about one. A metric
// that no instance of the project ever had, such as the lag of replicas, is unknown to Cloud Monitoring.
func (p *Provider) latest(ctx context.Context, api *monitoring.Service, names []string) (map[string]map[string]cloud.Point, error) {
	var mu sync.Mutex
	out := map[string]map[string]cloud.Point{}
	var unknown error
	g, ctx := errgroup.WithContext(ctx)
	for _, metric := range loadMetrics {
		g.Go(func() error {
			of, err := p.series(ctx, api, metric, names)
			mu.Lock()
			defer mu.Unlock()
			if e, ok := errors.AsType[*googleapi.Error](err); ok && e.Code == http.StatusNotFound {
				unknown = err
				return nil
			}
			out[metric] = of
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, unknown
	}
	return out, nil
}

// series are the latest points of a metric by instance. Those of several databases are added up.
func (p *Provider) series(ctx context.Context, api *monitoring.Service, metric string, names []string) (map[string]cloud.Point, error) {
	filter := fmt.Sprintf(`metric.type = %q AND resource.type = "cloudsql_database"`, metricPrefix+metric)
	if len(names) == 1 {
		filter += fmt.Sprintf(" AND resource.labels.database_id = %q", p.project+":"+names[0])
	}
	now := time.Now().UTC()
	out := map[string]cloud.Point{}
	for token, more := "", true; more; more = token != "" {
		var page *monitoring.ListTimeSeriesResponse
		err := gcpclient.Read(ctx, func(ctx context.Context) (err error) {
			call := api.Projects.TimeSeries.List("projects/" + p.project).Filter(filter).
				IntervalStartTime(now.Add(-loadWindow).Format(time.RFC3339)).IntervalEndTime(now.Format(time.RFC3339)).Context(ctx)
			if token != "" {
				call = call.PageToken(token)
			}
			page, err = call.Do()
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, s := range page.TimeSeries {
			if name, ok := instanceOf(s, p.project); ok {
				add(out, name, newest(s))
			}
		}
		token = page.NextPageToken
	}
	return out, nil
}

// add keeps the newest point of an instance, and the sum of those of one minute.
func add(to map[string]cloud.Point, name string, p cloud.Point) {
	have, known := to[name]
	switch {
	case p.At.IsZero():
	case !known || p.At.After(have.At.Add(30*time.Second)):
		to[name] = p
	case p.At.After(have.At.Add(-30 * time.Second)):
		to[name] = cloud.Point{At: have.At, Value: have.Value + p.Value}
	}
}

func instanceOf(s *monitoring.TimeSeries, project string) (string, bool) {
	if s.Resource == nil {
		return "", false
	}
	return strings.CutPrefix(s.Resource.Labels["database_id"], project+":")
}

// newest is the newest point of a series; zero if it has none.
func newest(s *monitoring.TimeSeries) (out cloud.Point) {
	for _, p := range s.Points {
		if p.Interval == nil || p.Value == nil {
			continue
		}
		at := parseTime(p.Interval.EndTime)
		if !at.After(out.At) {
			continue
		}
		switch v := p.Value; {
		case v.DoubleValue != nil:
			out = cloud.Point{At: at, Value: *v.DoubleValue}
		case v.Int64Value != nil:
			out = cloud.Point{At: at, Value: float64(*v.Int64Value)}
		}
	}
	return out
}

// load is what the points of an instance mean.
func load(points map[string]map[string]cloud.Point, name string) cloud.Load {
	var l cloud.Load
	l.Take(points[cpuMetric][name], func(v float64) { l.CPU = &v })
	l.Take(points[connectionsMetric][name], func(v float64) { l.Connections = new(int(math.Round(v))) })
	l.Take(points[usedMetric][name], func(v float64) { l.StorageUsed = new(int64(v)) })
	l.Take(points[quotaMetric][name], func(v float64) {
		if l.StorageUsed != nil {
			l.StorageFree = new(max(0, int64(v)-*l.StorageUsed))
		}
	})
	l.Take(points[lagMetric][name], func(v float64) { l.ReplicaLag = new(time.Duration(v * float64(time.Second))) })
	return l
}
