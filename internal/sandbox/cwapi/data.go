package cwapi

import (
	"context"
	"regexp"
	"slices"
	"time"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/meter"
)

const (
	getMetricData = "GetMetricData"
	maxQueries    = 500
	descending    = "TimestampDescending"
	ascending     = "TimestampAscending"
)

// input is what GetMetricData is asked, as far as it is played.
type input struct {
	StartTime, EndTime time.Time
	MetricDataQueries  []dataQuery
	ScanBy             string
}

type dataQuery struct {
	Id         string
	MetricStat *metricStat
	ReturnData *bool
}

type metricStat struct {
	Metric metric
	Period int
	Stat   string
}

type metric struct {
	Namespace, MetricName string
	Dimensions            []dimension
}

type dimension struct{ Name, Value string }

// output is what it answers.
type output struct {
	MetricDataResults []result
	Messages          []struct{}
}

type result struct {
	Id         string
	Label      string
	Timestamps []time.Time
	Values     []float64
	StatusCode string
}

var idForm = regexp.MustCompile(`^[a-z][A-Za-z0-9_]*$`)

func (a *API) getMetricData(ctx context.Context, in *input) (*output, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	out := &output{MetricDataResults: []result{}, Messages: []struct{}{}}
	for _, q := range in.MetricDataQueries {
		if q.ReturnData != nil && !*q.ReturnData {
			continue
		}
		m := q.MetricStat.Metric
		r := result{Id: q.Id, Label: m.MetricName, Timestamps: []time.Time{}, Values: []float64{}, StatusCode: "Complete"}
		if series := a.cfg.Series[m.Namespace]; series != nil {
			dimensions := map[string]string{}
			for _, d := range m.Dimensions {
				dimensions[d.Name] = d.Value
			}
			period := time.Duration(q.MetricStat.Period) * time.Second
			values := series(ctx, m.MetricName, dimensions, in.StartTime.Truncate(time.Minute), in.EndTime)
			r.fill(values, period, q.MetricStat.Stat)
		}
		if in.ScanBy != ascending {
			slices.Reverse(r.Timestamps)
			slices.Reverse(r.Values)
		}
		out.MetricDataResults = append(out.MetricDataResults, r)
	}
	return out, nil
}

// check refuses what CloudWatch refuses.
func (in *input) check() error {
	wrong := func(format string, args ...any) error { return awsid.Newf(400, "ValidationError", format, args...) }
	switch {
	case in.StartTime.IsZero() || in.EndTime.IsZero() || len(in.MetricDataQueries) == 0:
		return awsid.Newf(400, "MissingParameter", "The request must contain the parameters StartTime, EndTime and MetricDataQueries.")
	case !in.StartTime.Before(in.EndTime):
		return wrong("The parameter StartTime must be less than the parameter EndTime.")
	case len(in.MetricDataQueries) > maxQueries:
		return wrong("The collection MetricDataQueries must not have a size greater than %d.", maxQueries)
	case in.ScanBy != "" && in.ScanBy != ascending && in.ScanBy != descending:
		return wrong("ScanBy is %q, and not one of [%s, %s]", in.ScanBy, descending, ascending)
	}
	seen := map[string]bool{}
	for _, q := range in.MetricDataQueries {
		switch {
		case !idForm.MatchString(q.Id):
			return wrong("The value %q of Id must match %s", q.Id, idForm)
		case seen[q.Id]:
			return wrong("The Id %q is not unique", q.Id)
		case q.MetricStat == nil:
			return awsid.NotEmulated("cloudwatch metric math")
		case q.MetricStat.Period < 60 || q.MetricStat.Period%60 != 0:
			return wrong("Period is %d: it must be a multiple of 60", q.MetricStat.Period)
		case statistics()[q.MetricStat.Stat] == nil:
			return wrong("The value %q of Stat is not a valid statistic here", q.MetricStat.Stat)
		}
		seen[q.Id] = true
	}
	return nil
}

// statistics are those that are played.
func statistics() map[string]func([]float64) float64 {
	sum := func(v []float64) (s float64) {
		for _, x := range v {
			s += x
		}
		return s
	}
	return map[string]func([]float64) float64{
		"Sum": sum, "Minimum": slices.Min[[]float64], "Maximum": slices.Max[[]float64],
		"SampleCount": func(v []float64) float64 { return float64(len(v)) },
		"Average":     func(v []float64) float64 { return sum(v) / float64(len(v)) },
	}
}

// fill makes one point of each period.
func (r *result) fill(values []meter.Value, period time.Duration, stat string) {
	of := statistics()[stat]
	for len(values) > 0 {
		at := values[0].At.Truncate(period)
		var some []float64
		for len(values) > 0 && values[0].At.Truncate(period).Equal(at) {
			some, values = append(some, values[0].Value), values[1:]
		}
		r.Timestamps, r.Values = append(r.Timestamps, at), append(r.Values, of(some))
	}
}
