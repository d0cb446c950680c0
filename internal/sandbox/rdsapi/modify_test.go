package rdsapi_test

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/rdsapi"
)

func modify(t *testing.T, c *rds.Client, in *rds.ModifyDBInstanceInput) types.DBInstance {
	t.Helper()
	in.DBInstanceIdentifier = new("orders")
	out, err := c.ModifyDBInstance(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return *out.DBInstance
}

func TestChangesWaitOrAreApplied(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), slowly)
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15)

	db := modify(t, c, &rds.ModifyDBInstanceInput{MultiAZ: new(true), DeletionProtection: new(true), PreferredMaintenanceWindow: new("Mon:01:00-Mon:02:00")})
	if *db.MultiAZ || !*db.PendingModifiedValues.MultiAZ || !*db.DeletionProtection || *db.PreferredMaintenanceWindow != "mon:01:00-mon:02:00" {
		t.Errorf("without ApplyImmediately: %+v", db)
	}
	db = modify(t, c, &rds.ModifyDBInstanceInput{DBInstanceClass: new("db.r6g.large")})
	if !*db.PendingModifiedValues.MultiAZ || *db.PendingModifiedValues.DBInstanceClass != "db.r6g.large" || *db.DBInstanceStatus != "available" {
		t.Errorf("pending changes do not add up: %+v", *db.PendingModifiedValues)
	}
	db = modify(t, c, &rds.ModifyDBInstanceInput{DBInstanceClass: new("db.t4g.medium")})
	if db.PendingModifiedValues.DBInstanceClass != nil {
		t.Errorf("asking for what is there does not take a pending change back: %+v", *db.PendingModifiedValues)
	}

	// ApplyImmediately applies what was pending before, too.
	db = modify(t, c, &rds.ModifyDBInstanceInput{AllocatedStorage: new(int32(200)), ApplyImmediately: new(true)})
	if *db.DBInstanceStatus != "available" || !*db.PendingModifiedValues.MultiAZ || *db.PendingModifiedValues.AllocatedStorage != 200 {
		t.Errorf("just after the request: %s %+v", *db.DBInstanceStatus, *db.PendingModifiedValues)
	}
	_, err := c.ModifyDBInstance(t.Context(), &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), BackupRetentionPeriod: new(int32(1))})
	if _, ok := errors.AsType[*types.InvalidDBInstanceStateFault](err); !ok {
		t.Errorf("a second change meanwhile: %v", err)
	}
	db, seen := until(t, c, "orders", settled)
	if !*db.MultiAZ || db.SecondaryAvailabilityZone == nil || *db.SecondaryAvailabilityZone == *db.AvailabilityZone || *db.AllocatedStorage != 200 {
		t.Errorf("after it: %+v", db)
	}
	if !slices.Contains(seen, "modifying") {
		t.Errorf("statuses: %v", seen)
	}
	want := []string{
		"DB instance created", "Applying modification to convert to a Multi-AZ DB Instance", "Finished applying modification to convert to a Multi-AZ DB Instance",
		"Applying modification to allocated storage", "Finished applying modification to allocated storage",
	}
	if got := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Equal(got, want) {
		t.Errorf("events: %q", got)
	}

	modify(t, c, &rds.ModifyDBInstanceInput{MultiAZ: new(false), ApplyImmediately: new(true)})
	if db, _ = until(t, c, "orders", settled); *db.MultiAZ || db.SecondaryAvailabilityZone != nil {
		t.Errorf("back to one zone: %v %v", *db.MultiAZ, db.SecondaryAvailabilityZone)
	}
	modify(t, c, &rds.ModifyDBInstanceInput{DBInstanceClass: new("db.r6g.large"), ApplyImmediately: new(true)})
	if db, _ = until(t, c, "orders", settled); *db.DBInstanceClass != "db.r6g.large" {
		t.Errorf("class: %s", *db.DBInstanceClass)
	}
	if got := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Contains(got, "DB instance restarted") {
		t.Errorf("a change of class has no outage: %q", got)
	}
}

