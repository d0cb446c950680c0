package rdsapi_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

func TestAnInstanceIsUpgradedThoughTheSandboxEnds(t *testing.T) {
	t.Parallel()
	dir := newDir(t)
	p := start(t, dir, at(1)) // nothing ends by itself
	c := p.client(t, "user/dbops")
	run(t, p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) {
		in.BackupRetentionPeriod, in.EnableIAMDatabaseAuthentication = new(int32(7)), new(true)
	}), "postgres", "create role app login; grant rds_iam to app", "create table item as select 42 as id")
	before := modify(t, c, &rds.ModifyDBInstanceInput{EngineVersion: new("17"), AllowMajorVersionUpgrade: new(true), ApplyImmediately: new(true)})
	if v := before.PendingModifiedValues.EngineVersion; v == nil || !strings.HasPrefix(*v, "17.") || !strings.HasPrefix(*before.EngineVersion, "15.") {
		t.Errorf("just after the request: %+v", before)
	}
	p.close()

	p = start(t, dir)
	c = p.client(t, "user/dbops")
	refused, seen := 0, []string{}
	db := describe(t, c, "orders")
	for deadline := time.Now().Add(time.Minute); ; db = describe(t, c, "orders") {
		if s := *db.DBInstanceStatus; len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		if *db.DBInstanceStatus == "available" && db.PendingModifiedValues.EngineVersion == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not end: %v", seen)
		}
		if p.try(t.Context(), db, master, hidden) != nil {
			refused++
		}
	}
	if !slices.Contains(seen, "upgrading") || refused == 0 {
		t.Errorf("statuses %v, %d logins refused", seen, refused)
	}
	if !strings.HasPrefix(*db.EngineVersion, "17.") || *db.DBParameterGroups[0].DBParameterGroupName != "default.postgres17" ||
		*db.DbiResourceId != *before.DbiResourceId || endpoint(db) != endpoint(before) {
		t.Errorf("from %+v to %+v", before, db)
	}
	token, err := auth.BuildAuthToken(t.Context(), endpoint(db), region, "app", p.credentials(t, "user/dbops"))
	if err != nil {
		t.Fatal(err)
	}
	for user, word := range map[string]string{master: hidden, "app": token} {
		if err := p.try(t.Context(), db, user, word); err != nil {
			t.Errorf("%s cannot log in: %v", user, err)
		}
	}
	run(t, p.api.Server("orders"), "postgres", "select 1 / (count(*) filter (where id = 42)) from item")

	out, err := c.DescribeDBSnapshots(t.Context(), &rds.DescribeDBSnapshotsInput{DBInstanceIdentifier: new("orders")})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, s := range out.DBSnapshots {
		name, _, _ := strings.Cut(*s.DBSnapshotIdentifier, "-to-")
		kinds[name] = *s.Status + " " + *s.EngineVersion
	}
	if was := "available " + *before.EngineVersion; kinds["preupgrade-orders-"+strings.ReplaceAll(*before.EngineVersion, ".", "-")] != was || len(out.DBSnapshots) != 3 {
		t.Errorf("snapshots: %v", kinds)
	}
	if told := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Contains(told, "Database instance was upgraded from "+*before.EngineVersion+" to "+*db.EngineVersion) {
		t.Errorf("events: %q", told)
	}
	_, err = c.RestoreDBInstanceToPointInTime(t.Context(), &rds.RestoreDBInstanceToPointInTimeInput{
		SourceDBInstanceIdentifier: new("orders"), TargetDBInstanceIdentifier: new("copy"), RestoreTime: new(before.InstanceCreateTime.Add(time.Minute)),
	})
	if code(err) != "InvalidParameterValue" {
		t.Errorf("a point in time before it: %v", err)
	}
}

func TestAnUpgradeIsRefusedByWhatIsInTheDatabases(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	s := p.adopt(t, "orders", 16)
	run(t, s, "postgres", "select pg_create_logical_replication_slot('cdc', 'pgoutput')")
	modify(t, c, &rds.ModifyDBInstanceInput{EngineVersion: new("18"), AllowMajorVersionUpgrade: new(true), ApplyImmediately: new(true)})
	db, _ := until(t, c, "orders", func(db types.DBInstance) bool {
		return *db.DBInstanceStatus == "available" && db.PendingModifiedValues.EngineVersion == nil
	})
	if !strings.HasPrefix(*db.EngineVersion, "16.") || p.try(t.Context(), db, master, hidden) != nil {
		t.Errorf("afterwards: %+v", db)
	}
	told := messages(t, c, types.SourceTypeDbInstance, "orders")
	logs, err := c.DescribeDBLogFiles(t.Context(), &rds.DescribeDBLogFilesInput{DBInstanceIdentifier: new("orders"), FilenameContains: new("precheck")})
	if err != nil || len(logs.DescribeDBLogFiles) != 1 {
		t.Fatalf("logs: %+v, %v", logs, err)
	}
	name := *logs.DescribeDBLogFiles[0].LogFileName
	if !strings.HasSuffix(told[len(told)-1], "its prechecks failed. See "+name) {
		t.Errorf("events: %q", told)
	}
	file, err := c.DownloadDBLogFilePortion(t.Context(), &rds.DownloadDBLogFilePortionInput{DBInstanceIdentifier: new("orders"), LogFileName: &name})
	if err != nil || !strings.Contains(*file.LogFileData, "* logical replication slots are there: cdc") {
		t.Errorf("log: %+v, %v", file, err)
	}
	if _, err := c.DownloadDBLogFilePortion(t.Context(), &rds.DownloadDBLogFilePortionInput{DBInstanceIdentifier: new("orders"), LogFileName: new("none")}); code(err) != "DBLogFileNotFoundFault" {
		t.Errorf("no log: %v", err)
	}
}
