package rdsapi_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"dbops/internal/sandbox/play"
)

// soon are waiters of the SDK at the pace of the tests.
func soon(o *rds.DBInstanceAvailableWaiterOptions) {
	o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
}

func TestAnInstanceLives(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	ctx := t.Context()

	made, err := c.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: new("Orders"), Engine: new("postgres"), EngineVersion: new("15"), DBInstanceClass: new("db.t4g.micro"),
		AllocatedStorage: new(int32(20)), MasterUsername: new(master), MasterUserPassword: new(hidden), DBName: new("shop"),
		BackupRetentionPeriod: new(int32(7)), DeletionProtection: new(true), Tags: []types.Tag{{Key: new("b"), Value: new("2")}, {Key: new("a"), Value: new("1 & <2>")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if db := made.DBInstance; *db.DBInstanceStatus != "creating" || db.Endpoint != nil || *db.DBInstanceIdentifier != "orders" {
		t.Errorf("at first: %s %v %s", *db.DBInstanceStatus, db.Endpoint, *db.DBInstanceIdentifier)
	}
	_, err = c.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: new("orders"), SkipFinalSnapshot: new(true)})
	if code(err) != "InvalidParameterCombination" {
		t.Errorf("deleting a protected instance: %v", err)
	}
	_, err = c.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
		DBInstanceIdentifier: new("orders"), Engine: new("postgres"), DBInstanceClass: new("db.t4g.micro"), AllocatedStorage: new(int32(20)),
		MasterUsername: new(master), MasterUserPassword: new(hidden),
	})
	if _, ok := errors.AsType[*types.DBInstanceAlreadyExistsFault](err); !ok {
		t.Errorf("creating it twice: %v", err)
	}
	id := &rds.DescribeDBInstancesInput{DBInstanceIdentifier: new("orders")}
	if err := rds.NewDBInstanceAvailableWaiter(c, soon).Wait(ctx, id, time.Minute); err != nil {
		t.Fatal(err)
	}
	db := describe(t, c, "ORDERS")
	if !strings.HasPrefix(*db.EngineVersion, "15.") || *db.MasterUsername != master || *db.DBName != "shop" || *db.MultiAZ ||
		*db.DBInstanceArn != "arn:aws:rds:eu-west-1:123456789012:db:orders" || *db.TagList[0].Value != "1 & <2>" || db.LatestRestorableTime == nil ||
		*db.CertificateDetails.CAIdentifier != "rds-ca-rsa2048-g1" || *db.DBParameterGroups[0].DBParameterGroupName != "default.postgres15" {
		t.Errorf("description: %+v", db)
	}
	conn, err := p.login(ctx, db, master, hidden, "shop")
	if err != nil {
		t.Fatal(err)
	}
	var super, owner bool
	err = conn.QueryRow(ctx, `select rolsuper, pg_has_role(current_user, 'rds_superuser', 'member') and
		(select datdba = r.oid from pg_database where datname = 'shop') from pg_roles r where rolname = current_user`).Scan(&super, &owner)
	if err != nil || super || !owner {
		t.Errorf("master: superuser %v, owner and member of rds_superuser %v, %v", super, owner, err)
	}
	_ = conn.Close(ctx)

	if want := []string{"DB instance created", "Backing up DB instance", "Finished DB Instance backup"}; !slices.Equal(messages(t, c, types.SourceTypeDbInstance, "orders"), want) {
		t.Errorf("events: %q", messages(t, c, types.SourceTypeDbInstance, "orders"))
	}
	snaps, err := c.DescribeDBSnapshots(ctx, &rds.DescribeDBSnapshotsInput{DBInstanceIdentifier: new("orders"), SnapshotType: new("automated")})
	if err != nil || len(snaps.DBSnapshots) != 1 || !strings.HasPrefix(*snaps.DBSnapshots[0].DBSnapshotIdentifier, "rds:orders-") {
		t.Errorf("automated snapshots: %+v %v", snaps, err)
	}

	if _, err := c.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), DeletionProtection: new(false)}); err != nil {
		t.Fatal(err)
	}
	_, err = c.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: new("orders"), FinalDBSnapshotIdentifier: new("orders-final")})
	if err != nil {
		t.Fatal(err)
	}
	if db := describe(t, c, "orders"); *db.DBInstanceStatus != "deleting" {
		t.Errorf("while it is deleted: %s", *db.DBInstanceStatus)
	}
	if err := rds.NewDBInstanceDeletedWaiter(c, func(o *rds.DBInstanceDeletedWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 20*time.Millisecond
	}).Wait(ctx, id, time.Minute); err != nil {
		t.Fatal(err)
	}
	_, err = c.DescribeDBInstances(ctx, id)
	if _, ok := errors.AsType[*types.DBInstanceNotFoundFault](err); !ok {
		t.Errorf("after it was deleted: %v", err)
	}
	if p.api.Server("orders") != nil || p.try(ctx, db, master, hidden) == nil {
		t.Error("the real server is still there")
	}
	left, err := c.DescribeDBSnapshots(ctx, nil)
	if err != nil || len(left.DBSnapshots) != 1 || *left.DBSnapshots[0].DBSnapshotIdentifier != "orders-final" || *left.DBSnapshots[0].Status != "available" {
		t.Errorf("snapshots that are left: %+v %v", left, err)
	}
}

