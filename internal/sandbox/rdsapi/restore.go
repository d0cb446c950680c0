package rdsapi

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"

	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/world"
)

func (a *API) restoreFromSnapshot(_ context.Context, in *rds.RestoreDBInstanceFromDBSnapshotInput) (*rds.RestoreDBInstanceFromDBSnapshotOutput, error) {
	id, err := identifier("DBInstanceIdentifier", in.DBInstanceIdentifier, 63)
	if err != nil {
		return nil, err
	}
	from := fold(value(in.DBSnapshotIdentifier))
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.state.Snapshots[from]
	switch {
	case !ok:
		return nil, snapshotMissing(from)
	case value(s.DB.Status) != "available":
		return nil, awsid.Newf(400, "InvalidDBSnapshotState", "Cannot restore from the snapshot because it is not currently in the available state.")
	case value(or(in.Engine, "postgres")) != "postgres":
		return nil, notEmulated("Engine " + *in.Engine)
	}
	w := &wanted{
		id: id, major: s.Major, version: value(s.DB.EngineVersion), master: value(s.DB.MasterUsername),
		class: in.DBInstanceClass, storageType: pick(in.StorageType, s.DB.StorageType), zone: in.AvailabilityZone, ca: in.CACertificateIdentifier,
		backupWindow: pick(in.PreferredBackupWindow, s.DB.PreferredBackupWindow), parameters: in.DBParameterGroupName, subnets: in.DBSubnetGroupName,
		storage: pick(in.AllocatedStorage, s.DB.AllocatedStorage), retention: pick(in.BackupRetentionPeriod, s.DB.BackupRetentionPeriod), port: in.Port,
		multiAZ: in.MultiAZ, protected: in.DeletionProtection, iam: in.EnableIAMDatabaseAuthentication, copyTags: in.CopyTagsToSnapshot,
		minor: in.AutoMinorVersionUpgrade, public: in.PubliclyAccessible, encrypted: s.DB.Encrypted, tags: in.Tags, groups: in.VpcSecurityGroupIds,
	}
	made, err := a.newInstance(w)
	if err != nil {
		return nil, err
	}
	a.begin(made, "RestoreDBInstanceFromDBSnapshot", work{Kind: kindRestore, Source: &source{BackupID: s.BackupID, Name: from}})
	return &rds.RestoreDBInstanceFromDBSnapshotOutput{DBInstance: described(made)}, nil
}

func (a *API) restoreToPointInTime(_ context.Context, in *rds.RestoreDBInstanceToPointInTimeInput) (*rds.RestoreDBInstanceToPointInTimeOutput, error) {
	id, err := identifier("TargetDBInstanceIdentifier", in.TargetDBInstanceIdentifier, 63)
	if err != nil {
		return nil, err
	}
	if (in.RestoreTime != nil) == value(in.UseLatestRestorableTime) {
		return nil, combination("Exactly one of RestoreTime and UseLatestRestorableTime must be given.")
	}
	if value(or(in.Engine, "postgres")) != "postgres" {
		return nil, notEmulated("Engine " + *in.Engine)
	}
	server, latest, err := a.sourceServer(in.SourceDBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	backup, at, err := a.restorePoint(server, latest, in.RestoreTime)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of, err := a.find(in.SourceDBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	from := clone(of.DB)
	w := &wanted{
		id: id, major: of.Major, version: *from.EngineVersion, master: *from.MasterUsername, database: value(from.DBName),
		class: pick(in.DBInstanceClass, from.DBInstanceClass), storageType: pick(in.StorageType, from.StorageType), zone: in.AvailabilityZone,
		ca: in.CACertificateIdentifier, backupWindow: pick(in.PreferredBackupWindow, from.PreferredBackupWindow), parameters: in.DBParameterGroupName,
		subnets: in.DBSubnetGroupName, storage: pick(in.AllocatedStorage, from.AllocatedStorage), maxStorage: in.MaxAllocatedStorage,
		retention: pick(in.BackupRetentionPeriod, from.BackupRetentionPeriod), port: in.Port,
		multiAZ: in.MultiAZ, protected: in.DeletionProtection, iam: in.EnableIAMDatabaseAuthentication, copyTags: in.CopyTagsToSnapshot,
		minor: in.AutoMinorVersionUpgrade, public: in.PubliclyAccessible, encrypted: from.StorageEncrypted, tags: in.Tags, groups: in.VpcSecurityGroupIds,
	}
	made, err := a.newInstance(w)
	if err != nil {
		return nil, err
	}
	a.begin(made, "RestoreDBInstanceToPointInTime", work{Kind: kindRestore, Source: &source{BackupID: backup, At: at, Name: of.id()}})
	return &rds.RestoreDBInstanceToPointInTimeOutput{DBInstance: described(made)}, nil
}

// pick is p, or other for nil.
func pick[T any](p, other *T) *T {
	if p == nil {
		return other
	}
	return p
}

// sourceServer is the real server of the source of a restore to a point in time, and the latest such point.
func (a *API) sourceServer(identifier *string) (*world.Server, time.Time, error) {
	var none time.Time
	if identifier == nil {
		return nil, none, awsid.Newf(400, "MissingParameter", "The request must contain the parameter SourceDBInstanceIdentifier.")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	in, err := a.find(identifier)
	if err != nil {
		return nil, none, err
	}
	if value(in.DB.BackupRetentionPeriod) == 0 {
		return nil, none, awsid.Newf(400, "PointInTimeRestoreNotEnabled", "The specified instance does not have automated backups enabled.")
	}
	if !in.Made || in.status() == "creating" {
		return nil, none, awsid.Newf(400, "InvalidDBInstanceState", "DB instance %s has no restorable time yet: it is %s.", in.id(), in.status())
	}
	s, err := a.server(in)
	if err != nil {
		return nil, none, err
	}
	return s, a.restorable(s, in.status()), nil
}

// restorePoint picks the moment of a restore, the latest possible for nil, and the newest backup before it.
func (a *API) restorePoint(s *world.Server, latest time.Time, wish *time.Time) (backup string, at time.Time, err error) {
	at = latest
	if wish != nil {
		at = *wish
	}
	// What was backed up before an upgrade to another major makes snapshots, and no points in time.
	backups := slices.DeleteFunc(a.world.Backups(s.Spec().ID), func(b world.Backup) bool { return b.Major != s.Spec().Major })
	slices.SortFunc(backups, func(x, y world.Backup) int { return y.End.Compare(x.End) })
	for _, b := range backups {
		if !b.End.After(at) {
			backup = b.ID
			break
		}
	}
	switch {
	case backup == "":
		return "", at, invalid("The specified instance cannot be restored to a time earlier than its oldest backup.")
	case at.After(latest):
		return "", at, invalid("The specified instance cannot be restored to a time later than %s.", latest.UTC().Format(time.RFC3339))
	}
	return backup, at, nil
}

func (a *API) restoreServer(ctx context.Context, in *instance) (*world.Server, error) {
	from := in.Work.Source
	backups := a.world.Backups("")
	i := slices.IndexFunc(backups, func(b world.Backup) bool { return b.ID == from.BackupID })
	if i < 0 {
		return nil, fmt.Errorf("the backup of %s is gone", from.Name)
	}
	// An earlier try may have got half way.
	if err := a.world.Remove(ctx, in.ServerID); err != nil {
		return nil, err
	}
	if err := a.certify(in); err != nil {
		return nil, err
	}
	cert, err := in.Leaf.pair()
	if err != nil {
		return nil, err
	}
	return a.world.Restore(ctx, backups[i], from.At, a.spec(in), cert)
}
