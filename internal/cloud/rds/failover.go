package rds

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Failover reboots the instance with a failover to its standby.
func (p *Provider) Failover(ctx context.Context, name string) (cloud.Receipt, error) {
	op := p.op("fail over", name)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	if !aws.ToBool(db.MultiAZ) {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "it has no standby").Hint("make its availability regional first")
	}
	w := want{Zone: aws.ToString(db.SecondaryAvailabilityZone), Before: p.latestFailover(ask, name)}
	out, err := p.api.RebootDBInstance(ask, &sdk.RebootDBInstanceInput{DBInstanceIdentifier: &name, ForceFailover: aws.Bool(true)}, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(changeFailover, aws.ToString(db.DBInstanceIdentifier), out.ResultMetadata, w)
}

// latestFailover is when RDS last said something about a failover; zero if it does not tell.
func (p *Provider) latestFailover(ctx context.Context, name string) (at time.Time) {
	for _, e := range p.recent(ctx, name, time.Now().Add(-eventLife)) {
		if isFailover(e) {
			at = e.At
		}
	}
	return at
}

func isFailover(e cloud.Event) bool { return strings.Contains(strings.ToLower(e.Text), "failover") }

// failedOver tells whether the primary has moved. The zones say so in the end; until then, or where they are not told, the events
// do: a start that is newer than what was there before the failover was asked for, and an end after it. RDS may abandon a failover.
func failedOver(live *cloud.Instance, w want, events []cloud.Event) (done bool, abandoned string) {
	if w.Zone != "" && live.Zone == w.Zone {
		return true, ""
	}
	started := false
	for _, e := range events {
		text := strings.ToLower(e.Text)
		switch {
		case !isFailover(e) || !e.At.After(w.Before):
		case strings.Contains(text, "abandon"):
			return false, e.Text
		case strings.Contains(text, "started"):
			started = true
		case started && strings.Contains(text, "complete"):
			done = true
		}
	}
	return done, ""
}
