package rdsapi

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/world"
)

// instanceOperations are the operations on instances.
func (a *API) instanceOperations() []operation {
	return []operation{
		op(a.describeDBInstances, func(in *rds.DescribeDBInstancesInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "Filters", "Marker", "MaxRecords"),
		op(a.createDBInstance, func(in *rds.CreateDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "Engine", "EngineVersion", "DBInstanceClass", "AllocatedStorage", "MaxAllocatedStorage", "StorageType",
			"StorageEncrypted", "KmsKeyId", "MasterUsername", "MasterUserPassword", "DBName", "Port", "MultiAZ", "AvailabilityZone", "BackupRetentionPeriod",
			"PreferredBackupWindow", "PreferredMaintenanceWindow", "DeletionProtection", "EnableIAMDatabaseAuthentication",
			"CACertificateIdentifier", "Tags", "CopyTagsToSnapshot", "AutoMinorVersionUpgrade", "PubliclyAccessible", "VpcSecurityGroupIds",
			"DBSubnetGroupName", "DBParameterGroupName"),
		op(a.modifyDBInstance, func(in *rds.ModifyDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "NewDBInstanceIdentifier", "ApplyImmediately", "MultiAZ", "BackupRetentionPeriod", "PreferredBackupWindow", "PreferredMaintenanceWindow",
			"DeletionProtection", "CACertificateIdentifier", "CertificateRotationRestart", "MasterUserPassword", "EnableIAMDatabaseAuthentication",
			"DBInstanceClass", "AllocatedStorage", "MaxAllocatedStorage", "StorageType", "CopyTagsToSnapshot", "AutoMinorVersionUpgrade",
			"PubliclyAccessible", "VpcSecurityGroupIds", "DBParameterGroupName", "EngineVersion", "AllowMajorVersionUpgrade"),
		op(a.rebootDBInstance, func(in *rds.RebootDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "ForceFailover"),
		op(a.stopDBInstance, func(in *rds.StopDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier"),
		op(a.startDBInstance, func(in *rds.StartDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier"),
		op(a.deleteDBInstance, func(in *rds.DeleteDBInstanceInput) about { return anInstance(in.DBInstanceIdentifier) },
			"DBInstanceIdentifier", "SkipFinalSnapshot", "FinalDBSnapshotIdentifier", "DeleteAutomatedBackups"),
	}
}

func (a *API) describeDBInstances(_ context.Context, in *rds.DescribeDBInstancesInput) (*rds.DescribeDBInstancesOutput, error) {
	all, err := a.listed(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	all, err = filter(all, in.Filters, map[string]func(types.DBInstance) []string{
		"db-instance-id":  func(db types.DBInstance) []string { return []string{*db.DBInstanceIdentifier, *db.DBInstanceArn} },
		"dbi-resource-id": func(db types.DBInstance) []string { return []string{*db.DbiResourceId} },
		"engine":          func(db types.DBInstance) []string { return []string{*db.Engine} },
	})
	if err != nil {
		return nil, err
	}
	out, marker, err := page(all, func(db types.DBInstance) string { return *db.DBInstanceIdentifier }, in.Marker, in.MaxRecords)
	if err != nil {
		return nil, err
	}
	return &rds.DescribeDBInstancesOutput{DBInstances: out, Marker: marker}, nil
}

// listed returns copies of the descriptions of one instance, or of all for nil. The server is asked outside the lock.
func (a *API) listed(identifier *string) ([]types.DBInstance, error) {
	a.mu.Lock()
	var found []*instance
	if identifier != nil {
		in, err := a.find(identifier)
		if err != nil {
			a.mu.Unlock()
			return nil, err
		}
		found = []*instance{in}
	} else {
		for _, in := range a.state.Instances {
			found = append(found, in)
		}
	}
	out := make([]types.DBInstance, 0, len(found))
	servers := make([]*world.Server, 0, len(found))
	for _, in := range found {
		out = append(out, clone(in.DB))
		servers = append(servers, a.world.Server(in.ServerID))
	}
	a.mu.Unlock()
	for i, s := range servers {
		if s == nil || value(out[i].BackupRetentionPeriod) == 0 || out[i].Endpoint == nil {
			continue
		}
		if t := a.restorable(s, *out[i].DBInstanceStatus); !t.IsZero() {
			out[i].LatestRestorableTime = &t
		}
	}
	return out, nil
}

// restorable is the latest moment that a server can be restored to; zero if there is none. RDS ships the log every five
// minutes. A restore from a running server archives what is missing first, so that the delay can be played.
func (a *API) restorable(s *world.Server, status string) time.Time {
	t := s.LatestRestorable()
	if shipped := a.now().Add(-a.pace.Of(5 * time.Minute)); status == "available" && !t.IsZero() && shipped.After(t) {
		t = shipped
	}
	return t.UTC().Truncate(time.Millisecond)
}

// described is the copy of one description that a change answers with. The caller holds the lock.
func described(in *instance) *types.DBInstance { return new(clone(in.DB)) }
