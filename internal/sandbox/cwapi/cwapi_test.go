package cwapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/smithy-go"
	"go.uber.org/goleak"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/meter"
	"dbops/internal/sandbox/play"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const region = "eu-west-1"

// noon is when the values of the tests begin: 1, 2, 3 and 4, one a minute.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

type played struct {
	url    string
	keys   *awsid.Keys
	faults *play.Faults
}

func start(t *testing.T) *played {
	t.Helper()
	p := &played{faults: &play.Faults{}}
	var err error
	p.keys, err = awsid.Open(awsid.Config{Account: "123456789012", Region: region, Principals: []awsid.Principal{
		{Name: "user/watcher", Allow: awsid.Actions("cloudwatch:GetMetricData")}, {Name: "user/nobody"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	api := New(Config{Keys: p.keys, Faults: p.faults, Series: map[string]Series{
		"AWS/RDS": func(_ context.Context, metric string, dimensions map[string]string, from, to time.Time) (out []meter.Value) {
			if metric != "DatabaseConnections" || dimensions["DBInstanceIdentifier"] != "orders" {
				return nil
			}
			for i := range 4 {
				if at := noon.Add(time.Duration(i) * time.Minute); !at.Before(from) && at.Before(to) {
					out = append(out, meter.Value{At: at, Value: float64(i + 1)})
				}
			}
			return out
		},
	}})
	server := httptest.NewServer(awsid.Front(map[string]http.Handler{Scope: api}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

func (p *played) credentials(t *testing.T, who string) aws.CredentialsProvider {
	t.Helper()
	id, key, ok := p.keys.Credentials(who)
	if !ok {
		t.Fatalf("nobody is called %s", who)
	}
	return credentials.NewStaticCredentialsProvider(id, key.Reveal(), "")
}

func (p *played) client(t *testing.T, who string) *cloudwatch.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return cloudwatch.New(cloudwatch.Options{
		Region: region, BaseEndpoint: &p.url, Credentials: p.credentials(t, who), RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: transport},
	})
}

func ask(id, metric string, period int32, stat string) types.MetricDataQuery {
	return types.MetricDataQuery{Id: &id, MetricStat: &types.MetricStat{
		Metric: &types.Metric{
			Namespace: new("AWS/RDS"), MetricName: &metric, Dimensions: []types.Dimension{{Name: new("DBInstanceIdentifier"), Value: new("orders")}},
		},
		Period: &period, Stat: &stat,
	}}
}

func hour(queries ...types.MetricDataQuery) *cloudwatch.GetMetricDataInput {
	return &cloudwatch.GetMetricDataInput{StartTime: new(noon.Add(-time.Hour)), EndTime: new(noon.Add(time.Hour)), MetricDataQueries: queries}
}

func TestTheGoSDKReadsMetrics(t *testing.T) {
	t.Parallel()
	c := start(t).client(t, "user/watcher")
	in := hour(ask("a", "DatabaseConnections", 60, "Average"), ask("b", "NoSuchMetric", 60, "Average"), ask("c", "DatabaseConnections", 120, "Sum"))
	in.MetricDataQueries[2].ReturnData = new(true)
	out, err := c.GetMetricData(t.Context(), in)
	if err != nil || len(out.MetricDataResults) != 3 {
		t.Fatalf("got %+v, %v", out, err)
	}
	r := out.MetricDataResults
	if !slices.Equal(r[0].Values, []float64{4, 3, 2, 1}) || !r[0].Timestamps[0].Equal(noon.Add(3*time.Minute)) || *r[0].Id != "a" || r[0].StatusCode != types.StatusCodeComplete {
		t.Errorf("the newest first: %+v", r[0])
	}
	if len(r[1].Values) != 0 || r[1].StatusCode != types.StatusCodeComplete {
		t.Errorf("a metric that nobody has: %+v", r[1])
	}
	if !slices.Equal(r[2].Values, []float64{7, 3}) || !r[2].Timestamps[1].Equal(noon) {
		t.Errorf("sums of two minutes: %+v", r[2])
	}
	in = hour(ask("a", "DatabaseConnections", 60, "Maximum"))
	in.StartTime, in.EndTime, in.ScanBy = new(noon.Add(70*time.Second)), new(noon.Add(3*time.Minute)), types.ScanByTimestampAscending
	if out, err = c.GetMetricData(t.Context(), in); err != nil || !slices.Equal(out.MetricDataResults[0].Values, []float64{2, 3}) {
		t.Errorf("a part of them, the oldest first: %+v, %v", out, err)
	}
	in.MetricDataQueries[0].ReturnData = new(false)
	if out, err = c.GetMetricData(t.Context(), in); err != nil || len(out.MetricDataResults) != 0 {
		t.Errorf("what is not to be returned: %+v, %v", out, err)
	}
}

func code(err error) string {
	if e, ok := errors.AsType[smithy.APIError](err); ok {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	c := p.client(t, "user/watcher")
	many := make([]types.MetricDataQuery, maxQueries+1)
	for i := range many {
		many[i] = ask("a"+strings.Repeat("x", i), "CPUUtilization", 60, "Average")
	}
	backwards := hour(ask("a", "CPUUtilization", 60, "Average"))
	backwards.StartTime, backwards.EndTime = backwards.EndTime, backwards.StartTime
	pages := hour(ask("a", "CPUUtilization", 60, "Average"))
	pages.MaxDatapoints = new(int32(10))
	for name, one := range map[string]struct {
		in   *cloudwatch.GetMetricDataInput
		want string
	}{
		"the end before the begin": {backwards, "ValidationError"},
		"an id in capitals":        {hour(ask("A", "CPUUtilization", 60, "Average")), "ValidationError"},
		"an id twice":              {hour(ask("a", "CPUUtilization", 60, "Average"), ask("a", "CPUUtilization", 60, "Average")), "ValidationError"},
		"half a minute":            {hour(ask("a", "CPUUtilization", 30, "Average")), "ValidationError"},
		"a percentile":             {hour(ask("a", "CPUUtilization", 60, "p99")), "ValidationError"},
		"too many":                 {hour(many...), "ValidationError"},
		"an expression":            {hour(types.MetricDataQuery{Id: new("a"), Expression: new("SEARCH('x')")}), "NotImplemented"},
		"pages":                    {pages, "NotImplemented"},
	} {
		if _, err := c.GetMetricData(t.Context(), one.in); code(err) != one.want {
			t.Errorf("%s: %v, want %s", name, err, one.want)
		}
	}
	if _, err := c.ListMetrics(t.Context(), &cloudwatch.ListMetricsInput{}); code(err) != "NotImplemented" || !strings.Contains(err.Error(), "cloudwatch ListMetrics") {
		t.Errorf("another action: %v", err)
	}
	good := hour(ask("a", "CPUUtilization", 60, "Average"))
	_, err := p.client(t, "user/nobody").GetMetricData(t.Context(), good)
	if got := code(err); got != "AccessDenied" || !strings.Contains(err.Error(), "not authorized to perform: cloudwatch:GetMetricData") {
		t.Errorf("without the permission: %s, %v", got, err)
	}
	for effect, want := range map[play.Effect]string{play.Throttle: "Throttling", play.Unavailable: "ServiceUnavailable"} {
		p.faults.Add(play.Fault{Service: "cloudwatch", Action: "GetMetricData", Effect: effect, Count: 1})
		if _, err := c.GetMetricData(t.Context(), good); code(err) != want {
			t.Errorf("%s: %v", effect, err)
		}
	}
}

// older asks as clients do that speak the query protocol.
func (p *played) older(t *testing.T, form url.Values) (status int, answer string) {
	t.Helper()
	body := form.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	creds, err := p.credentials(t, "user/watcher").Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(t.Context(), creds, req, hex.EncodeToString(sum[:]), Scope, region, time.Now()); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestTheQueryProtocol(t *testing.T) {
	t.Parallel()
	p := start(t)
	form := func(change ...string) url.Values {
		f := url.Values{
			"Action": {"GetMetricData"}, "Version": {"2010-08-01"}, "StartTime": {"2026-11-30T12:01:00Z"}, "EndTime": {"2026-11-30T12:03:00.000Z"},
			"MetricDataQueries.member.1.Id":                                          {"a"},
			"MetricDataQueries.member.1.ReturnData":                                  {"true"},
			"MetricDataQueries.member.1.MetricStat.Metric.Namespace":                 {"AWS/RDS"},
			"MetricDataQueries.member.1.MetricStat.Metric.MetricName":                {"DatabaseConnections"},
			"MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name":  {"DBInstanceIdentifier"},
			"MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Value": {"orders"},
			"MetricDataQueries.member.1.MetricStat.Period":                           {"60"},
			"MetricDataQueries.member.1.MetricStat.Stat":                             {"Average"},
		}
		for i := 0; i < len(change); i += 2 {
			f.Set(change[i], change[i+1])
		}
		return f
	}
	status, answer := p.older(t, form())
	want := "<MetricDataResults><member><Id>a</Id><Label>DatabaseConnections</Label>" +
		"<Timestamps><member>2026-11-30T12:02:00Z</member><member>2026-11-30T12:01:00Z</member></Timestamps>" +
		"<Values><member>3</member><member>2</member></Values><StatusCode>Complete</StatusCode></member></MetricDataResults>"
	if status != 200 || !strings.Contains(answer, want) {
		t.Errorf("%d %s", status, answer)
	}
	for name, one := range map[string]struct{ key, value, want string }{
		"a version that is not played": {"Version", "2009-01-01", "<Code>InvalidParameterValue</Code>"},
		"another action":               {"Action", "ListMetrics", "<Code>NotImplemented</Code>"},
		"a unit":                       {"MetricDataQueries.member.1.MetricStat.Unit", "Percent", "Unit of GetMetricData"},
		"no number":                    {"MetricDataQueries.member.1.MetricStat.Period", "x", "<Code>MalformedInput</Code>"},
		"no time":                      {"StartTime", "yesterday", "<Code>MalformedInput</Code>"},
		"an expression":                {"MetricDataQueries.member.1.Expression", "1", "Expression of GetMetricData"},
	} {
		if status, answer := p.older(t, form(one.key, one.value)); status < 400 || !strings.Contains(answer, one.want) {
			t.Errorf("%s: %d %s, want %s", name, status, answer, one.want)
		}
	}
}
