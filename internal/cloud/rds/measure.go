package rds

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

var _ cloud.Measurer = (*Provider)(nil)

const (
	// loadWindow is how old a figure may be: CloudWatch has one a minute, and gets it some minutes late.
	loadWindow = 15 * time.Minute
	// maxQueries is how many metrics CloudWatch answers in one request.
	maxQueries = 500
)

// The metrics of an instance. ReplicaLag is one of read replicas only.
const (
	cpuMetric         = "CPUUtilization"   // percent
	freeMetric        = "FreeStorageSpace" // bytes
	connectionsMetric = "DatabaseConnections"
	lagMetric         = "ReplicaLag" // seconds; -1 while replication does not run
)

var loadMetrics = [...]string{cpuMetric, freeMetric, connectionsMetric, lagMetric} //nolint:gochecknoglobals // a constant

// Measure returns what CloudWatch measured of instances. What is used of a disk is its size less what is free: where RDS does not tell the size,
// it is left empty.
func (p *Provider) Measure(ctx context.Context, names ...string) (map[string]cloud.Load, error) {
	op := "measure RDS instances of " + p.aws.Config.Region
	if len(names) == 1 {
		op = p.op("measure", names[0])
	}
	for _, name := range names {
		if err := p.check(op, name); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	sizes := make(chan map[string]int64, 1)
	go func() { sizes <- p.sizes(ask, names) }()
	points, err := p.latest(ask, op, names)
	size := <-sizes
	out := map[string]cloud.Load{}
	for _, name := range names {
		id := strings.ToLower(name)
		if l := load(points[id], size[id]); !l.At.IsZero() {
			out[name] = l
		}
	}
	return out, p.aws.Fault(ctx, op, err)
}

// latest are the latest points of each instance, by its name in lower case, which is how CloudWatch knows it, and metric.
func (p *Provider) latest(ctx context.Context, op string, names []string) (map[string]map[string]cloud.Point, error) {
	var queries []cwtypes.MetricDataQuery
	for n, name := range names {
		for m, metric := range loadMetrics {
			queries = append(queries, cwtypes.MetricDataQuery{
				Id: aws.String("q" + strconv.Itoa(n) + "_" + strconv.Itoa(m)),
				MetricStat: &cwtypes.MetricStat{
					Metric: &cwtypes.Metric{
						Namespace: aws.String("AWS/RDS"), MetricName: aws.String(metric),
						Dimensions: []cwtypes.Dimension{{Name: aws.String("DBInstanceIdentifier"), Value: aws.String(strings.ToLower(name))}},
					},
					Period: aws.Int32(60), Stat: aws.String("Average"),
				},
			})
		}
	}
	out := map[string]map[string]cloud.Point{}
	broken := map[string]cwtypes.StatusCode{}
	end := time.Now().UTC().Truncate(time.Minute).Add(time.Minute)
	for some := range slices.Chunk(queries, maxQueries) {
		pages := cloudwatch.NewGetMetricDataPaginator(p.watch, &cloudwatch.GetMetricDataInput{
			StartTime: aws.Time(end.Add(-loadWindow)), EndTime: &end, MetricDataQueries: some, ScanBy: cwtypes.ScanByTimestampDescending,
		})
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				return out, err
			}
			for _, r := range page.MetricDataResults {
				name, metric, ok := queried(aws.ToString(r.Id), names)
				if !ok {
					continue
				}
				if out[name] == nil {
					out[name] = map[string]cloud.Point{}
				}
				for i := range min(len(r.Timestamps), len(r.Values)) {
					if at := r.Timestamps[i].UTC(); at.After(out[name][metric].At) {
						out[name][metric] = cloud.Point{At: at, Value: r.Values[i]}
					}
				}
				if r.StatusCode == cwtypes.StatusCodeInternalError || r.StatusCode == cwtypes.StatusCodeForbidden {
					broken[name] = r.StatusCode
				}
			}
		}
	}
	for name, status := range broken {
		if len(out[name]) == 0 { // with some of its figures, the others are left out
			return out, fault.Newf(fault.Unavailable, op, "CloudWatch answers %s for the metrics of %s", status, name).Hint("try again in a minute")
		}
	}
	return out, nil
}

// queried is what a query was about.
func queried(id string, names []string) (name, metric string, ok bool) {
	first, second, _ := strings.Cut(strings.TrimPrefix(id, "q"), "_")
	n, err := strconv.Atoi(first)
	if err != nil || n < 0 || n >= len(names) {
		return "", "", false
	}
	m, err := strconv.Atoi(second)
	if err != nil || m < 0 || m >= len(loadMetrics) {
		return "", "", false
	}
	return strings.ToLower(names[n]), loadMetrics[m], true
}

// load is what an instance's points mean, on a disk of size bytes; 0 if that is not known.
func load(points map[string]cloud.Point, size int64) cloud.Load {
	var l cloud.Load
	l.Take(points[cpuMetric], func(v float64) { l.CPU = new(v / 100) })
	l.Take(points[connectionsMetric], func(v float64) { l.Connections = new(int(math.Round(v))) })
	l.Take(points[freeMetric], func(v float64) {
		free := int64(v)
		if l.StorageFree = &free; size > 0 && size >= free {
			l.StorageUsed = new(size - free)
		}
	})
	l.Take(points[lagMetric], func(v float64) { l.ReplicaLag = new(time.Duration(v * float64(time.Second))) })
	return l
}

// sizes are those of the instances' disks in bytes, by names in lower case; empty if RDS does not tell.
func (p *Provider) sizes(ctx context.Context, names []string) map[string]int64 {
	ctx, cancel := context.WithTimeout(ctx, asideTimeout)
	defer cancel()
	in := &sdk.DescribeDBInstancesInput{}
	if len(names) == 1 {
		in.DBInstanceIdentifier = &names[0]
	}
	out := map[string]int64{}
	pages := sdk.NewDescribeDBInstancesPaginator(p.api, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, once)
		if err != nil {
			return out
		}
		for _, db := range page.DBInstances {
			if gib := storage(db).GiB; gib > 0 {
				out[aws.ToString(db.DBInstanceIdentifier)] = gib << 30
			}
		}
	}
	return out
}
