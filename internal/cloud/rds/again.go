package rds

import (
	"context"
	"time"

	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Restoring is the receipt of a restore whose answer was lost. RDS gives an instance its tags when it makes it: those of r.Labels tell
// whose it is.
func (p *Provider) Restoring(ctx context.Context, r cloud.Restore, _ time.Time) (cloud.Receipt, error) {
	op := p.op("look for the restored", r.Target)
	if err := p.check(op, r.Target); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, r.Target)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	live := instance(db, p.aws.Config.Region)
	if !cloud.Labelled(live, r.Labels) {
		return cloud.Receipt{}, fault.New(fault.Invalid, op, cloud.Because("an instance of that name is there, and has not the labels of this restore", cloud.ErrExists))
	}
	return receipt(changeRestore, live.Name, middleware.Metadata{}, want{})
}
