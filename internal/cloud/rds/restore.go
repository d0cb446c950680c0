package rds

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/smithy-go/middleware"

	"dbops/internal/cloud"
	"dbops/internal/cloud/awsclient"
	"dbops/internal/fault"
)

// Restore makes a new instance like the source, which must still be there: RDS would give it the defaults of the account.
func (p *Provider) Restore(ctx context.Context, r cloud.Restore) (cloud.Receipt, error) {
	op := p.op("restore "+r.Source+" to the new", r.Target)
	for _, name := range []string{r.Source, r.Target} {
		if err := p.check(op, name); err != nil {
			return cloud.Receipt{}, err
		}
	}
	if r.Backup != "" && !r.Time.IsZero() {
		return cloud.Receipt{}, fault.Newf(fault.Invalid, op, "both a backup and a time are named")
	}
	ask, cancel := context.WithTimeout(ctx, awsclient.Timeout)
	defer cancel()
	source, err := p.describe(ask, r.Source)
	if err != nil {
		return cloud.Receipt{}, p.aws.Fault(ctx, op, err)
	}
	like := pointInTime(source, r)
	answer, err := p.restore(ask, op, like, r, cloud.Major(aws.ToString(source.EngineVersion)))
	if err != nil {
		return cloud.Receipt{}, p.refused(ctx, op, err)
	}
	return receipt(changeRestore, r.Target, answer, want{})
}

func (p *Provider) restore(ctx context.Context, op string, like *sdk.RestoreDBInstanceToPointInTimeInput, r cloud.Restore, major int) (middleware.Metadata, error) {
	if r.Backup == "" {
		out, err := p.api.RestoreDBInstanceToPointInTime(ctx, like, once)
		if err != nil {
			return middleware.Metadata{}, err
		}
		return out.ResultMetadata, nil
	}
	s, err := p.snapshot(ctx, op, r.Source, r.Backup)
	if err != nil {
		return middleware.Metadata{}, err
	}
	if was := cloud.Major(aws.ToString(s.EngineVersion)); was != 0 && was != major {
		like.DBParameterGroupName = nil // the source's is for the major that it was upgraded to
	}
	out, err := p.api.RestoreDBInstanceFromDBSnapshot(ctx, fromSnapshot(like, r.Backup), once)
	if err != nil {
		return middleware.Metadata{}, err
	}
	return out.ResultMetadata, nil
}

// pointInTime asks for a new instance that is like source in all that RDS can be told about it. Its port is the source's anyway.
func pointInTime(source types.DBInstance, r cloud.Restore) *sdk.RestoreDBInstanceToPointInTimeInput {
	in := &sdk.RestoreDBInstanceToPointInTimeInput{
		SourceDBInstanceIdentifier: &r.Source, TargetDBInstanceIdentifier: &r.Target,
		DBInstanceClass: source.DBInstanceClass, MultiAZ: source.MultiAZ,
		DBSubnetGroupName: subnetGroup(source), PubliclyAccessible: source.PubliclyAccessible,
		CACertificateIdentifier: source.CACertificateIdentifier,
		StorageType:             source.StorageType, MaxAllocatedStorage: source.MaxAllocatedStorage,
		DeletionProtection:              aws.Bool(aws.ToBool(source.DeletionProtection) && !r.Unprotected),
		EnableIAMDatabaseAuthentication: source.IAMDatabaseAuthenticationEnabled,
		CopyTagsToSnapshot:              source.CopyTagsToSnapshot, AutoMinorVersionUpgrade: source.AutoMinorVersionUpgrade,
		BackupRetentionPeriod: source.BackupRetentionPeriod, PreferredBackupWindow: source.PreferredBackupWindow,
		EnableCloudwatchLogsExports: source.EnabledCloudwatchLogsExports, ProcessorFeatures: source.ProcessorFeatures,
		Tags: tags(source.TagList, r.Labels),
	}
	if r.Time.IsZero() {
		in.UseLatestRestorableTime = aws.Bool(true)
	} else {
		in.RestoreTime = aws.Time(r.Time.UTC())
	}
	if aws.ToBool(source.DedicatedLogVolume) {
		in.DedicatedLogVolume = aws.Bool(true)
	}
	if n := aws.ToString(source.NetworkType); n != "" && n != "IPV4" {
		in.NetworkType = source.NetworkType
	}
	if provisioned(source) {
		in.Iops, in.StorageThroughput = source.Iops, source.StorageThroughput
	}
	for _, g := range source.VpcSecurityGroups {
		in.VpcSecurityGroupIds = append(in.VpcSecurityGroupIds, aws.ToString(g.VpcSecurityGroupId))
	}
	if len(source.DBParameterGroups) > 0 {
		in.DBParameterGroupName = source.DBParameterGroups[0].DBParameterGroupName
	}
	return in
}

