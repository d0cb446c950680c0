package rdsapi

import (
	"context"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/secret"
)

// masked stands in for a pending password, as in RDS's own answers.
const masked = "****"

// modifyDBInstance changes three sorts of settings. Some are only a description and change at once. A password and the
// length of the retention change as soon as possible. The others become pending, and are applied in the maintenance window, or
// with ApplyImmediately, which also applies whatever was pending before.
func (a *API) modifyDBInstance(_ context.Context, in *rds.ModifyDBInstanceInput) (*rds.ModifyDBInstanceOutput, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	db, err := a.find(in.DBInstanceIdentifier)
	if err != nil {
		return nil, err
	}
	if err := a.checkModify(db, in); err != nil {
		return nil, err
	}
	pending := clone(*db.DB.PendingModifiedValues)
	soon := a.wish(db, in, &pending)
	apply := soon
	if value(in.ApplyImmediately) {
		apply = pending
		if rotateAtReboot(db, in) {
			apply.CACertificateIdentifier = nil
		}
	}
	// What is only a description may change in any status, so that a failed instance can lose its deletion protection.
	nothing := types.PendingModifiedValues{}
	if db.Work != nil || !sameValues(pending, *db.DB.PendingModifiedValues) || !sameValues(apply, nothing) {
		if err := a.idle(db, "available"); err != nil {
			return nil, err
		}
	}
	redescribe(db, in)
	if in.EngineVersion != nil {
		db.NextGroup = fold(value(in.DBParameterGroupName))
	}
	db.DB.PendingModifiedValues = &pending
	db.RotateAtReboot = rotateAtReboot(db, in)
	if in.MasterUserPassword != nil {
		db.password = secret.New(*in.MasterUserPassword)
	}
	if sameValues(apply, nothing) {
		a.save()
		return &rds.ModifyDBInstanceOutput{DBInstance: described(db)}, nil
	}
	a.begin(db, "ModifyDBInstance", modification(db, apply))
	return &rds.ModifyDBInstanceOutput{DBInstance: described(db)}, nil
}

// rotateAtReboot tells whether the pending certificate waits for a reboot.
func rotateAtReboot(db *instance, in *rds.ModifyDBInstanceInput) bool {
	if in.CACertificateIdentifier == nil && in.CertificateRotationRestart == nil {
		return db.RotateAtReboot
	}
	return !value(or(in.CertificateRotationRestart, true))
}

func (a *API) checkModify(db *instance, in *rds.ModifyDBInstanceInput) error {
	if err := a.checkVersion(db, in); err != nil {
		return err
	}
	if ca := in.CACertificateIdentifier; ca != nil {
		if _, err := a.authority(*ca); err != nil {
			return err
		}
	}
	if in.NewDBInstanceIdentifier != nil {
		if err := a.checkName(db, in.NewDBInstanceIdentifier); err != nil {
			return err
		}
	}
	if gib := in.AllocatedStorage; gib != nil && *gib < value(db.DB.AllocatedStorage) {
		return combination("Invalid storage size for engine name postgres and storage type %s: %d: storage cannot be reduced", value(db.DB.StorageType), *gib)
	}
	if most := in.MaxAllocatedStorage; most != nil && *most < value(pick(in.AllocatedStorage, db.DB.AllocatedStorage)) {
		return combination("Max storage size must be greater than storage size")
	}
	return checks(
		checkClass(in.DBInstanceClass), checkStorageType(in.StorageType), checkBackupWindow(in.PreferredBackupWindow),
		checkMaintenanceWindow(in.PreferredMaintenanceWindow), checkRetention(in.BackupRetentionPeriod), checkStorage(in.AllocatedStorage),
		checkPassword(in.MasterUserPassword),
	)
}

