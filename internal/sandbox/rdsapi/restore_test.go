package rdsapi_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/world"
)

func count(t *testing.T, s *world.Server, query string) int {
	t.Helper()
	conn, err := s.DB(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var n int
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// clock is the time on the real server.
func clock(t *testing.T, s *world.Server) time.Time {
	t.Helper()
	conn, err := s.DB(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var now time.Time
	if err := conn.QueryRow(t.Context(), "select clock_timestamp()").Scan(&now); err != nil {
		t.Fatal(err)
	}
	return now
}

func TestAPointInTimeIsRestored(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprintf("on PostgreSQL %d", major), func(t *testing.T) {
			t.Parallel()
			p := start(t, newDir(t))
			c := p.client(t, "user/dbops")
			s := p.adopt(t, "orders", major, func(in *rds.CreateDBInstanceInput) {
				in.BackupRetentionPeriod, in.DBName, in.DeletionProtection, in.MultiAZ = new(int32(7)), new("shop"), new(true), new(true)
				in.Tags = []types.Tag{{Key: new("env"), Value: new("prod")}}
			})
			created := clock(t, s)
			run(t, s, "shop", "create table item (id int)", "insert into item select generate_series(1, 100)")
			pause(t, 20*time.Millisecond)
			good := clock(t, s)
			pause(t, 20*time.Millisecond)
			run(t, s, "shop", "delete from item", "create table later ()")
			until(t, c, "orders", func(db types.DBInstance) bool { return db.LatestRestorableTime.After(good) })

			restore := func(in *rds.RestoreDBInstanceToPointInTimeInput) error {
				in.SourceDBInstanceIdentifier = new("orders")
				_, err := c.RestoreDBInstanceToPointInTime(t.Context(), in)
				return err
			}
			for name, in := range map[string]*rds.RestoreDBInstanceToPointInTimeInput{
				"the future":                {TargetDBInstanceIdentifier: new("copy"), RestoreTime: new(time.Now().Add(time.Hour))},
				"before the first backup":   {TargetDBInstanceIdentifier: new("copy"), RestoreTime: new(created.Add(-time.Hour))},
				"no time":                   {TargetDBInstanceIdentifier: new("copy")},
				"two times":                 {TargetDBInstanceIdentifier: new("copy"), RestoreTime: &good, UseLatestRestorableTime: new(true)},
				"an identifier that exists": {TargetDBInstanceIdentifier: new("orders"), RestoreTime: &good},
			} {
				if err := restore(in); err == nil {
					t.Errorf("restoring to %s was accepted", name)
				}
			}
			if err := restore(&rds.RestoreDBInstanceToPointInTimeInput{TargetDBInstanceIdentifier: new("copy"), RestoreTime: &good}); err != nil {
				t.Fatal(err)
			}
			if err := rds.NewDBInstanceAvailableWaiter(c, soon).Wait(t.Context(), &rds.DescribeDBInstancesInput{DBInstanceIdentifier: new("copy")}, time.Minute); err != nil {
				t.Fatal(err)
			}
			db := describe(t, c, "copy")
			if *db.DeletionProtection || *db.MultiAZ || len(db.TagList) > 0 || *db.BackupRetentionPeriod != 7 || *db.MasterUsername != master {
				t.Errorf("a restored instance does not have RDS's defaults: %+v", db)
			}
			if n := count(t, p.api.Server("copy"), "select count(*) from item"); n != 100 {
				t.Errorf("%d items at the moment that was wanted", n)
			}
			if err := p.try(t.Context(), db, master, hidden); err != nil {
				t.Errorf("the master of that moment: %v", err)
			}
			after := clock(t, s)
			until(t, c, "orders", func(db types.DBInstance) bool { return db.LatestRestorableTime.After(after) })
			if err := restore(&rds.RestoreDBInstanceToPointInTimeInput{TargetDBInstanceIdentifier: new("latest"), UseLatestRestorableTime: new(true)}); err != nil {
				t.Fatal(err)
			}
			until(t, c, "latest", settled)
			if n := count(t, p.api.Server("latest"), "select count(*) + (select count(*) from pg_class where relname = 'later') from item"); n != 1 {
				t.Errorf("the latest moment: %d", n)
			}
			if n := count(t, s, "select count(*) from item"); n != 0 {
				t.Errorf("the source changed: %d", n)
			}
		})
	}
}

func TestASnapshotIsRestored(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	ctx := t.Context()
	s := p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.DBName = new("shop") })
	run(t, s, "shop", "create table item (id int)", "insert into item select generate_series(1, 10)")
	made, err := c.CreateDBSnapshot(ctx, &rds.CreateDBSnapshotInput{DBInstanceIdentifier: new("orders"), DBSnapshotIdentifier: new("before"), Tags: []types.Tag{{Key: new("why"), Value: new("test")}}})
	if err != nil || *made.DBSnapshot.Status != "creating" {
		t.Fatalf("%+v %v", made, err)
	}
	of := &rds.DescribeDBSnapshotsInput{DBSnapshotIdentifier: new("before")}
	if err := rds.NewDBSnapshotAvailableWaiter(c, func(o *rds.DBSnapshotAvailableWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
	}).Wait(ctx, of, time.Minute); err != nil {
		t.Fatal(err)
	}
	until(t, c, "orders", settled)
	_, err = c.CreateDBSnapshot(ctx, &rds.CreateDBSnapshotInput{DBInstanceIdentifier: new("orders"), DBSnapshotIdentifier: new("before")})
	if _, ok := errors.AsType[*types.DBSnapshotAlreadyExistsFault](err); !ok {
		t.Errorf("the same snapshot again: %v", err)
	}
	run(t, s, "shop", "drop table item")
	if _, err := c.RestoreDBInstanceFromDBSnapshot(ctx, &rds.RestoreDBInstanceFromDBSnapshotInput{
		DBInstanceIdentifier: new("copy"), DBSnapshotIdentifier: new("before"), DeletionProtection: new(true), BackupRetentionPeriod: new(int32(0)),
	}); err != nil {
		t.Fatal(err)
	}
	db, _ := until(t, c, "copy", settled)
	if n := count(t, p.api.Server("copy"), "select count(*) from item"); n != 10 || !*db.DeletionProtection {
		t.Errorf("restored %d items, protected %v", n, *db.DeletionProtection)
	}
	if got := messages(t, c, types.SourceTypeDbInstance, "copy"); len(got) != 1 || got[0] != "Restored from snapshot before" {
		t.Errorf("events: %q", got)
	}
	if _, err := c.DeleteDBSnapshot(ctx, &rds.DeleteDBSnapshotInput{DBSnapshotIdentifier: new("before")}); err != nil {
		t.Fatal(err)
	}
	if left := p.world.Backups(""); len(left) != 0 {
		t.Errorf("the physical backup of a deleted snapshot is left: %v", left)
	}
	_, err = c.DescribeDBSnapshots(ctx, of)
	if _, ok := errors.AsType[*types.DBSnapshotNotFoundFault](err); !ok {
		t.Errorf("a deleted snapshot: %v", err)
	}
	if got := messages(t, c, types.SourceTypeDbSnapshot, "before"); len(got) != 3 || got[2] != "Deleted manual snapshot" {
		t.Errorf("events of the snapshot: %q", got)
	}
}

func TestEverythingOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := start(t, dir)
	c := p.client(t, "user/dbops")
	s := p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.DBName = new("shop") })
	p.adopt(t, "stopped", 15)
	run(t, s, "shop", "create table item (id int)", "insert into item values (1)")
	if _, err := c.StopDBInstance(t.Context(), &rds.StopDBInstanceInput{DBInstanceIdentifier: new("stopped")}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "stopped", status("stopped"))
	modify(t, c, &rds.ModifyDBInstanceInput{CACertificateIdentifier: new("rds-ca-ecc384-g1"), ApplyImmediately: new(true)})
	until(t, c, "orders", settled)
	before := describe(t, c, "orders")

	// Cut transitions in the middle: a modification with a password, and a creation.
	p.faults.Add(play.Fault{Service: "rds", Effect: play.Hang})
	modify(t, c, &rds.ModifyDBInstanceInput{MultiAZ: new(true), MasterUserPassword: new("another-horse-battery"), ApplyImmediately: new(true)})
	if _, err := c.CreateDBInstance(t.Context(), &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: new("half"), Engine: new("postgres"), EngineVersion: new("15"), DBInstanceClass: new("db.t4g.micro"), AllocatedStorage: new(int32(20)),
		MasterUsername: new(master), MasterUserPassword: new(hidden),
	}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "orders", status("resetting-master-credentials"))
	p.close()

	p = start(t, dir)
	c = p.client(t, "user/dbops")
	db, _ := until(t, c, "orders", settled)
	if !*db.MultiAZ || endpoint(db) != endpoint(before) || *db.DbiResourceId != *before.DbiResourceId {
		t.Errorf("the modification did not go on: %v, endpoint %s before and %s after", *db.MultiAZ, endpoint(before), endpoint(db))
	}
	if n := count(t, p.api.Server("orders"), "select count(*) from item"); n != 1 {
		t.Errorf("data: %d", n)
	}
	if err := p.try(t.Context(), db, master, hidden); err != nil {
		t.Errorf("the old password, as the new one was lost: %v", err)
	}
	if got := p.shown(t, db); !got.NotAfter.Equal(*before.CertificateDetails.ValidTill) {
		t.Error("the certificate is another one")
	}
	got := messages(t, c, types.SourceTypeDbInstance, "orders")
	if len(got) < 2 || got[1] != "Unable to reset your password. Error information: the sandbox ended before the password was set, and does not keep passwords" {
		t.Errorf("events: %q", got)
	}
	until(t, c, "half", status("failed"))
	off := describe(t, c, "stopped")
	if *off.DBInstanceStatus != "stopped" || p.try(t.Context(), off, master, hidden) == nil {
		t.Errorf("an instance that was stopped is %s", *off.DBInstanceStatus)
	}
	if s := p.adopt(t, "orders", 15); s.Addr() != endpoint(before) {
		t.Error("adopting again made another server")
	}
}