func TestAFailoverHasDowntimeAndSwapsTheZones(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t), at(0.01))
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.MultiAZ = new(true) })
	p.adopt(t, "single", 15)
	before := describe(t, c, "orders")
	_, err := c.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("single"), ForceFailover: new(true)})
	if code(err) != "InvalidParameterCombination" {
		t.Errorf("failover without a standby: %v", err)
	}
	out, err := c.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders"), ForceFailover: new(true)})
	if err != nil {
		t.Fatal(err)
	}
	if *out.DBInstance.DBInstanceStatus != "rebooting" {
		t.Errorf("status %s", *out.DBInstance.DBInstanceStatus)
	}
	var down, up time.Time
	for up.IsZero() {
		err := p.try(t.Context(), before, master, hidden)
		switch {
		case err != nil && down.IsZero():
			down = time.Now()
		case err == nil && !down.IsZero():
			up = time.Now()
		case time.Since(down) > time.Minute && !down.IsZero():
			t.Fatal(err)
		}
		pause(t, 5*time.Millisecond)
	}
	if d := up.Sub(down); d < 600*time.Millisecond || d > 15*time.Second {
		t.Errorf("clients were without a server for %v", d)
	}
	after, _ := until(t, c, "orders", settled)
	if *after.AvailabilityZone != *before.SecondaryAvailabilityZone || *after.SecondaryAvailabilityZone != *before.AvailabilityZone {
		t.Errorf("zones: %s and %s before, %s and %s after", *before.AvailabilityZone, *before.SecondaryAvailabilityZone, *after.AvailabilityZone, *after.SecondaryAvailabilityZone)
	}
	if endpoint(after) != endpoint(before) {
		t.Errorf("endpoint: %s before, %s after", endpoint(before), endpoint(after))
	}
	want := []string{"DB instance created", "Multi-AZ instance failover started.", "DB instance restarted", "Multi-AZ instance failover completed"}
	if got := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
}