// wish writes what in asks for into pending, and returns the part of it that does not wait for the maintenance window. Asking
// for what is there already takes a pending change back.
func (a *API) wish(db *instance, in *rds.ModifyDBInstanceInput, pending *types.PendingModifiedValues) types.PendingModifiedValues {
	want(&pending.MultiAZ, in.MultiAZ, db.DB.MultiAZ)
	want(&pending.BackupRetentionPeriod, in.BackupRetentionPeriod, db.DB.BackupRetentionPeriod)
	want(&pending.CACertificateIdentifier, in.CACertificateIdentifier, db.DB.CACertificateIdentifier)
	want(&pending.IAMDatabaseAuthenticationEnabled, in.EnableIAMDatabaseAuthentication, db.DB.IAMDatabaseAuthenticationEnabled)
	want(&pending.DBInstanceClass, in.DBInstanceClass, db.DB.DBInstanceClass)
	want(&pending.AllocatedStorage, in.AllocatedStorage, db.DB.AllocatedStorage)
	want(&pending.StorageType, in.StorageType, db.DB.StorageType)
	if id := in.NewDBInstanceIdentifier; id != nil {
		want(&pending.DBInstanceIdentifier, new(fold(*id)), db.DB.DBInstanceIdentifier)
	}
	if in.EngineVersion != nil {
		version, _ := a.target(db, in.EngineVersion) // it was checked
		want(&pending.EngineVersion, &version, db.DB.EngineVersion)
	}
	if in.MasterUserPassword != nil {
		pending.MasterUserPassword = new(masked)
	}
	soon := types.PendingModifiedValues{MasterUserPassword: pending.MasterUserPassword}
	if days := in.BackupRetentionPeriod; days != nil && *days > 0 && value(db.DB.BackupRetentionPeriod) > 0 {
		soon.BackupRetentionPeriod = pending.BackupRetentionPeriod
	}
	return soon
}

// want sets a pending value, or takes it back if it is the present one; a nil wish leaves it.
func want[T comparable](pending **T, wish, present *T) {
	switch {
	case wish == nil:
	case present != nil && *wish == *present:
		*pending = nil
	default:
		*pending = new(*wish)
	}
}

// redescribe changes what is only a description.
func redescribe(db *instance, in *rds.ModifyDBInstanceInput) {
	set(&db.DB.DeletionProtection, in.DeletionProtection)
	set(&db.DB.PreferredBackupWindow, in.PreferredBackupWindow)
	set(&db.DB.CopyTagsToSnapshot, in.CopyTagsToSnapshot)
	set(&db.DB.AutoMinorVersionUpgrade, in.AutoMinorVersionUpgrade)
	set(&db.DB.PubliclyAccessible, in.PubliclyAccessible)
	set(&db.DB.MaxAllocatedStorage, in.MaxAllocatedStorage)
	if w := in.PreferredMaintenanceWindow; w != nil {
		db.DB.PreferredMaintenanceWindow = new(strings.ToLower(*w))
	}
	if len(in.VpcSecurityGroupIds) > 0 {
		db.DB.VpcSecurityGroups = memberships(in.VpcSecurityGroupIds)
	}
}

func set[T any](field **T, v *T) {
	if v != nil {
		*field = new(*v)
	}
}

// modification is the work of applying values to an instance.
func modification(db *instance, apply types.PendingModifiedValues) work {
	return work{Kind: kindModify, Apply: &apply, MultiAZ: value(db.DB.MultiAZ), Retention: value(db.DB.BackupRetentionPeriod), Version: value(db.DB.EngineVersion)}
}

// forget takes pending values back. The caller holds the lock.
func (a *API) forget(in *instance, values *types.PendingModifiedValues) {
	p := in.DB.PendingModifiedValues
	drop(&p.MultiAZ, values.MultiAZ)
	drop(&p.BackupRetentionPeriod, values.BackupRetentionPeriod)
	drop(&p.CACertificateIdentifier, values.CACertificateIdentifier)
	drop(&p.IAMDatabaseAuthenticationEnabled, values.IAMDatabaseAuthenticationEnabled)
	drop(&p.DBInstanceClass, values.DBInstanceClass)
	drop(&p.AllocatedStorage, values.AllocatedStorage)
	drop(&p.StorageType, values.StorageType)
	drop(&p.DBInstanceIdentifier, values.DBInstanceIdentifier)
	drop(&p.MasterUserPassword, values.MasterUserPassword)
	drop(&p.EngineVersion, values.EngineVersion)
	in.password = secret.Value{}
}

func drop[T any](pending **T, value *T) {
	if value != nil {
		*pending = nil
	}
}

// sameValues compares the pending values that the sandbox knows.
func sameValues(x, y types.PendingModifiedValues) bool {
	return same(x.MultiAZ, y.MultiAZ) && same(x.BackupRetentionPeriod, y.BackupRetentionPeriod) &&
		same(x.CACertificateIdentifier, y.CACertificateIdentifier) && same(x.IAMDatabaseAuthenticationEnabled, y.IAMDatabaseAuthenticationEnabled) &&
		same(x.DBInstanceClass, y.DBInstanceClass) && same(x.AllocatedStorage, y.AllocatedStorage) && same(x.StorageType, y.StorageType) &&
		same(x.MasterUserPassword, y.MasterUserPassword) && same(x.DBInstanceIdentifier, y.DBInstanceIdentifier) &&
		same(x.EngineVersion, y.EngineVersion)
}

func same[T comparable](x, y *T) bool {
	if x == nil || y == nil {
		return x == y
	}
	return *x == *y
}
