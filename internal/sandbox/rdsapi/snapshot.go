package rdsapi

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/awsid"
)

const (
	manual    = "manual"
	automated = "automated"
)

// backupOperations are the operations on backups, and those that make instances of them.
func (a *API) backupOperations() []operation {
	restored := []string{
		"DBInstanceClass", "Port", "AvailabilityZone", "MultiAZ", "AutoMinorVersionUpgrade", "StorageType", "Tags", "CopyTagsToSnapshot",
		"EnableIAMDatabaseAuthentication", "DeletionProtection", "CACertificateIdentifier", "PubliclyAccessible", "VpcSecurityGroupIds",
		"DBSubnetGroupName", "DBParameterGroupName", "BackupRetentionPeriod", "PreferredBackupWindow", "Engine", "AllocatedStorage",
	}
	return []operation{
		op(a.createDBSnapshot, func(in *rds.CreateDBSnapshotInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "DBSnapshotIdentifier", "Tags"),
		op(a.describeDBSnapshots, func(in *rds.DescribeDBSnapshotsInput) about { return aSnapshot(in.DBSnapshotIdentifier) },
			"DBInstanceIdentifier", "DBSnapshotIdentifier", "DbiResourceId", "SnapshotType", "Filters", "Marker", "MaxRecords"),
		op(a.deleteDBSnapshot, func(in *rds.DeleteDBSnapshotInput) about { return aSnapshot(in.DBSnapshotIdentifier) },
			"DBSnapshotIdentifier"),
		op(a.restoreFromSnapshot, func(in *rds.RestoreDBInstanceFromDBSnapshotInput) about { return anInstance(in.DBInstanceIdentifier) },
			append([]string{"DBInstanceIdentifier", "DBSnapshotIdentifier"}, restored...)...),
		op(a.restoreToPointInTime, func(in *rds.RestoreDBInstanceToPointInTimeInput) about {
			return anInstance(in.TargetDBInstanceIdentifier)
		},
			append([]string{
				"SourceDBInstanceIdentifier", "TargetDBInstanceIdentifier", "RestoreTime", "UseLatestRestorableTime", "MaxAllocatedStorage",
			}, restored...)...),
	}
}

func (a *API) createDBSnapshot(_ context.Context, in *rds.CreateDBSnapshotInput) (*rds.CreateDBSnapshotOutput, error) {
	id, err := identifier("DBSnapshotIdentifier", in.DBSnapshotIdentifier, 255)
	if err != nil {
		return nil, err
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := a.idle(of, "available"); err != nil {
		return nil, err
	}
	s, err := a.newSnapshot(of, id, manual, in.Tags)
	if err != nil {
		return nil, err
	}
	a.begin(of, "CreateDBSnapshot", work{Kind: kindSnapshot, Snapshot: id})
	return &rds.CreateDBSnapshotOutput{DBSnapshot: new(clone(s.DB))}, nil
}

// newSnapshot makes the record of a snapshot in status "creating". The caller holds the lock.
func (a *API) newSnapshot(of *instance, id, sort string, tags []types.Tag) (*snapshot, error) {
	if _, ok := a.state.Snapshots[id]; ok {
		return nil, awsid.Newf(400, "DBSnapshotAlreadyExists", "Cannot create the snapshot because a snapshot with the identifier %s already exists.", id)
	}
	if value(of.DB.CopyTagsToSnapshot) && len(tags) == 0 {
		tags = clone(of.DB.TagList)
	}
	now := a.now().UTC()
	s := &snapshot{
		BackupID: "rds-" + strings.ToLower(awsid.ID(12)), ServerID: of.ServerID, Major: of.Major,
		DB: types.DBSnapshot{
			DBSnapshotIdentifier: &id, DBSnapshotArn: new(a.arn("snapshot", id)), SnapshotType: &sort, Status: new("creating"), PercentProgress: new(int32(0)),
			DBInstanceIdentifier: new(of.id()), DbiResourceId: of.DB.DbiResourceId, Engine: of.DB.Engine, EngineVersion: of.DB.EngineVersion,
			LicenseModel: of.DB.LicenseModel, MasterUsername: of.DB.MasterUsername, AllocatedStorage: of.DB.AllocatedStorage, StorageType: of.DB.StorageType,
			Encrypted: of.DB.StorageEncrypted, AvailabilityZone: of.DB.AvailabilityZone, InstanceCreateTime: of.DB.InstanceCreateTime,
			SnapshotCreateTime: &now, OriginalSnapshotCreateTime: &now, SnapshotTarget: new("region"), VpcId: new(vpc),
			BackupRetentionPeriod: of.DB.BackupRetentionPeriod, PreferredBackupWindow: of.DB.PreferredBackupWindow,
			IAMDatabaseAuthenticationEnabled: of.DB.IAMDatabaseAuthenticationEnabled, TagList: sortTags(tags),
		},
	}
	if of.DB.Endpoint != nil {
		s.DB.Port = of.DB.Endpoint.Port
	}
	s.DB = clone(s.DB)
	a.state.Snapshots[id] = s
	return s, nil
}

func (a *API) snapshotSteps(in *instance) []step {
	id := in.Work.Snapshot
	return []step{{
		status: "backing-up", real: 2 * time.Minute,
		begin: []note{{category: "creation", message: "Creating manual snapshot", snapshot: id}, {category: "backup", message: "Backing up DB instance"}},
		do:    func(ctx context.Context) error { return a.back(ctx, in, id) },
		done:  func() { a.backedUp(id) },
		end:   []note{{category: "backup", message: "Finished DB Instance backup"}, {category: "creation", message: "Manual snapshot created", snapshot: id}},
	}}
}

// automatedBackup is the step that makes an automated snapshot, from which points in time are restored.
func (a *API) automatedBackup(in *instance) step {
	var id string
	return step{
		status: "backing-up", real: time.Minute,
		begin: []note{{category: "backup", message: "Backing up DB instance"}},
		do: func(ctx context.Context) error {
			a.mu.Lock()
			now := a.now().UTC()
			for id = ""; id == "" || a.state.Snapshots[id] != nil; now = now.Add(time.Minute) {
				id = "rds:" + in.id() + now.Format("-2006-01-02-15-04")
			}
			_, err := a.newSnapshot(in, id, automated, nil)
			a.mu.Unlock()
			if err != nil {
				return err
			}
			return a.back(ctx, in, id)
		},
		done: func() { a.backedUp(id) },
		end:  []note{{category: "backup", message: "Finished DB Instance backup"}},
	}
}

// back makes the physical backup of a snapshot.
func (a *API) back(ctx context.Context, in *instance, id string) error {
	a.mu.Lock()
	backup := a.state.Snapshots[id].BackupID
	a.mu.Unlock()
	_, err := a.world.Backup(ctx, in.ServerID, backup)
	return err
}

// backedUp marks a snapshot as complete. The caller holds the lock.
func (a *API) backedUp(id string) {
	s := a.state.Snapshots[id]
	s.DB.Status, s.DB.PercentProgress = new("available"), new(int32(100))
}

func (a *API) describeDBSnapshots(_ context.Context, in *rds.DescribeDBSnapshotsInput) (*rds.DescribeDBSnapshotsOutput, error) {
	want := fold(value(in.DBSnapshotIdentifier))
	a.mu.Lock()
	all := make([]types.DBSnapshot, 0, len(a.state.Snapshots))
	for id, s := range a.state.Snapshots {
		if (want == "" || id == want) && matches(in.DBInstanceIdentifier, value(s.DB.DBInstanceIdentifier)) &&
			matches(in.DbiResourceId, value(s.DB.DbiResourceId)) && matches(in.SnapshotType, value(s.DB.SnapshotType)) {
			all = append(all, clone(s.DB))
		}
	}
	a.mu.Unlock()
	if want != "" && len(all) == 0 {
		return nil, snapshotMissing(want)
	}
	all, err := filter(all, in.Filters, map[string]func(types.DBSnapshot) []string{
		"db-instance-id": func(s types.DBSnapshot) []string {
			return []string{*s.DBInstanceIdentifier, a.arn("db", *s.DBInstanceIdentifier)}
		},
		"db-snapshot-id":  func(s types.DBSnapshot) []string { return []string{*s.DBSnapshotIdentifier} },
		"dbi-resource-id": func(s types.DBSnapshot) []string { return []string{*s.DbiResourceId} },
		"snapshot-type":   func(s types.DBSnapshot) []string { return []string{*s.SnapshotType} },
		"engine":          func(s types.DBSnapshot) []string { return []string{*s.Engine} },
	})
	if err != nil {
		return nil, err
	}
	out, marker, err := page(all, func(s types.DBSnapshot) string { return *s.DBSnapshotIdentifier }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBSnapshotsOutput{DBSnapshots: out, Marker: marker}, nil
}

func matches(want *string, s string) bool { return want == nil || strings.EqualFold(*want, s) }

func snapshotMissing(id string) error {
	return awsid.Newf(404, "DBSnapshotNotFound", "DBSnapshot %s not found.", id)
}

func (a *API) deleteDBSnapshot(_ context.Context, in *rds.DeleteDBSnapshotInput) (*rds.DeleteDBSnapshotOutput, error) {
	id := fold(value(in.DBSnapshotIdentifier))
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.state.Snapshots[id]
	switch {
	case !ok:
		return nil, snapshotMissing(id)
	case value(s.DB.SnapshotType) != manual:
		return nil, invalid("Only manual snapshots may be deleted.")
	case value(s.DB.Status) == "creating":
		return nil, awsid.Newf(400, "InvalidDBSnapshotState", "Cannot delete the snapshot because it is not currently in the available or failed state.")
	}
	if err := a.world.RemoveBackup(s.BackupID); err != nil {
		return nil, err
	}
	delete(a.state.Snapshots, id)
	a.record(types.SourceTypeDbSnapshot, id, "Deleted manual snapshot", "deletion")
	a.save()
	out := clone(s.DB)
	out.Status = new("deleted")
	return &rds.DeleteDBSnapshotOutput{DBSnapshot: &out}, nil
}

// dropAutomated deletes the automated snapshots of a server. The caller holds the lock.
func (a *API) dropAutomated(serverID string) error {
	for id, s := range a.state.Snapshots {
		if s.ServerID != serverID || value(s.DB.SnapshotType) != automated {
			continue
		}
		if err := a.world.RemoveBackup(s.BackupID); err != nil {
			return err
		}
		delete(a.state.Snapshots, id)
	}
	return nil
}