func TestAnInstanceStopsAndStarts(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	p.adopt(t, "orders", 15)
	db := describe(t, c, "orders")
	if _, err := c.StopDBInstance(t.Context(), &rds.StopDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
		t.Fatal(err)
	}
	stopped, seen := until(t, c, "orders", status("stopped"))
	if !slices.Equal(seen, []string{"stopping", "stopped"}) && !slices.Equal(seen, []string{"stopped"}) {
		t.Errorf("statuses: %v", seen)
	}
	if stopped.AutomaticRestartTime == nil {
		t.Error("no time of the automatic restart")
	}
	if err := p.try(t.Context(), db, master, hidden); err == nil {
		t.Error("a stopped instance lets clients in")
	}
	_, err := c.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")})
	if _, ok := errors.AsType[*types.InvalidDBInstanceStateFault](err); !ok {
		t.Errorf("rebooting a stopped instance: %v", err)
	}
	if _, err := c.StartDBInstance(t.Context(), &rds.StartDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "orders", settled)
	if err := p.try(t.Context(), db, master, hidden); err != nil {
		t.Error(err)
	}
	if _, err := c.RebootDBInstance(t.Context(), &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
		t.Fatal(err)
	}
	until(t, c, "orders", settled)
	want := []string{"DB instance created", "DB instance stopped", "DB instance started", "DB instance restarted"}
	if got := messages(t, c, types.SourceTypeDbInstance, "orders"); !slices.Equal(got, want) {
		t.Errorf("events: %q", got)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	c := p.client(t, "user/dbops")
	ctx := t.Context()
	p.adopt(t, "orders", 15, func(in *rds.CreateDBInstanceInput) { in.MultiAZ = new(true) })
	one := &rds.DescribeDBInstancesInput{DBInstanceIdentifier: new("orders")}

	for effect, want := range map[play.Effect]string{play.Throttle: "Throttling", play.Deny: "AccessDenied", play.Unavailable: "ServiceUnavailable"} {
		p.faults.Add(play.Fault{Service: "rds", Target: "orders", Effect: effect, Count: 1})
		if _, err := c.DescribeDBInstances(ctx, one); code(err) != want {
			t.Errorf("%s: %v", effect, err)
		}
	}
	p.faults.Add(play.Fault{Service: "rds", Effect: play.Drop, Count: 1})
	if _, err := c.DescribeDBInstances(ctx, one); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("drop: %v", err)
	}
	p.faults.Add(play.Fault{Service: "rds", Action: "DescribeDBInstances", Effect: play.Throttle, Count: 2})
	patient := p.client(t, "user/dbops", func(o *rds.Options) { o.RetryMaxAttempts = 5 })
	if _, err := patient.DescribeDBInstances(ctx, one); err != nil {
		t.Errorf("the SDK did not retry a throttled request: %v", err)
	}

	t.Run("a reboot that fails, and one that helps", func(t *testing.T) {
		p.faults.Add(play.Fault{Service: "rds", Action: "RebootDBInstance", Effect: play.Fail, Count: 1})
		if _, err := c.RebootDBInstance(ctx, &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
			t.Fatal(err)
		}
		until(t, c, "orders", status("incompatible-parameters"))
		if err := rds.NewDBInstanceAvailableWaiter(c, soon).Wait(ctx, one, time.Minute); err == nil || !strings.Contains(err.Error(), "Failure") {
			t.Errorf("the waiter of the SDK does not see it: %v", err)
		}
		if _, err := c.RebootDBInstance(ctx, &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
			t.Fatal(err)
		}
		until(t, c, "orders", settled)
	})
	t.Run("a modification that fails, and a start that helps", func(t *testing.T) {
		p.faults.Add(play.Fault{Service: "rds", Action: "ModifyDBInstance", Effect: play.Fail, Count: 1})
		_, err := c.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), MultiAZ: new(false), ApplyImmediately: new(true)})
		if err != nil {
			t.Fatal(err)
		}
		db, _ := until(t, c, "orders", status("incompatible-network"))
		if !*db.MultiAZ || db.PendingModifiedValues.MultiAZ != nil {
			t.Errorf("after the failure: %v, pending %v", *db.MultiAZ, db.PendingModifiedValues.MultiAZ)
		}
		if _, err := c.StartDBInstance(ctx, &rds.StartDBInstanceInput{DBInstanceIdentifier: new("orders")}); err != nil {
			t.Fatal(err)
		}
		until(t, c, "orders", settled)
	})
	t.Run("a snapshot that fails", func(t *testing.T) {
		p.faults.Add(play.Fault{Service: "rds", Action: "CreateDBSnapshot", Effect: play.Fail, Count: 1})
		if _, err := c.CreateDBSnapshot(ctx, &rds.CreateDBSnapshotInput{DBInstanceIdentifier: new("orders"), DBSnapshotIdentifier: new("s1")}); err != nil {
			t.Fatal(err)
		}
		until(t, c, "orders", settled)
		out, err := c.DescribeDBSnapshots(ctx, &rds.DescribeDBSnapshotsInput{DBSnapshotIdentifier: new("s1")})
		if err != nil || *out.DBSnapshots[0].Status != "failed" {
			t.Errorf("snapshot: %+v %v", out, err)
		}
	})
	t.Run("a creation that fails", func(t *testing.T) {
		p.faults.Add(play.Fault{Service: "rds", Target: "broken", Effect: play.Fail, Count: 1})
		_, err := c.CreateDBInstance(ctx, &rds.CreateDBInstanceInput{
			DBInstanceIdentifier: new("broken"), Engine: new("postgres"), EngineVersion: new("15"), DBInstanceClass: new("db.t4g.micro"), AllocatedStorage: new(int32(20)),
			MasterUsername: new(master), MasterUserPassword: new(hidden),
		})
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, "broken", status("failed"))
		if got := messages(t, c, types.SourceTypeDbInstance, "broken"); len(got) != 1 || !strings.HasPrefix(got[0], "The DB instance creation failed.") {
			t.Errorf("events: %q", got)
		}
		if _, err := c.DeleteDBInstance(ctx, &rds.DeleteDBInstanceInput{DBInstanceIdentifier: new("broken"), SkipFinalSnapshot: new(true)}); err != nil {
			t.Error(err)
		}
	})
	t.Run("a modification that never ends", func(t *testing.T) {
		p.faults.Add(play.Fault{Service: "rds", Action: "ModifyDBInstance", Effect: play.Hang, Count: 1})
		_, err := c.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), MultiAZ: new(false), ApplyImmediately: new(true)})
		if err != nil {
			t.Fatal(err)
		}
		until(t, c, "orders", status("modifying"))
		_, err = c.RebootDBInstance(ctx, &rds.RebootDBInstanceInput{DBInstanceIdentifier: new("orders")})
		if _, ok := errors.AsType[*types.InvalidDBInstanceStateFault](err); !ok {
			t.Errorf("rebooting while it is modified: %v", err)
		}
	})
}

