package rds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

var _ cloud.BlueGreen = (*Provider)(nil)

// The statuses of a deployment.
const (
	greenAvailable = "AVAILABLE"
	greenSwitching = "SWITCHOVER_IN_PROGRESS"
	greenSwitched  = "SWITCHOVER_COMPLETED"
	greenInvalid   = "INVALID_CONFIGURATION"
	greenFailed    = "SWITCHOVER_FAILED"
	greenDeleting  = "DELETING"
)

// CreateGreen makes the deployment. RDS insists on backups, and on rds.logical_replication in the source's parameter group.
func (p *Provider) CreateGreen(ctx context.Context, g cloud.Green) (cloud.Receipt, error) {
	op := p.op("copy for an upgrade", g.Source)
	if g.Name == "" {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "the deployment has no name")
	}
	if err := p.check(op, g.Source); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, g.Source)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	there, err := p.deployment(ask, op, g.Name)
	switch {
	case err == nil && (strings.EqualFold(named(there.Source), g.Source) || strings.EqualFold(named(there.Target), g.Source)):
		return receipt(cloud.ChangeGreen, g.Name, middleware.Metadata{}, want{})
	case err == nil:
		return cloud.Receipt{}, fault.New(fault.Invalid, op, cloud.Because("a deployment of that name is there, of "+named(there.Source), cloud.ErrExists))
	case fault.KindOf(p.aws.Fault(ctx, op, err)) != fault.NotFound:
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	version, problems, err := p.upgradable(ask, db, g.Major)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	if len(problems) > 0 {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "%s", strings.Join(problems, "; "))
	}
	in := &sdk.CreateBlueGreenDeploymentInput{
		BlueGreenDeploymentName: &g.Name, Source: db.DBInstanceArn, TargetEngineVersion: &version,
		TargetDBParameterGroupName: aws.String(fmt.Sprintf("default.postgres%d", g.Major)), Tags: tags(nil, g.Labels),
	}
	if g.Parameters != "" {
		in.TargetDBParameterGroupName = &g.Parameters
	}
	out, err := p.api.CreateBlueGreenDeployment(ask, in, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(cloud.ChangeGreen, g.Name, out.ResultMetadata, want{})
}

// named is the identifier in the ARN of an instance.
func named(arn *string) string {
	a := aws.ToString(arn)
	return a[strings.LastIndex(a, ":")+1:]
}

// deployment is the one of that name.
func (p *Provider) deployment(ctx context.Context, op, name string) (types.BlueGreenDeployment, error) {
	out, err := p.api.DescribeBlueGreenDeployments(ctx, &sdk.DescribeBlueGreenDeploymentsInput{
		Filters: []types.Filter{{Name: aws.String("blue-green-deployment-name"), Values: []string{name}}},
	})
	if err != nil {
		return types.BlueGreenDeployment{}, err
	}
	if len(out.BlueGreenDeployments) == 0 {
		return types.BlueGreenDeployment{}, fault.Newf(fault.NotFound, op, "there is no blue/green deployment %s", name)
	}
	return out.BlueGreenDeployments[0], nil
}

