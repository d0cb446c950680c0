package rds

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
)

func model() types.DBInstance {
	return types.DBInstance{
		DBInstanceIdentifier: new("orders"), Engine: new("postgres"), DBInstanceClass: new("db.r6g.large"), MultiAZ: new(true),
		PubliclyAccessible: new(true), CACertificateIdentifier: new("rds-ca-rsa4096-g1"), StorageType: new("gp3"), AllocatedStorage: new(int32(100)),
		Iops: new(int32(3000)), StorageThroughput: new(int32(125)), MaxAllocatedStorage: new(int32(500)), DeletionProtection: new(true),
		IAMDatabaseAuthenticationEnabled: new(true), CopyTagsToSnapshot: new(true), AutoMinorVersionUpgrade: new(false),
		BackupRetentionPeriod: new(int32(14)), PreferredBackupWindow: new("01:00-02:00"), EnabledCloudwatchLogsExports: []string{"postgresql"},
		DBSubnetGroup:      &types.DBSubnetGroup{DBSubnetGroupName: new("private")},
		DBParameterGroups:  []types.DBParameterGroupStatus{{DBParameterGroupName: new("orders-pg16")}},
		VpcSecurityGroups:  []types.VpcSecurityGroupMembership{{VpcSecurityGroupId: new("sg-1")}, {VpcSecurityGroupId: new("sg-2")}},
		TagList:            []types.Tag{{Key: new("environment"), Value: new("prod")}, {Key: new("aws:cloudformation:stack"), Value: new("x")}},
		MonitoringInterval: new(int32(60)), PerformanceInsightsEnabled: new(true),
	}
}

// Whatever a restore leaves out, RDS fills in with the defaults of the account.
func TestARestoredInstanceIsAskedForLikeItsSource(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 7, 0, 0, 0, time.FixedZone("", 3600))
	in := pointInTime(model(), cloud.Restore{Source: "orders", Target: "copy", Time: at, Labels: map[string]string{"purpose": "drill"}})
	want := &sdk.RestoreDBInstanceToPointInTimeInput{
		SourceDBInstanceIdentifier: new("orders"), TargetDBInstanceIdentifier: new("copy"), RestoreTime: aws.Time(at.UTC()),
		DBInstanceClass: new("db.r6g.large"), MultiAZ: new(true), PubliclyAccessible: new(true), DBSubnetGroupName: new("private"),
		DBParameterGroupName: new("orders-pg16"), VpcSecurityGroupIds: []string{"sg-1", "sg-2"}, CACertificateIdentifier: new("rds-ca-rsa4096-g1"),
		StorageType: new("gp3"), MaxAllocatedStorage: new(int32(500)), DeletionProtection: new(true), EnableIAMDatabaseAuthentication: new(true),
		CopyTagsToSnapshot: new(true), AutoMinorVersionUpgrade: new(false), BackupRetentionPeriod: new(int32(14)),
		PreferredBackupWindow: new("01:00-02:00"), EnableCloudwatchLogsExports: []string{"postgresql"},
		Tags: []types.Tag{{Key: new("environment"), Value: new("prod")}, {Key: new("purpose"), Value: new("drill")}},
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
	// What both calls can be told, the one from a snapshot is told, too.
	from := reflect.ValueOf(fromSnapshot(in, "before")).Elem()
	for a, i := reflect.ValueOf(in).Elem(), 0; i < a.NumField(); i++ {
		name := a.Type().Field(i).Name
		if b := from.FieldByName(name); a.Type().Field(i).IsExported() && b.IsValid() && !reflect.DeepEqual(a.Field(i).Interface(), b.Interface()) {
			t.Errorf("%s differs", name)
		}
	}
}

func TestTheLatestMomentIsTheDefaultAndADrillIsNotProtected(t *testing.T) {
	t.Parallel()
	in := pointInTime(model(), cloud.Restore{Source: "orders", Target: "copy", Unprotected: true})
	if in.RestoreTime != nil || !*in.UseLatestRestorableTime || *in.DeletionProtection {
		t.Errorf("got %+v", in)
	}
}

func TestTheSpeedOfStorageIsAskedForWhereItMayBe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		sort string
		gib  int32
		want bool
	}{{"gp2", 1000, false}, {"gp3", 399, false}, {"gp3", 400, true}, {"io1", 100, true}, {"io2", 100, true}} {
		db := model()
		db.StorageType, db.AllocatedStorage = &c.sort, &c.gib
		in := pointInTime(db, cloud.Restore{})
		if got := in.Iops != nil && in.StorageThroughput != nil; got != c.want {
			t.Errorf("%s of %d GiB: %v", c.sort, c.gib, got)
		}
	}
}

func TestWhatARestoreLosesIsTold(t *testing.T) {
	t.Parallel()
	p, r := provider(t, nil)
	target := model()
	target.DBInstanceClass, target.BackupRetentionPeriod, target.DeletionProtection = new("db.t4g.medium"), new(int32(1)), new(false)
	target.CACertificateIdentifier, target.MaxAllocatedStorage, target.TagList = new("rds-ca-rsa2048-g1"), nil, nil
	target.DBParameterGroups[0].DBParameterGroupName, target.VpcSecurityGroups = new("default.postgres16"), nil
	target.MonitoringInterval, target.PerformanceInsightsEnabled = new(int32(0)), new(false)
	source := instance(model(), "eu-west-1")
	left, ok, lost := p.Conform(t.Context(), source, instance(target, "eu-west-1"), cloud.Restore{})
	want := cloud.Settings{
		RetentionDays: new(14), DeletionProtection: new(true), Class: new("db.r6g.large"), Labels: []cloud.Label{{Key: "environment", Value: "prod"}},
	}
	if ok || !reflect.DeepEqual(left, want) {
		t.Errorf("left %+v, %v", left, ok)
	}
	for _, text := range []string{
		"tag aws:cloudformation:stack", "CA: rds-ca-rsa2048-g1, not rds-ca-rsa4096-g1", "parameter group: default.postgres16, not orders-pg16",
		"security groups: none, not sg-1 sg-2", "storage may grow to (GiB): 0, not 500", "enhanced monitoring (s): 0, not 60",
		"Performance Insights: false, not true",
	} {
		if !strings.Contains(strings.Join(lost, "; "), text) {
			t.Errorf("not told: %s; lost %q", text, lost)
		}
	}
	if left, ok, lost := p.Conform(t.Context(), source, source, cloud.Restore{}); !ok || !left.Empty() || len(lost) != 1 {
		t.Errorf("of itself: %+v, %q", left, lost)
	}
	if len(r.asked) != 0 {
		t.Errorf("it asked %v", r.asked)
	}
}

func TestNetworkZonesAreThoseOfTheSubnets(t *testing.T) {
	t.Parallel()
	db := model()
	for _, z := range []string{"eu-west-1b", "eu-west-1a", "eu-west-1b"} {
		db.DBSubnetGroup.Subnets = append(db.DBSubnetGroup.Subnets, types.Subnet{SubnetAvailabilityZone: &types.AvailabilityZone{Name: &z}})
	}
	if live := instance(db, "eu-west-1"); !reflect.DeepEqual(live.NetworkZones, []string{"eu-west-1a", "eu-west-1b"}) || !live.PublicAccess {
		t.Errorf("got %v, %v", live.NetworkZones, live.PublicAccess)
	}
}