func TestPrincipalsAndWhatIsNotPlayed(t *testing.T) {
	t.Parallel()
	p := start(t, newDir(t))
	p.adopt(t, "orders", 15)
	ctx := t.Context()
	c, viewer := p.client(t, "user/dbops"), p.client(t, "user/viewer")

	describe(t, viewer, "orders")
	_, err := viewer.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), MultiAZ: new(true)})
	want := "User: arn:aws:iam::123456789012:user/viewer is not authorized to perform: rds:ModifyDBInstance on resource: arn:aws:rds:eu-west-1:123456789012:db:orders because no identity-based policy allows the rds:ModifyDBInstance action"
	if code(err) != "AccessDenied" || !strings.Contains(err.Error(), want) {
		t.Errorf("a viewer who modifies: %v", err)
	}
	_, err = viewer.DescribeEvents(ctx, nil)
	if code(err) != "AccessDenied" || !strings.Contains(err.Error(), "explicit deny") {
		t.Errorf("what is denied explicitly: %v", err)
	}
	who, err := sts.New(sts.Options{Region: region, BaseEndpoint: &p.server.URL, Credentials: p.credentials(t, "user/viewer")}).GetCallerIdentity(ctx, nil)
	if err != nil || !strings.HasSuffix(*who.Arn, "user/viewer") {
		t.Errorf("caller: %v %v", who, err)
	}

	_, err = c.DescribeDBProxies(ctx, nil)
	if code(err) != "NotImplemented" || !strings.Contains(err.Error(), "sandbox: not emulated: rds DescribeDBProxies") {
		t.Errorf("an operation that is not played: %v", err)
	}
	for name, in := range map[string]*rds.ModifyDBInstanceInput{
		"Iops":                 {Iops: new(int32(3000))},
		"Domain":               {Domain: new("x")},
		"DBParameterGroupName": {DBParameterGroupName: new("mine")},
	} {
		in.DBInstanceIdentifier = new("orders")
		_, err := c.ModifyDBInstance(ctx, in)
		if code(err) != "InvalidParameterCombination" || !strings.Contains(err.Error(), "sandbox: not emulated: "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, in := range map[string]*rds.ModifyDBInstanceInput{
		"AllowMajorVersionUpgrade flag must be present": {EngineVersion: new("17.10")},
		"Cannot upgrade postgres from":                  {EngineVersion: new("14.23"), AllowMajorVersionUpgrade: new(true)},
		"Please use a Parameter Group with DBParameterGroupFamily postgres17": {
			EngineVersion: new("17"), AllowMajorVersionUpgrade: new(true), DBParameterGroupName: new("default.postgres16"),
		},
	} {
		in.DBInstanceIdentifier = new("orders")
		if _, err := c.ModifyDBInstance(ctx, in); code(err) != "InvalidParameterCombination" || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for name, in := range map[string]*rds.ModifyDBInstanceInput{
		"a retention of 36 days": {BackupRetentionPeriod: new(int32(36))},
		"a short password":       {MasterUserPassword: new("short")},
		"a window":               {PreferredMaintenanceWindow: new("someday")},
		"a class":                {DBInstanceClass: new("large")},
	} {
		in.DBInstanceIdentifier = new("orders")
		if _, err := c.ModifyDBInstance(ctx, in); code(err) != "InvalidParameterValue" {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = c.ModifyDBInstance(ctx, &rds.ModifyDBInstanceInput{DBInstanceIdentifier: new("orders"), CACertificateIdentifier: new("rds-ca-none")})
	if _, ok := errors.AsType[*types.CertificateNotFoundFault](err); !ok {
		t.Errorf("an unknown authority: %v", err)
	}
	elsewhere := p.client(t, "user/dbops", func(o *rds.Options) { o.Region = "us-east-1" })
	if _, err := elsewhere.DescribeDBInstances(ctx, nil); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("another region: %v", err)
	}
}
