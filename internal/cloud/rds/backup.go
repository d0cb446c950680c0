package rds

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Backups lists the snapshots of an instance, newest first. Those made by hand outlive it.
func (p *Provider) Backups(ctx context.Context, name string) ([]cloud.Backup, error) {
	op := p.op("list the backups of", name)
	if err := p.check(op, name); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	var all []cloud.Backup
	pages := sdk.NewDescribeDBSnapshotsPaginator(p.api, &sdk.DescribeDBSnapshotsInput{DBInstanceIdentifier: &name})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ask)
		if err != nil {
			return nil, p.aws.Fault(ctx, op, err)
		}
		for _, s := range page.DBSnapshots {
			all = append(all, backup(s))
		}
	}
	slices.SortStableFunc(all, func(a, b cloud.Backup) int {
		return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(b.ID, a.ID))
	})
	return all, nil
}

// backup is a snapshot in the words of the model. RDS does not tell when it ended.
func backup(s types.DBSnapshot) cloud.Backup {
	b := cloud.Backup{
		ID: aws.ToString(s.DBSnapshotIdentifier), Instance: aws.ToString(s.DBInstanceIdentifier), Kind: "automatic",
		State: aws.ToString(s.Status), Ready: aws.ToString(s.Status) == "available",
		Started: utc(s.SnapshotCreateTime), GiB: int64(aws.ToInt32(s.AllocatedStorage)),
	}
	if aws.ToString(s.SnapshotType) == "manual" {
		b.Kind = "manual"
	}
	return b
}

// CreateBackup makes a snapshot with the label as its identifier: letters, digits and single hyphens, beginning with a letter.
func (p *Provider) CreateBackup(ctx context.Context, name, label string) (cloud.Receipt, error) {
	op := p.op("back up", name)
	if err := p.check(op, name); err != nil {
		return cloud.Receipt{}, err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	out, err := p.api.CreateDBSnapshot(ask, &sdk.CreateDBSnapshotInput{DBInstanceIdentifier: &name, DBSnapshotIdentifier: &label}, once)
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	r, err := receipt(changeBackup, name, out.ResultMetadata, want{})
	if r.Backup = label; out.DBSnapshot != nil {
		r.Backup = aws.ToString(out.DBSnapshot.DBSnapshotIdentifier) // as RDS keeps it: in lower case
	}
	return r, err
}

// DeleteBackup removes a snapshot that was made by hand.
func (p *Provider) DeleteBackup(ctx context.Context, name, id string) error {
	op := p.op("delete backup "+id+" of", name)
	if err := p.check(op, name); err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	s, err := p.snapshot(ask, op, name, id)
	if err != nil {
		return p.aws.Fault(ctx, op, err)
	}
	if b := backup(s); b.Kind != "manual" {
		return fault.Newf(fault.Invalid, op, "it is automatic: RDS removes it when its retention is over")
	}
	if _, err = p.api.DeleteDBSnapshot(ask, &sdk.DeleteDBSnapshotInput{DBSnapshotIdentifier: &id}, once); err != nil {
		return p.refused(ctx, op, err)
	}
	return nil
}

// snapshot describes a snapshot. That of another instance is not found.
func (p *Provider) snapshot(ctx context.Context, op, name, id string) (types.DBSnapshot, error) {
	if id == "" {
		return types.DBSnapshot{}, fault.Newf(fault.Invalid, op, "its identifier is empty") // which would mean every snapshot
	}
	out, err := p.api.DescribeDBSnapshots(ctx, &sdk.DescribeDBSnapshotsInput{DBSnapshotIdentifier: &id})
	if err != nil {
		return types.DBSnapshot{}, err
	}
	if len(out.DBSnapshots) != 1 {
		return types.DBSnapshot{}, fault.Newf(fault.NotFound, op, "RDS describes %d snapshots of that name", len(out.DBSnapshots))
	}
	s := out.DBSnapshots[0]
	if of := aws.ToString(s.DBInstanceIdentifier); !strings.EqualFold(of, name) {
		return s, fault.Newf(fault.NotFound, op, "it is a backup of %s", of)
	}
	return s, nil
}

// backedUp tells whether the snapshot is complete, and the instance at rest again.
func (f *follow) backedUp(ctx context.Context) (cloud.Progress, error) {
	s, err := f.p.snapshot(ctx, f.op, f.r.Instance, f.r.Backup)
	if err != nil {
		return cloud.Progress{}, err
	}
	b := backup(s)
	return f.judge(ctx, func() (cloud.Progress, error) {
		if b.State == "failed" {
			return cloud.Progress{}, f.gaveUp()
		}
		return cloud.Progress{Done: b.Ready && f.live.State != cloud.Modifying, Status: f.live.RawState + ", snapshot " + b.State}, nil
	})
}
