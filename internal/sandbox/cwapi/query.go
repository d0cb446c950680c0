package cwapi

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"dbops/internal/sandbox/awsid"
)

const (
	namespace = "http://monitoring.amazonaws.com/doc/2010-08-01/"
	version   = "2010-08-01"
)

// query is the query protocol: a form, and XML.
type query struct{}

func (query) action(r *http.Request, body []byte) (string, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil || len(r.URL.Query()) > 0 {
		return "", awsid.Newf(400, "MalformedQueryString", "the request is not a form in its body")
	}
	if v := form.Get("Version"); v != version {
		return "", awsid.Newf(400, "InvalidParameterValue", "version %q of the API is not played, %s is", v, version)
	}
	return form.Get("Action"), nil
}

// parameters are those of a request that were not understood yet.
type parameters struct {
	left url.Values
	err  error // of the first that is wrong
}

func (p *parameters) take(key string) string {
	v := p.left.Get(key)
	p.left.Del(key)
	return v
}

func (p *parameters) under(prefix string) bool {
	for key := range p.left {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func (p *parameters) wrong(key, value string) {
	if p.err == nil {
		p.err = awsid.Newf(400, "MalformedInput", "%s cannot be %q", key, value)
	}
}

func (p *parameters) time(key string) (at time.Time) {
	v := p.take(key)
	if v == "" {
		return at
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		p.wrong(key, v)
	}
	return at
}

func (query) decode(body []byte, in *input) error {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err
	}
	form.Del("Action")
	form.Del("Version")
	p := &parameters{left: form}
	in.StartTime, in.EndTime, in.ScanBy = p.time("StartTime"), p.time("EndTime"), p.take("ScanBy")
	for n := 1; ; n++ {
		at := "MetricDataQueries.member." + strconv.Itoa(n) + "."
		if !p.under(at) {
			break
		}
		in.MetricDataQueries = append(in.MetricDataQueries, p.query(at))
	}
	if p.err != nil {
		return p.err
	}
	if len(p.left) > 0 {
		var names []string
		for key := range p.left {
			names = append(names, key)
		}
		return awsid.NotEmulated("parameter " + slices.Min(names) + " of GetMetricData")
	}
	return nil
}

func (p *parameters) query(at string) dataQuery {
	q := dataQuery{Id: p.take(at + "Id")}
	switch v := p.take(at + "ReturnData"); v {
	case "":
	case "true", "false":
		q.ReturnData = new(v == "true")
	default:
		p.wrong(at+"ReturnData", v)
	}
	if at += "MetricStat."; !p.under(at) {
		return q
	}
	q.MetricStat = &metricStat{
		Metric: metric{Namespace: p.take(at + "Metric.Namespace"), MetricName: p.take(at + "Metric.MetricName")}, Stat: p.take(at + "Stat"),
	}
	period := p.take(at + "Period")
	var err error
	if q.MetricStat.Period, err = strconv.Atoi(period); err != nil {
		p.wrong(at+"Period", period)
	}
	for n := 1; ; n++ {
		at := at + "Metric.Dimensions.member." + strconv.Itoa(n) + "."
		if !p.under(at) {
			return q
		}
		q.MetricStat.Metric.Dimensions = append(q.MetricStat.Metric.Dimensions, dimension{Name: p.take(at + "Name"), Value: p.take(at + "Value")})
	}
}

// results is output in XML.
type results struct {
	XMLName xml.Name `xml:"MetricDataResults"`
	Members []member `xml:"member"`
}

type member struct {
	Id         string
	Label      string
	Timestamps []string  `xml:"Timestamps>member"`
	Values     []float64 `xml:"Values>member"`
	StatusCode string
}

func (query) write(w http.ResponseWriter, action string, out *output, err error) {
	if err != nil {
		awsid.WriteError(w, namespace, err)
		return
	}
	var x results
	for _, r := range out.MetricDataResults {
		m := member{Id: r.Id, Label: r.Label, Values: r.Values, StatusCode: r.StatusCode}
		for _, at := range r.Timestamps {
			m.Timestamps = append(m.Timestamps, at.UTC().Format(time.RFC3339))
		}
		x.Members = append(x.Members, m)
	}
	var b bytes.Buffer
	if err := xml.NewEncoder(&b).Encode(x); err != nil {
		awsid.WriteError(w, namespace, err)
		return
	}
	awsid.WriteResult(w, namespace, action, b.Bytes())
}