// begin is a question about a deployment.
func (p *Provider) begin(ctx context.Context, op, name string) (context.Context, context.CancelFunc, types.BlueGreenDeployment, error) {
	if err := p.check(op, name); err != nil {
		return nil, nil, types.BlueGreenDeployment{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	d, err := p.deployment(ask, op, name)
	if err != nil {
		cancel()
		return nil, nil, d, p.aws.Fault(ctx, op, err)
	}
	return ask, cancel, d, nil
}

func (p *Provider) greenOp(verb, name string) string {
	return verb + " RDS blue/green deployment " + p.aws.Config.Region + "/" + name
}

// Green describes a deployment.
func (p *Provider) Green(ctx context.Context, name string) (cloud.GreenState, error) {
	_, cancel, d, err := p.begin(ctx, p.greenOp("describe", name), name)
	if err != nil {
		return cloud.GreenState{}, err
	}
	defer cancel()
	return greenState(d), nil
}

func greenState(d types.BlueGreenDeployment) cloud.GreenState {
	s := cloud.GreenState{
		ID: aws.ToString(d.BlueGreenDeploymentIdentifier), Name: aws.ToString(d.BlueGreenDeploymentName), Status: aws.ToString(d.Status),
		Detail: aws.ToString(d.StatusDetails), Source: named(d.Source), Target: named(d.Target), Created: aws.ToTime(d.CreateTime).UTC(),
	}
	switch s.Status {
	case greenAvailable:
		s.Ready = true
	case greenSwitched:
		s.Switched = true
	case greenInvalid, greenFailed:
		s.Failed = strings.TrimSuffix(s.Status+": "+s.Detail, ": ")
		s.Ready = s.Status == greenFailed // RDS took it back: the copy is in sync as before
	}
	return s
}

// SwitchoverGreen switches over. RDS takes a timeout from 30 seconds to an hour.
func (p *Provider) SwitchoverGreen(ctx context.Context, name string, timeout time.Duration) (cloud.Receipt, error) {
	op := p.greenOp("switch over", name)
	if timeout < 30*time.Second || timeout > time.Hour {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "a timeout of %s is not between 30 seconds and an hour", timeout)
	}
	ask, cancel, d, err := p.begin(ctx, op, name)
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer cancel()
	if s := aws.ToString(d.Status); s == greenSwitching || s == greenSwitched {
		return receipt(cloud.ChangeSwitchover, name, middleware.Metadata{}, want{})
	}
	out, err := p.api.SwitchoverBlueGreenDeployment(ask, &sdk.SwitchoverBlueGreenDeploymentInput{
		BlueGreenDeploymentIdentifier: d.BlueGreenDeploymentIdentifier, SwitchoverTimeout: aws.Int32(int32(timeout / time.Second)),
	}, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(cloud.ChangeSwitchover, name, out.ResultMetadata, want{})
}

// DeleteGreen ends a deployment; with the copy, unless it took the place. A copy keeps the source's deletion protection, which is taken
// off first.
func (p *Provider) DeleteGreen(ctx context.Context, name string) (cloud.Receipt, error) {
	op := p.greenOp("delete", name)
	ask, cancel, d, err := p.begin(ctx, op, name)
	if fault.KindOf(err) == fault.NotFound {
		return receipt(cloud.ChangeRemoveGreen, name, middleware.Metadata{}, want{Nothing: true})
	}
	if err != nil {
		return cloud.Receipt{}, err
	}
	defer cancel()
	status, target := aws.ToString(d.Status), named(d.Target)
	if status == greenDeleting {
		return receipt(cloud.ChangeRemoveGreen, name, middleware.Metadata{}, want{})
	}
	in := &sdk.DeleteBlueGreenDeploymentInput{BlueGreenDeploymentIdentifier: d.BlueGreenDeploymentIdentifier}
	if status != greenSwitched && target != "" {
		in.DeleteTarget = aws.Bool(true)
		copied, err := p.describe(ask, target)
		if err != nil && !p.isGone(ctx, err) {
			return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
		}
		if err == nil && aws.ToBool(copied.DeletionProtection) {
			off := &sdk.ModifyDBInstanceInput{DBInstanceIdentifier: &target, DeletionProtection: aws.Bool(false), ApplyImmediately: aws.Bool(true)}
			if _, err := p.api.ModifyDBInstance(ask, off, once); err != nil {
				return cloud.Receipt{}, p.refused(ctx, op, err)
			}
		}
	}
	out, err := p.api.DeleteBlueGreenDeployment(ask, in, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(cloud.ChangeRemoveGreen, name, out.ResultMetadata, want{})
}

// green tells how far the change of a deployment is.
func (f *follow) green(ctx context.Context) (cloud.Progress, error) {
	d, err := f.p.deployment(ctx, f.op, f.r.Instance)
	if f.r.Change == cloud.ChangeRemoveGreen && fault.KindOf(err) == fault.NotFound {
		return cloud.Progress{Done: true, Status: "deleted"}, nil
	}
	if err != nil {
		return cloud.Progress{}, err
	}
	s := greenState(d)
	progress := cloud.Progress{Status: s.Status, Detail: s.Detail}
	switch f.r.Change {
	case cloud.ChangeGreen:
		progress.Done = s.Status == greenAvailable || s.Switched
	case cloud.ChangeSwitchover:
		progress.Done = s.Switched
	case cloud.ChangeRemoveGreen:
		s.Failed = ""
	}
	if s.Failed != "" {
		return cloud.Progress{}, fault.New(fault.Internal, f.op, cloud.Because("RDS gave it up: "+s.Failed, errors.New(s.Failed))).
			Hint("look at the deployment and the events of its instances")
	}
	return progress, nil
}
