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

// between is how long an instance may be under neither of its names.
const between = time.Minute

// Rename gives an instance a new identifier, and with it a new address: the old one is gone at once. It reboots, and whatever else
// is pending is applied.
func (p *Provider) Rename(ctx context.Context, name, to string) (cloud.Receipt, error) {
	op := p.op("rename", name) + " to " + to
	for _, n := range []string{name, to} {
		if err := p.check(op, n); err != nil {
			return cloud.Receipt{}, err
		}
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	w := want{From: aws.ToString(db.DBInstanceIdentifier), Resource: aws.ToString(db.DbiResourceId)}
	to = strings.ToLower(to) // as RDS keeps it
	out, err := p.api.ModifyDBInstance(ask, &sdk.ModifyDBInstanceInput{
		DBInstanceIdentifier: &name, NewDBInstanceIdentifier: &to, ApplyImmediately: aws.Bool(true),
	}, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(changeRename, to, out.ResultMetadata, w)
}

// renamed tells whether the instance is at rest under its new name. Until then it is there under the old one.
func (f *follow) renamed(ctx context.Context) (cloud.Progress, error) {
	db, err := f.p.describe(ctx, f.r.Instance)
	switch {
	case f.p.isGone(ctx, err):
		return f.unrenamed(ctx, err)
	case err != nil:
		return cloud.Progress{}, err
	case aws.ToString(db.DbiResourceId) != f.want.Resource:
		return cloud.Progress{}, fault.Newf(fault.Internal, f.op, "the instance of that name is another one")
	}
	return f.judgeOf(ctx, db, func() (cloud.Progress, error) {
		progress, err := f.unlessFailed()
		progress.Done = f.live.State == cloud.Available
		return progress, err
	})
}

// unrenamed looks at the instance under its old name.
func (f *follow) unrenamed(ctx context.Context, gone error) (cloud.Progress, error) {
	db, err := f.p.describe(ctx, f.want.From)
	switch {
	case f.p.isGone(ctx, err), err == nil && aws.ToString(db.DbiResourceId) != f.want.Resource:
		if time.Since(f.r.At) < between {
			return cloud.Progress{Status: "between two names"}, nil
		}
		return cloud.Progress{}, gone
	case err != nil:
		return cloud.Progress{}, err
	}
	return f.judgeOf(ctx, db, func() (cloud.Progress, error) {
		progress, err := f.unlessFailed()
		progress.Status = f.live.RawState + " as " + f.want.From
		return progress, err
	})
}

// isGone tells whether err says that the instance does not exist.
func (p *Provider) isGone(ctx context.Context, err error) bool {
	return err != nil && fault.KindOf(p.aws.Fault(ctx, "", err)) == fault.NotFound
}

// Delete removes an instance with its automatic backups; those made by hand stay.
func (p *Provider) Delete(ctx context.Context, name string) (cloud.Receipt, error) {
	op := p.op("delete", name)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	db, err := p.describe(ask, name)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	if aws.ToBool(db.DeletionProtection) {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "it has deletion protection").Hint("turn its deletion protection off first")
	}
	out, err := p.api.DeleteDBInstance(ask, &sdk.DeleteDBInstanceInput{
		DBInstanceIdentifier: &name, SkipFinalSnapshot: aws.Bool(true), DeleteAutomatedBackups: aws.Bool(true),
	}, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(changeDelete, aws.ToString(db.DBInstanceIdentifier), out.ResultMetadata, want{Resource: aws.ToString(db.DbiResourceId)})
}

// deleted tells whether the instance is gone; another one may have its name by now.
func (f *follow) deleted(ctx context.Context) (cloud.Progress, error) {
	db, err := f.p.describe(ctx, f.r.Instance)
	switch {
	case f.p.isGone(ctx, err), err == nil && aws.ToString(db.DbiResourceId) != f.want.Resource:
		return cloud.Progress{Done: true, Status: "deleted"}, nil
	case err != nil:
		return cloud.Progress{}, err
	}
	return f.judgeOf(ctx, db, f.unlessFailed)
}