func TestBackupsAreSwitchedOnAndOff(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), slowly)
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15)
	automated := func() int {
		out, err := c.DescribeDBSnapshots(t.Context(), &rds.DescribeDBSnapshotsInput{SnapshotType: new("automated")})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.DBSnapshots)
	}
	if db := describe(t, c, "orders"); db.LatestRestorableTime != nil || automated() != 0 {
		t.Errorf("without backups: %v", db.LatestRestorableTime)
	}
	_, err := c.RestoreDBInstanceToPointInTime(t.Context(), &rds.RestoreDBInstanceToPointInTimeInput{
		SourceDBInstanceIdentifier: new("orders"), TargetDBInstanceIdentifier: new("copy"), UseLatestRestorableTime: new(true),
	})
	if _, ok := errors.AsType[*types.PointInTimeRestoreNotEnabledFault](err); !ok {
		t.Errorf("restoring without backups: %v", err)
	}
	modify(t, c, &rds.ModifyDBInstanceInput{BackupRetentionPeriod: new(int32(7)), ApplyImmediately: new(true)})
	db, seen := until(t, c, "orders", settled)
	if *db.BackupRetentionPeriod != 7 || db.LatestRestorableTime == nil || automated() != 1 || !slices.Contains(seen, "backing-up") {
		t.Errorf("with backups: %d %v %d %v", *db.BackupRetentionPeriod, db.LatestRestorableTime, automated(), seen)
	}
	// From one length to another it does not wait for the window.
	db = modify(t, c, &rds.ModifyDBInstanceInput{BackupRetentionPeriod: new(int32(14)), MultiAZ: new(true)})
	if *db.PendingModifiedValues.BackupRetentionPeriod != 14 {
		t.Errorf("pending: %+v", *db.PendingModifiedValues)
	}
	db, _ = until(t, c, "orders", func(db types.DBInstance) bool {
		return *db.BackupRetentionPeriod == 14 && *db.DBInstanceStatus == "available"
	})
	if db.PendingModifiedValues.BackupRetentionPeriod != nil || db.PendingModifiedValues.MultiAZ == nil || *db.MultiAZ {
		t.Errorf("the other change did not wait: %+v", *db.PendingModifiedValues)
	}
	modify(t, c, &rds.ModifyDBInstanceInput{BackupRetentionPeriod: new(int32(0)), ApplyImmediately: new(true)})
	if db, _ = until(t, c, "orders", settled); db.LatestRestorableTime != nil || automated() != 0 {
		t.Errorf("without backups again: %v %d", db.LatestRestorableTime, automated())
	}
}

func TestTheMasterPasswordReallyChanges(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), slowly)
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15)
	const other = "another-horse-battery"
	db := modify(t, c, &rds.ModifyDBInstanceInput{MasterUserPassword: new(other)})
	if *db.PendingModifiedValues.MasterUserPassword != "****" {
		t.Errorf("pending password is shown as %q", *db.PendingModifiedValues.MasterUserPassword)
	}
	_, seen := until(t, c, "orders", settled)
	if !slices.Contains(seen, "resetting-master-credentials") {
		t.Errorf("statuses: %v", seen)
	}
	if err := p.try(t.Context(), db, master, other); err != nil {
		t.Error(err)
	}
	if p.try(t.Context(), db, master, hidden) == nil {
		t.Error("the old password still works")
	}
	if got := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Contains(got, "Reset master credentials") {
		t.Errorf("events: %q", got)
	}
}

func TestACertificateIsRotated(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), slowly)
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.CACertificateIdentifier = new("rds-ca-2019") })
	cas, err := c.DescribeCertificates(t.Context(), nil)
	if err != nil || len(cas.Certificates) != 3 || *cas.DefaultCertificateForNewLaunches != "rds-ca-rsa2048-g1" {
		t.Fatalf("certificates: %+v %v", cas, err)
	}
	names := map[string]string{"rds-ca-2019": "2019 CA", "rds-ca-rsa2048-g1": "Root CA RSA2048 G1", "rds-ca-ecc384-g1": "Root CA ECC384 G1"}
	signedBy := func(want string) {
		t.Helper()
		db := describe(t, c, "orders")
		seen := p.shown(t, db)
		if *db.CACertificateIdentifier != want || *db.CertificateDetails.CAIdentifier != want || !db.CertificateDetails.ValidTill.Equal(seen.NotAfter) {
			t.Errorf("described as %s %s until %v, a client sees one until %v", *db.CACertificateIdentifier, *db.CertificateDetails.CAIdentifier, db.CertificateDetails.ValidTill, seen.NotAfter)
		}
		if got := seen.Issuer.CommonName; got != "Amazon RDS "+region+" "+names[want] {
			t.Errorf("a client sees a certificate of %q, want %s", got, want)
		}
	}
	signedBy("rds-ca-2019")
	if left := time.Until(p.shown(t, describe(t, c, "orders")).NotAfter); left > 60*24*time.Hour {
		t.Errorf("the old authority's certificate is good for %v", left)
	}
	held, err := p.login(t.Context(), describe(t, c, "orders"), master, hidden, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close(t.Context()) }()
	modify(t, c, &rds.ModifyDBInstanceInput{CACertificateIdentifier: new("rds-ca-rsa2048-g1"), ApplyImmediately: new(true)})
	until(t, c, "orders", settled)
	signedBy("rds-ca-rsa2048-g1")
	if err := held.Ping(t.Context()); err != nil {
		t.Errorf("the rotation cut a session: %v", err)
	}

	modify(t, c, &rds.ModifyDBInstanceInput{CACertificateIdentifier: new("rds-ca-ecc384-g1"), CertificateRotationRestart: new(false), ApplyImmediately: new(true)})
	if db := describe(t, c, "orders"); db.PendingModifiedValues.CACertificateIdentifier == nil || *db.DBInstanceStatus != "available" {
		t.Errorf("without a restart: %s %+v", *db.DBInstanceStatus, *db.PendingModifiedValues)
	}
	signedBy("rds-ca-rsa2048-g1")
	if _, err := c.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "orders", settled)
	signedBy("rds-ca-ecc384-g1")
}

