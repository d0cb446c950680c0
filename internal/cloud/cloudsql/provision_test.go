package cloudsql

import (
	"reflect"
	"strings"
	"testing"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/play"
	"dbops/internal/secret"
)

func TestThePlayedCloudSQLMakesAnInstanceOfANewerMajor(t *testing.T) {
	g := emptyGoogle(t, 0.0001)
	p := g.as(t, robot)
	carried := map[string]string{flagIAM: "on", "log_statement": "ddl", "max_connections": "150", "statement_timeout": "60000"}
	flags := map[string]string{"vacuum_defer_cleanup_age": "100"}
	for name, v := range carried {
		flags[name] = v
	}
	_, err := g.api.Adopt(t.Context(), gcpapi.Attributes{
		Project: "shop-prod", Name: "shop", Major: 15, Availability: "REGIONAL", Labels: map[string]string{"environment": "prod"}, Flags: flags,
		DeletionProtection: true, Tier: "db-custom-4-15360", DiskGB: 40, Password: secret.New("postgres-pw"),
	})
	if err != nil {
		t.Fatal(err)
	}
	stage := &cloudtest.Stage{
		Changer: p, Known: "shop", Permissions: map[string]string{"Provision": "cloudsql.instances.create"},
		Spare: func(t *testing.T, name string) { t.Helper(); g.adopt(t, name, 16, false) },
		Fault: func(_, effect string, times int) {
			g.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.insert", Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(g.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, g.api.Server("shop-prod", instance), sql)
		},
	}
	cloudtest.RunProvisioner(t, stage, &cloudtest.Upgrade{
		Major: 18, Admin: "postgres", Carried: carried, Lost: "database flag vacuum_defer_cleanup_age=100: POSTGRES_18 does not know it",
		Lose:  func() { g.lost.Lose("POST /v1/projects/shop-prod/instances") },
		Shown: map[string]string{"max_connections": "150", "statement_timeout": "1min", "log_statement": "ddl"},
	})
}

func source() *sqladmin.DatabaseInstance {
	return &sqladmin.DatabaseInstance{
		Name: "shop", Region: "europe-west1", DatabaseVersion: "POSTGRES_14", Settings: &sqladmin.Settings{
			Tier: "db-custom-2-7680", SettingsVersion: 7, ActivationPolicy: "NEVER", UserLabels: map[string]string{cloud.LeaseLabel: "r0", "a": "b"},
			DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: "gone", Value: "1"}, {Name: "kept", Value: "2"}},
		},
	}
}

func TestEveryMajorWithFlagsIsOffered(t *testing.T) {
	t.Parallel()
	db := source()
	db.UpgradableDatabaseVersions = []*sqladmin.AvailableDatabaseVersion{{MajorVersion: "POSTGRES_17"}, {Name: "POSTGRES_13"}}
	got := offers(db, []*sqladmin.Flag{
		{AppliesTo: []string{"MYSQL_8_0", "POSTGRES_9_6", "POSTGRES_13", "POSTGRES_14", "SQLSERVER_2022_WEB"}}, {AppliesTo: []string{"POSTGRES_18", "POSTGRES_17"}},
	})
	want := []cloud.Offer{{Major: 17, Version: "POSTGRES_17", InPlace: "POSTGRES_17"}, {Major: 18, Version: "POSTGRES_18"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

func TestFlagsGoAlongAsFarAsTheNewVersionAllows(t *testing.T) {
	t.Parallel()
	known := []*sqladmin.Flag{
		{Name: "only_old", AppliesTo: []string{"POSTGRES_14"}},
		{Name: "number", Type: "INTEGER", MinValue: 1, MaxValue: 10, AppliesTo: []string{"POSTGRES_14"}},
		{Name: "number", Type: "INTEGER", MinValue: 1, MaxValue: 5, AppliesTo: []string{"POSTGRES_17"}},
		{Name: "sizes", Type: "INTEGER", AllowedIntValues: []int64{8, 16}, AppliesTo: []string{"POSTGRES_17"}},
		{Name: "word", Type: "STRING", AllowedStringValues: []string{"ddl", "mod"}, AppliesTo: []string{"POSTGRES_17"}},
		{Name: "free", Type: "STRING", AppliesTo: []string{"POSTGRES_17"}},
		{Name: "factor", Type: "FLOAT", AppliesTo: []string{"POSTGRES_17"}},
	}
	for flag, lost := range map[string]string{
		"only_old=1": "does not know it", "unheard=1": "does not know it", "number=5": "", "number=6": "only 1 to 5", "sizes=8": "", "sizes=9": "does not allow",
		"word=mod": "", "word=all": "only ddl, mod", "free=anything": "", "factor=1.5": "",
	} {
		name, value, _ := strings.Cut(flag, "=")
		why := unfit(&sqladmin.DatabaseFlags{Name: name, Value: value}, known, "POSTGRES_17")
		if !strings.Contains(why, lost) || (why == "") != (lost == "") {
			t.Errorf("%s: %q, want %q", flag, why, lost)
		}
	}
}

// A new instance of a newer major is of another edition than its source, unless it is told.
func TestTheEditionIsAskedFor(t *testing.T) {
	t.Parallel()
	for have, want := range map[string]string{"": "ENTERPRISE", "EDITION_UNSPECIFIED": "ENTERPRISE", "ENTERPRISE": "ENTERPRISE", "ENTERPRISE_PLUS": "ENTERPRISE_PLUS"} {
		db := source()
		db.Settings.Edition = have
		db.ReplicaNames = []string{"shop-r1"}
		b, err := newer(db, []*sqladmin.Flag{{Name: "kept", AppliesTo: []string{"POSTGRES_17"}}}, cloud.Provision{
			Source: "shop", Target: "shop-17", Major: 17, Labels: map[string]string{"dbops-run": "r1"},
		})
		if err != nil {
			t.Fatal(err)
		}
		set := b.in.Settings
		if set.Edition != want || b.in.DatabaseVersion != "POSTGRES_17" || set.SettingsVersion != 0 || set.ActivationPolicy != "ALWAYS" ||
			!reflect.DeepEqual(set.UserLabels, map[string]string{"a": "b", "dbops-run": "r1"}) || len(set.DatabaseFlags) != 1 {
			t.Errorf("of edition %q: %+v", have, set)
		}
		if text := strings.Join(b.lost, "\n"); !strings.Contains(text, "gone=1") || !strings.Contains(text, "shop-r1") || !strings.Contains(text, "stopped") {
			t.Errorf("lost %s", text)
		}
	}
}
