package rdsapi

import (
	"context"
	"time"

	"dbops/internal/sandbox/meter"
)

const (
	// MetricNamespace is where CloudWatch has the metrics of RDS.
	MetricNamespace = "AWS/RDS"
	// metricDelay is how long after its begin a minute can be seen in CloudWatch.
	metricDelay = time.Minute
)

// Metric is what CloudWatch has of an instance, for cwapi: the figures of its server, on a disk of the size that it was given. There are no read
// replicas, and so no values of ReplicaLag.
func (a *API) Metric(ctx context.Context, name string, dimensions map[string]string, from, to time.Time) []meter.Value {
	a.mu.Lock()
	in := a.state.Instances[dimensions["DBInstanceIdentifier"]]
	if in == nil || len(dimensions) != 1 {
		a.mu.Unlock()
		return nil
	}
	id, disk := in.ServerID, float64(value(in.DB.AllocatedStorage))*(1<<30)
	a.mu.Unlock()
	server := a.world.Server(id)
	if server == nil {
		return nil
	}
	var of func(meter.Point) (float64, bool)
	switch name {
	case "CPUUtilization":
		of = func(p meter.Point) (float64, bool) { return 100 * value(p.CPU), p.CPU != nil }
	case "FreeStorageSpace":
		of = func(p meter.Point) (float64, bool) { return max(0, disk-float64(p.Bytes)), true }
	case "DatabaseConnections":
		of = func(p meter.Point) (n float64, ok bool) {
			for _, sessions := range p.Connections {
				n += float64(sessions)
			}
			return n, true
		}
	default:
		return nil
	}
	var out []meter.Value
	for _, p := range a.meter.Points(ctx, id, server, from, to) {
		if v, ok := of(p); ok {
			out = append(out, meter.Value{At: p.At, Value: v})
		}
	}
	return out
}