func TestIAMTokens(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), slowly)
	c := p.client(t, "user/dbops")
	s := p.adopt(t, "orders", 15)
	p.adopt(t, "other", 15)
	run(t, s, "postgres", "create role app login; grant rds_iam to app")
	db := describe(t, c, "orders")
	token := func(who, endpoint, user string) string {
		t.Helper()
		tok, err := auth.BuildAuthToken(t.Context(), endpoint, region, user, p.credentials(t, who))
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	right := token("user/dbops", endpoint(db), "app")
	if p.try(t.Context(), db, "app", right) == nil {
		t.Error("a token was accepted before IAM authentication was switched on")
	}
	modify(t, c, &rds.ModifyDBInstanceInput{EnableIAMDatabaseAuthentication: new(true), ApplyImmediately: new(true)})
	until(t, c, "orders", settled)
	if err := p.try(t.Context(), db, "app", right); err != nil {
		t.Error(err)
	}
	for name, tok := range map[string]string{
		"of another endpoint":           token("user/dbops", endpoint(describe(t, c, "other")), "app"),
		"of another user":               token("user/dbops", endpoint(db), master),
		"of somebody who may not":       token("user/viewer", endpoint(db), "app"),
		"that is a password":            hidden,
		"that is the right one, edited": right[:len(right)-1] + "x",
	} {
		if p.try(t.Context(), db, "app", tok) == nil {
			t.Errorf("a token %s was accepted", name)
		}
	}
	if err := p.try(t.Context(), db, master, hidden); err != nil {
		t.Errorf("a role with a password: %v", err)
	}
	modify(t, c, &rds.ModifyDBInstanceInput{EnableIAMDatabaseAuthentication: new(false), ApplyImmediately: new(true)})
	until(t, c, "orders", settled)
	if p.try(t.Context(), db, "app", right) == nil {
		t.Error("a token was accepted after IAM authentication was switched off")
	}
}

func TestWhatIsPendingIsAppliedInItsWindow(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	p := start(t, newDir(t), func(c *rdsapi.Config) { c.Now = now })
	c := p.client(t, "user/dbops")
	window := func(from time.Time) *string {
		const form = "Mon:15:04"
		return new(strings.ToLower(from.UTC().Format(form) + "-" + from.Add(time.Hour).UTC().Format(form)))
	}
	p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.PreferredMaintenanceWindow = window(now().Add(24 * time.Hour)) })
	modify(t, c, &rds.ModifyDBInstanceInput{MultiAZ: new(true)})
	p.api.Maintain()
	// Nothing has begun: the instance takes another change.
	if db := modify(t, c, &rds.ModifyDBInstanceInput{CopyTagsToSnapshot: new(true)}); *db.MultiAZ || db.PendingModifiedValues.MultiAZ == nil {
		t.Errorf("applied before its window: %v %+v", *db.MultiAZ, *db.PendingModifiedValues)
	}
	ahead.Store(int64(24*time.Hour + 30*time.Minute))
	p.api.Maintain()
	if db, _ := until(t, c, "orders", settled); !*db.MultiAZ {
		t.Error("not applied in its window")
	}
}
