package rdsapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

func (a *API) describeEvents(_ context.Context, in *rds.DescribeEventsInput) (*rds.DescribeEventsOutput, error) {
	from, to, err := a.span(in)
	if err != nil {
		return nil, err
	}
	if in.SourceIdentifier != nil && in.SourceType == "" {
		return nil, combination("SourceType must be given with SourceIdentifier")
	}
	a.mu.Lock()
	all := make([]event, 0, len(a.state.Events))
	for _, e := range a.state.Events {
		at := value(e.Date)
		if at.Before(from) || at.After(to) || !matches(in.SourceIdentifier, value(e.SourceIdentifier)) ||
			in.SourceType != "" && in.SourceType != e.SourceType ||
			len(in.EventCategories) > 0 && !slices.ContainsFunc(e.EventCategories, func(c string) bool { return slices.Contains(in.EventCategories, c) }) {
			continue
		}
		all = append(all, clone(e))
	}
	a.mu.Unlock()
	found, marker, err := page(all, func(e event) string { return fmt.Sprintf("%020d", e.Sequence) }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	out := make([]types.Event, 0, len(found))
	for _, e := range found {
		out = append(out, e.Event)
	}
	return &rds.DescribeEventsOutput{Events: out, Marker: marker}, nil
}

// span is the time that events are asked for: the last hour, unless said otherwise.
func (a *API) span(in *rds.DescribeEventsInput) (from, to time.Time, err error) {
	now := a.now()
	from, to = now.Add(-time.Hour), now
	if in.Duration != nil {
		if in.StartTime != nil || in.EndTime != nil {
			return from, to, combination("Duration cannot be given with StartTime or EndTime")
		}
		from = now.Add(-time.Duration(*in.Duration) * time.Minute)
	}
	if in.EndTime != nil {
		to = *in.EndTime
		from = to.Add(-time.Hour)
	}
	if in.StartTime != nil {
		from = *in.StartTime
	}
	if now.Sub(from) > eventLife+time.Minute {
		return from, to, invalid("Events are kept for 14 days.")
	}
	return from, to, nil
}
