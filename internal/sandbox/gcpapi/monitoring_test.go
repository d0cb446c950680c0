package gcpapi

import (
	"testing"
	"time"

	monitoring "google.golang.org/api/monitoring/v3"
	"google.golang.org/api/option"

	"dbops/internal/sandbox/play"
)

// monitor is the real client of Cloud Monitoring, as somebody.
func (c *cloud) monitor(t *testing.T, email string, scopes ...string) *monitoring.Service {
	t.Helper()
	svc, err := monitoring.NewService(t.Context(), option.WithEndpoint(c.http.URL+"/"), option.WithTokenSource(c.source(t, email, scopes...)))
	if err != nil {
		t.Fatal(err)
	}
	return svc
}

func TestTimeSeries(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.adopt(t, Attributes{DiskGB: 30})
	conn, err := c.Server.Server(project, name).DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	svc := c.monitor(t, admin)
	list := func(svc *monitoring.Service, filter string) ([]*monitoring.TimeSeries, error) {
		now := time.Now().UTC()
		out, err := svc.Projects.TimeSeries.List("projects/" + project).Filter(filter).
			IntervalStartTime(now.Add(-10 * time.Minute).Format(time.RFC3339)).IntervalEndTime(now.Format(time.RFC3339)).Context(t.Context()).Do()
		if err != nil {
			return nil, err
		}
		return out.TimeSeries, nil
	}
	of := func(metric string) string {
		return `metric.type = "` + metricFamily + metric + `" AND resource.type = "cloudsql_database" AND resource.labels.database_id = "` + project + ":" + name + `"`
	}
	values := map[string]*monitoring.TypedValue{}
	for _, metric := range []string{"cpu/utilization", "disk/bytes_used", "disk/quota", "postgresql/num_backends"} {
		got, err := list(svc, of(metric))
		if err != nil || len(got) != 1 || len(got[0].Points) != 1 {
			t.Fatalf("%s: %+v, %v", metric, got, err)
		}
		s := got[0]
		if s.Metric.Type != metricFamily+metric || s.Resource.Labels["database_id"] != project+":"+name || s.Resource.Labels["region"] != region {
			t.Errorf("%s is of %+v, %+v", metric, s.Metric, s.Resource)
		}
		at, err := time.Parse(time.RFC3339, s.Points[0].Interval.EndTime)
		if age := time.Since(at); err != nil || age < metricDelay || age > metricDelay+2*time.Minute || at.Second() != 0 {
			t.Errorf("%s: the point is of %s, %v", metric, at, err)
		}
		values[metric] = s.Points[0].Value
	}
	if v := values["cpu/utilization"].DoubleValue; v == nil || *v < 0 || *v > 1 {
		t.Errorf("CPU %v", v)
	}
	if v := values["disk/bytes_used"].Int64Value; v == nil || *v < 1<<20 {
		t.Errorf("used %v", v)
	}
	if v := values["disk/quota"].Int64Value; v == nil || *v != 30<<30 {
		t.Errorf("size %v", v)
	}
	if v := values["postgresql/num_backends"].Int64Value; v == nil || *v != 1 {
		t.Errorf("sessions %v", v)
	}
	if got, err := list(svc, of("replication/replica_lag")); err != nil || len(got) != 0 {
		t.Errorf("the lag of a primary: %+v, %v", got, err)
	}
	all, err := list(svc, `metric.type = "`+metricFamily+`disk/quota"`)
	if err != nil || len(all) == 0 {
		t.Errorf("of all instances: %d, %v", len(all), err)
	}

	_, err = list(svc, of("no/such"))
	want(t, "a metric that is not there", err, 404, "notFound", "Cannot find metric(s)")
	_, err = list(svc, `resource.type = "cloudsql_database"`)
	want(t, "no metric", err, 400, "invalidRequest", "metric.type")
	_, err = list(svc, of("disk/quota")+` OR metric.type = "x"`)
	want(t, "more than is played", err, 501, "notImplemented", "filter")
	_, err = svc.Projects.TimeSeries.List("projects/" + project).Filter(of("disk/quota")).AggregationPerSeriesAligner("ALIGN_MEAN").Context(t.Context()).Do()
	want(t, "an aggregation", err, 501, "notImplemented", "aggregation.perSeriesAligner")
	_, err = svc.Projects.TimeSeries.List("projects/" + project).Filter(of("disk/quota")).IntervalEndTime("now").Context(t.Context()).Do()
	want(t, "no time", err, 400, "invalidRequest", "interval.endTime")
	_, err = svc.Projects.TimeSeries.List("projects/somebody-elses").Filter(of("disk/quota")).Context(t.Context()).Do()
	want(t, "another project", err, 403, "forbidden", "monitoring.timeSeries.list")
	_, err = list(c.monitor(t, robot), of("disk/quota"))
	want(t, "without the permission", err, 403, "forbidden", "Permission monitoring.timeSeries.list denied")
	_, err = list(c.monitor(t, admin, "https://www.googleapis.com/auth/sqlservice.admin"), of("disk/quota"))
	want(t, "another scope", err, 403, "insufficientPermissions", "scopes")
}

func TestTimeSeriesFailOnRequest(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.monitor(t, admin)
	list := func() error {
		_, err := svc.Projects.TimeSeries.List("projects/" + project).Filter(`metric.type = "` + metricFamily + `disk/quota"`).
			IntervalEndTime(time.Now().UTC().Format(time.RFC3339)).Context(t.Context()).Do()
		return err
	}
	for effect, expect := range map[play.Effect]struct {
		code   int
		reason string
	}{play.Throttle: {429, "rateLimitExceeded"}, play.Deny: {403, "forbidden"}, play.Unavailable: {503, "backendError"}} {
		c.faults.Add(play.Fault{Service: monitoringService, Action: timeSeriesAction, Effect: effect})
		want(t, string(effect), list(), expect.code, expect.reason, "")
		c.faults.Clear()
	}
	if err := list(); err != nil {
		t.Error(err)
	}
}
