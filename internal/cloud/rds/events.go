package rds

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
)

// eventLife is how long RDS keeps events, less a minute for a clock that differs: it refuses to be asked for older ones.
const eventLife = 14*24*time.Hour - time.Minute

// Events lists what happened to an instance since a moment, of the last 14 days. RDS tells of events as well as it can: some come
// late, or never. One that is gone has its events still.
func (p *Provider) Events(ctx context.Context, name string, since time.Time) ([]cloud.Event, error) {
	op := p.op("list the events of", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	all, err := p.events(ask, name, since)
	if err != nil {
		return nil, p.aws.Fault(ctx, op, err)
	}
	return all, nil
}

// recent are the events as a question beside the main one; none if RDS does not tell.
func (p *Provider) recent(ctx context.Context, name string, since time.Time) []cloud.Event {
	var all []cloud.Event
	p.aside(ctx, func(ctx context.Context) { all, _ = p.events(ctx, name, since, once) })
	return all
}

func (p *Provider) events(ctx context.Context, name string, since time.Time, opts ...func(*sdk.Options)) ([]cloud.Event, error) {
	if oldest := time.Now().Add(-eventLife); since.Before(oldest) {
		since = oldest
	}
	var all []cloud.Event
	pages := sdk.NewDescribeEventsPaginator(p.api, &sdk.DescribeEventsInput{
		SourceIdentifier: &name, SourceType: types.SourceTypeDbInstance, StartTime: aws.Time(since.UTC()),
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx, opts...)
		if err != nil {
			return nil, err
		}
		for _, e := range page.Events {
			text := aws.ToString(e.Message)
			all = append(all, cloud.Event{At: utc(e.Date), ID: eventID(text), Text: text})
		}
	}
	slices.SortStableFunc(all, func(a, b cloud.Event) int { return cmp.Compare(a.At.UnixNano(), b.At.UnixNano()) })
	return all, nil
}

// eventID is the number of an event, which RDS tells subscribers and not the API; empty for a text that is not known.
func eventID(text string) string {
	text = strings.TrimRight(strings.ToLower(text), ".")
	for _, known := range []struct{ prefix, id string }{
		{"applying modification to convert to a multi-az", "RDS-EVENT-0024"},
		{"finished applying modification to convert to a multi-az", "RDS-EVENT-0025"},
		{"applying modification to convert to a standard (single-az)", "RDS-EVENT-0030"},
		{"finished applying modification to convert to a standard (single-az)", "RDS-EVENT-0029"},
		{"multi-az instance failover started", "RDS-EVENT-0013"},
		{"multi-az failover to standby complete", "RDS-EVENT-0015"},
		{"multi-az instance failover completed", "RDS-EVENT-0049"},
		{"abandoning user requested failover", "RDS-EVENT-0034"},
		{"db instance restarted", "RDS-EVENT-0006"},
		{"backing up db instance", "RDS-EVENT-0001"},
		{"finished db instance backup", "RDS-EVENT-0002"},
		{"db instance deleted", "RDS-EVENT-0003"},
		{"db instance created", "RDS-EVENT-0005"},
	} {
		if strings.HasPrefix(text, known.prefix) {
			return known.id
		}
	}
	return ""
}