// provisioned tells whether the speed of the storage may be asked for: RDS shows that of every gp3 volume, and refuses to be asked
// for it below 400 GiB.
func provisioned(db types.DBInstance) bool {
	sort := aws.ToString(db.StorageType)
	return strings.HasPrefix(sort, "io") || sort == "gp3" && aws.ToInt32(db.AllocatedStorage) >= 400
}

// tags are the source's and more. Those of AWS's own cannot be given to anything.
func tags(source []types.Tag, more map[string]string) []types.Tag {
	all := map[string]string{}
	for _, t := range source {
		if k := aws.ToString(t.Key); !reserved(k) {
			all[k] = aws.ToString(t.Value)
		}
	}
	maps.Copy(all, more)
	out := make([]types.Tag, 0, len(all))
	for _, k := range slices.Sorted(maps.Keys(all)) {
		out = append(out, types.Tag{Key: &k, Value: aws.String(all[k])})
	}
	return out
}

// reserved tells whether a tag is not for copies: AWS sets it, or it is about the source alone.
func reserved(tag string) bool { return strings.HasPrefix(tag, "aws:") || tag == cloud.LeaseLabel }

// fromSnapshot asks for the same instance from a snapshot, which RDS cannot be told how far its storage may grow.
func fromSnapshot(in *sdk.RestoreDBInstanceToPointInTimeInput, snapshot string) *sdk.RestoreDBInstanceFromDBSnapshotInput {
	return &sdk.RestoreDBInstanceFromDBSnapshotInput{
		DBSnapshotIdentifier: &snapshot, DBInstanceIdentifier: in.TargetDBInstanceIdentifier,
		DBInstanceClass: in.DBInstanceClass, MultiAZ: in.MultiAZ,
		DBSubnetGroupName: in.DBSubnetGroupName, PubliclyAccessible: in.PubliclyAccessible, VpcSecurityGroupIds: in.VpcSecurityGroupIds,
		NetworkType: in.NetworkType, DBParameterGroupName: in.DBParameterGroupName, CACertificateIdentifier: in.CACertificateIdentifier,
		StorageType: in.StorageType, Iops: in.Iops, StorageThroughput: in.StorageThroughput, DedicatedLogVolume: in.DedicatedLogVolume,
		DeletionProtection: in.DeletionProtection, EnableIAMDatabaseAuthentication: in.EnableIAMDatabaseAuthentication,
		CopyTagsToSnapshot: in.CopyTagsToSnapshot, AutoMinorVersionUpgrade: in.AutoMinorVersionUpgrade,
		BackupRetentionPeriod: in.BackupRetentionPeriod, PreferredBackupWindow: in.PreferredBackupWindow,
		EnableCloudwatchLogsExports: in.EnableCloudwatchLogsExports, ProcessorFeatures: in.ProcessorFeatures, Tags: in.Tags,
	}
}

// restored tells whether the new instance is at rest.
func (f *follow) restored() (cloud.Progress, error) {
	progress, err := f.unlessFailed()
	progress.Done = f.live.State == cloud.Available && len(f.live.Pending) == 0 && zoned(f.live)
	return progress, err
}
