package rds

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

// setParameters makes a parameter group as a person would.
func setParameters(t *testing.T, p *Provider, name, family string, set map[string]string) {
	t.Helper()
	_, err := p.api.CreateDBParameterGroup(t.Context(), &sdk.CreateDBParameterGroupInput{
		DBParameterGroupName: &name, DBParameterGroupFamily: &family, Description: new("of the shop"),
	})
	if err != nil {
		t.Fatal(err)
	}
	in := &sdk.ModifyDBParameterGroupInput{DBParameterGroupName: &name}
	for k, v := range maps.All(set) {
		in.Parameters = append(in.Parameters, types.Parameter{ParameterName: &k, ParameterValue: &v, ApplyMethod: types.ApplyMethodPendingReboot})
	}
	if _, err := p.api.ModifyDBParameterGroup(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

func TestThePlayedRDSMakesAnInstanceOfANewerMajor(t *testing.T) {
	a := emptyAWS(t)
	p := a.as(t, "user/dbops")
	carried := map[string]string{
		"max_connections": "150", "shared_preload_libraries": "pg_stat_statements", "statement_timeout": "60000", "work_mem": "8192",
	}
	set := maps.Clone(carried)
	set["vacuum_defer_cleanup_age"] = "100"
	setParameters(t, p, "shop-pg14", "postgres14", set)
	a.adoptLike(t, "shop", "14", true, func(in *sdk.CreateDBInstanceInput) {
		in.DBParameterGroupName, in.StorageEncrypted, in.KmsKeyId = new("shop-pg14"), new(true), new("arn:aws:kms:eu-west-1:123456789012:key/shop")
		in.MaxAllocatedStorage, in.PreferredMaintenanceWindow, in.PreferredBackupWindow = new(int32(400)), new("mon:01:00-mon:02:00"), new("05:00-05:30")
		in.CACertificateIdentifier, in.DBInstanceClass = new("rds-ca-ecc384-g1"), new("db.r6g.large")
	})
	stage := &cloudtest.Stage{
		Changer: p, Known: "shop", Permissions: map[string]string{"Provision": "rds:CreateDBInstance"},
		Spare: func(t *testing.T, name string) { t.Helper(); a.adopt(t, name, "16", false) },
		Fault: func(_, effect string, times int) {
			a.faults.Add(play.Fault{Service: "rds", Action: "CreateDBInstance", Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(a.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, a.api.Server(instance), sql)
		},
	}
	cloudtest.RunProvisioner(t, stage, &cloudtest.Upgrade{
		Major: 17, Admin: "orders_admin", Carried: carried, Lost: "parameter vacuum_defer_cleanup_age=100: postgres17 does not know it",
		Lose:  func() { a.lost.Lose("Action=CreateDBInstance") },
		Shown: map[string]string{"max_connections": "150", "statement_timeout": "1min", "work_mem": "8MB"},
	})
	t.Run("nothing is left of what was discarded", func(t *testing.T) {
		out, err := p.api.DescribeDBParameterGroups(t.Context(), &sdk.DescribeDBParameterGroupsInput{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.DBParameterGroups {
			if name := *g.DBParameterGroupName; name != "shop-pg14" && !strings.HasPrefix(name, "default.") {
				t.Errorf("%s is left", name)
			}
		}
	})
	t.Run("a parameter group of somebody else is left alone", func(t *testing.T) {
		w := cloud.Provision{Source: "shop", Target: "foreign", Major: 17, Labels: map[string]string{"dbops-run": "r1"}, Password: secret.New("staple-battery-17")}
		setParameters(t, p, groupName(w), "postgres17", map[string]string{"work_mem": "64"})
		_, err := p.Provision(t.Context(), w)
		if discard := p.Discard(t.Context(), w); !errors.Is(err, cloud.ErrExists) || !errors.Is(discard, cloud.ErrExists) || fault.HintOf(err) == "" {
			t.Errorf("got %v; %v", err, discard)
		}
		if _, err := p.Get(t.Context(), "foreign"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("an instance is there: %v", err)
		}
	})
}

// Whatever the request leaves out, RDS fills in with the defaults of the account.
func TestANewInstanceIsAskedForLikeItsSource(t *testing.T) {
	t.Parallel()
	db := model()
	db.MasterUsername, db.EngineVersion, db.KmsKeyId, db.StorageEncrypted = new("admin_of_orders"), new("14.9"), new("key"), new(true)
	db.Endpoint, db.PreferredMaintenanceWindow = &types.Endpoint{Port: new(int32(6432))}, new("sun:04:00-sun:04:30")
	db.EngineLifecycleSupport, db.MonitoringRoleArn, db.PerformanceInsightsRetentionPeriod = new("open-source-rds-extended-support-disabled"), new("role"), new(int32(7))
	b := &blueprint{source: db, offer: cloud.Offer{Major: 17, Version: "17.10"}, ca: db.CACertificateIdentifier, group: groupPlan{name: "copy-pg17-1"}}
	in := b.create(cloud.Provision{
		Source: "orders", Target: "copy", Labels: map[string]string{"dbops-run": "r1"}, Password: secret.New("battery"),
	})
	want := &sdk.CreateDBInstanceInput{
		DBInstanceIdentifier: new("copy"), Engine: new("postgres"), EngineVersion: new("17.10"), MasterUsername: new("admin_of_orders"),
		MasterUserPassword: new("battery"), DBInstanceClass: new("db.r6g.large"), MultiAZ: new(true), Port: new(int32(6432)),
		AllocatedStorage: new(int32(100)), MaxAllocatedStorage: new(int32(500)), StorageType: new("gp3"), StorageEncrypted: new(true), KmsKeyId: new("key"),
		DBSubnetGroupName: new("private"), PubliclyAccessible: new(true), VpcSecurityGroupIds: []string{"sg-1", "sg-2"},
		CACertificateIdentifier: new("rds-ca-rsa4096-g1"), EnableIAMDatabaseAuthentication: new(true), DBParameterGroupName: new("copy-pg17-1"),
		BackupRetentionPeriod: new(int32(14)), PreferredBackupWindow: new("01:00-02:00"), PreferredMaintenanceWindow: new("sun:04:00-sun:04:30"),
		AutoMinorVersionUpgrade: new(false), CopyTagsToSnapshot: new(true), DeletionProtection: new(true), EnableCloudwatchLogsExports: []string{"postgresql"},
		Tags:               []types.Tag{{Key: new("dbops-run"), Value: new("r1")}, {Key: new("environment"), Value: new("prod")}},
		MonitoringInterval: new(int32(60)), MonitoringRoleArn: new("role"), EnablePerformanceInsights: new(true), PerformanceInsightsRetentionPeriod: new(int32(7)),
		EngineLifecycleSupport: new("open-source-rds-extended-support-disabled"),
	}
	if !reflect.DeepEqual(in, want) {
		t.Errorf("got  %+v\nwant %+v", in, want)
	}
}

func TestWhatANewMajorLosesIsTold(t *testing.T) {
	t.Parallel()
	b := &blueprint{source: model(), offer: cloud.Offer{Version: "17.10"}, group: groupPlan{lost: []string{"parameter x=1: postgres17 does not know it"}}}
	b.source.MasterUserSecret = &types.MasterUserSecret{}
	b.source.AssociatedRoles = []types.DBInstanceRole{{FeatureName: new("s3Import")}}
	b.source.DomainMemberships = []types.DomainMembership{{Domain: new("d-1")}}
	b.source.ReadReplicaDBInstanceIdentifiers = []string{"orders-r1"}
	text := strings.Join(b.lost(), "\n")
	for _, want := range []string{
		"parameter x=1", "CA: the default one of the account, as 17.10 does not know rds-ca-rsa4096-g1", "Secrets Manager", "s3Import", "d-1", "orders-r1",
		"tag aws:cloudformation:stack",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not told: %s; lost %s", want, text)
		}
	}
}

func TestTheNewestVersionOfEachMajorIsOffered(t *testing.T) {
	t.Parallel()
	v := func(version, status string, targets ...string) types.DBEngineVersion {
		out := types.DBEngineVersion{EngineVersion: &version, Status: &status}
		for _, to := range targets {
			out.ValidUpgradeTarget = append(out.ValidUpgradeTarget, types.UpgradeTarget{EngineVersion: &to})
		}
		return out
	}
	got := offers(types.DBInstance{EngineVersion: new("14.9")}, []types.DBEngineVersion{
		v("14.9", "deprecated", "14.23", "15.9", "15.10", "16.8"), v("14.23", "available", "18.4"), v("15.9", "available"), v("15.10", "available"),
		v("15.10-rds.20260101", "available"), v("16.9", "available"), v("16.14", "deprecated"), v("18.4", "available"), v("13.1", "available"),
	})
	want := []cloud.Offer{
		{Major: 15, Version: "15.10-rds.20260101", InPlace: "15.10"}, {Major: 16, Version: "16.9", InPlace: "16.8"}, {Major: 18, Version: "18.4"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParametersGoAlongAsFarAsTheNewFamilyAllows(t *testing.T) {
	t.Parallel()
	p := func(kind, value, allowed string, modifiable bool) types.Parameter {
		out := types.Parameter{ParameterName: new("p"), DataType: &kind, IsModifiable: &modifiable}
		if value != "" {
			out.ParameterValue = &value
		}
		if allowed != "" {
			out.AllowedValues = &allowed
		}
		return out
	}
	for name, c := range map[string]struct {
		old, now   types.Parameter
		kept, lost string
	}{
		"a number in the range":            {p("integer", "-1", "-1-5", true), p("integer", "", "-1-10", true), "-1", ""},
		"a number out of the range":        {p("integer", "50", "0-100", true), p("integer", "", "0-10", true), "", "not allowed in postgres17"},
		"a formula":                        {p("integer", "{DBInstanceClassMemory/9531392}", "6-100", true), p("integer", "", "6-200", true), "{DBInstanceClassMemory/9531392}", ""},
		"a word":                           {p("string", "ddl", "none,ddl", true), p("string", "", "none,ddl,mod", true), "ddl", ""},
		"a word that is gone":              {p("string", "regress", "on,off,regress", true), p("string", "", "on,off", true), "", "not allowed"},
		"the same rule, whatever it is":    {p("string", "ISO, MDY", "x", true), p("string", "", "x", true), "ISO, MDY", ""},
		"a pattern":                        {p("string", "abc", "", true), p("string", "", "[a-z]+", true), "abc", ""},
		"a list, one of which is gone":     {p("list", "a,b,c", "a,b,c", true), p("list", "", "a,c", true), "a,c", "only a,c"},
		"what may not be set any more":     {p("boolean", "1", "0,1", true), p("boolean", "", "0,1", false), "", "does not let it be set"},
		"what the new family has not got":  {p("boolean", "1", "0,1", true), types.Parameter{}, "", "does not know it"},
		"a range where there was no bound": {p("float", "1.5", "", true), p("float", "", "0-1.79769e+308", true), "1.5", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := groupPlan{family: "postgres17", set: map[string]string{}}
			known := map[string]types.Parameter{}
			if c.now.ParameterName != nil {
				known["p"] = c.now
			}
			g.carry([]types.Parameter{c.old}, known)
			text := strings.Join(g.lost, "")
			if g.set["p"] != c.kept || !strings.Contains(text, c.lost) || (text == "") != (c.lost == "") {
				t.Errorf("kept %q, lost %q", g.set["p"], text)
			}
		})
	}
}

func TestTheGroupIsFoundAgainByTheLabels(t *testing.T) {
	t.Parallel()
	w := cloud.Provision{Source: "a", Target: "Copy", Major: 17, Labels: map[string]string{"x": "1", "y": "2"}}
	name := groupName(w)
	again := w
	again.Labels = map[string]string{"y": "2", "x": "1"}
	other := w
	other.Labels = map[string]string{"x": "2", "y": "2"}
	if groupName(again) != name || groupName(other) == name || !strings.HasPrefix(name, "copy-pg17-") || aws.ToString(&name) != strings.ToLower(name) {
		t.Errorf("got %s, %s, %s", name, groupName(again), groupName(other))
	}
}

// A default group has no values of its own: what the new family decides otherwise is a change for clients.
func TestAnotherDefaultOfTheNewFamilyIsTold(t *testing.T) {
	t.Parallel()
	const value = "<DescribeDBParametersResponse><DescribeDBParametersResult><Parameters><Parameter><ParameterName>rds.force_ssl</ParameterName>" +
		"<ParameterValue>0</ParameterValue></Parameter></Parameters></DescribeDBParametersResult></DescribeDBParametersResponse>"
	const defaults = "<DescribeEngineDefaultParametersResponse><DescribeEngineDefaultParametersResult><EngineDefaults><Parameters><Parameter>" +
		"<ParameterName>rds.force_ssl</ParameterName><ParameterValue>1</ParameterValue><IsModifiable>true</IsModifiable>" +
		"</Parameter></Parameters></EngineDefaults></DescribeEngineDefaultParametersResult></DescribeEngineDefaultParametersResponse>"
	p, _ := provider(t, map[string]string{"DescribeDBParameters": value, "DescribeEngineDefaultParameters": defaults})
	for group, want := range map[string]string{
		"default.postgres14": "parameter rds.force_ssl: 1, the default of postgres17, not 0",
		"orders-pg14":        "", // where it is set, it goes along
	} {
		db := model()
		db.DBParameterGroups[0].DBParameterGroupName = &group
		g, err := p.planGroup(t.Context(), db, cloud.Provision{Source: "orders", Target: "copy", Major: 17})
		if err != nil || strings.Join(g.lost, "; ") != want || (g.name == "") != (want != "") || (g.set["rds.force_ssl"] == "0") != (want == "") {
			t.Errorf("%s: %+v, %v", group, g, err)
		}
	}
}
