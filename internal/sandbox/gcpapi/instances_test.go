package gcpapi

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/oauth2"
	"google.golang.org/api/option"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/play"
)

func TestAnInstanceIsMadeListedProtectedAndDeleted(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	op, err := svc.Instances.Insert(project, &sqladmin.DatabaseInstance{
		Name: "life", Region: region, DatabaseVersion: "POSTGRES_15", RootPassword: "root-pw",
		Settings: &sqladmin.Settings{Tier: "db-custom-1-3840", UserLabels: map[string]string{"test": "life"}},
	}).Do()
	if err != nil {
		t.Fatal(err)
	}
	if op.Status != pending || op.OperationType != "CREATE" || op.TargetId != "life" || op.User != admin || op.InsertTime == "" {
		t.Errorf("the operation begins as %+v", op)
	}
	db, err := svc.Instances.Get(project, "life").Do()
	if err != nil || db.State != statePendingCreate {
		t.Errorf("while it is made: %v, %v", db, err)
	}
	_, err = svc.Instances.Insert(project, &sqladmin.DatabaseInstance{
		Name: "life", Region: region, DatabaseVersion: "POSTGRES_15", Settings: &sqladmin.Settings{Tier: "db-custom-1-3840"},
	}).Do()
	want(t, "the same name again", err, 409, "instanceAlreadyExists", "already exists")
	_, err = svc.Instances.Restart(project, "life").Do()
	if err == nil {
		t.Error("an instance in the making restarts")
	}
	op = must(t, svc)(op, nil)
	if op.StartTime == "" || op.EndTime == "" {
		t.Errorf("the operation ends as %+v", op)
	}
	l, err := svc.Instances.List(project).Filter("settings.userLabels.test:life").Do()
	if err != nil || len(l.Items) != 1 || l.Items[0].Name != "life" {
		t.Fatalf("%v, %v", l, err)
	}
	db = l.Items[0]
	if db.State != stateRunnable || db.ConnectionName != "shop-prod:europe-west1:life" || len(db.IpAddresses) != 1 ||
		!strings.HasPrefix(db.IpAddresses[0].IpAddress, "127.") || !strings.HasPrefix(db.DatabaseInstalledVersion, "POSTGRES_15_") ||
		db.ServerCaCert == nil || db.Settings.AvailabilityType != zonal || db.RootPassword != "" {
		t.Errorf("made: %+v", db)
	}
	in(t, c.connector(t, admin), "life", "postgres", "root-pw", func(conn *pgx.Conn) {
		if got := text(t, conn, "SELECT pg_has_role('postgres', 'cloudsqlsuperuser', 'member')::text || rolsuper FROM pg_roles WHERE rolname = 'postgres'"); got != "truefalse" {
			t.Errorf("postgres: %s", got)
		}
	})

	must(t, svc)(svc.Instances.Patch(project, "life", &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{DeletionProtectionEnabled: true}}).Do())
	_, err = svc.Instances.Delete(project, "life").Do()
	want(t, "delete of a protected instance", err, 400, "invalidRequest", "The instance is protected")
	must(t, svc)(svc.Instances.Patch(project, "life", &sqladmin.DatabaseInstance{
		Settings: &sqladmin.Settings{ForceSendFields: []string{"DeletionProtectionEnabled"}},
	}).Do())
	must(t, svc)(svc.Instances.Delete(project, "life").Do())
	_, err = svc.Instances.Get(project, "life").Do()
	want(t, "get after delete", err, 404, "instanceDoesNotExist", "does not exist")
	ops, err := svc.Operations.List(project).Instance("life").Do()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range ops.Items {
		kinds = append(kinds, o.OperationType)
	}
	if !slices.Equal(kinds, []string{"DELETE", "UPDATE", "UPDATE", "CREATE"}) {
		t.Errorf("operations, newest first: %v", kinds)
	}
}

func TestListsOfInstancesHavePages(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	var names []string
	for i := range 3 {
		names = append(names, c.adopt(t, Attributes{Name: fmt.Sprintf("paged-%d", i), NoBackups: true, Labels: map[string]string{"test": "paged"}}))
	}
	var got []string
	pages := 0
	err := c.api(t, admin).Instances.List(project).Filter("settings.userLabels.test=paged").MaxResults(2).Pages(t.Context(),
		func(l *sqladmin.InstancesListResponse) error {
			pages++
			for _, i := range l.Items {
				got = append(got, i.Name)
			}
			return nil
		})
	if err != nil || pages != 2 || !slices.Equal(got, names) {
		t.Errorf("%v in %d pages, %v", got, pages, err)
	}
}

func TestAPatchMerges(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true, Labels: map[string]string{"env": "prod", "team": "a"}, Tier: "db-custom-2-7680"})
	before, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	patch := &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		SettingsVersion: before.Settings.SettingsVersion, UserLabels: map[string]string{"env": "test"},
	}}
	must(t, svc)(svc.Instances.Patch(project, name, patch).Do())
	after, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	s := after.Settings
	if s.UserLabels["env"] != "test" || s.UserLabels["team"] != "a" || s.Tier != "db-custom-2-7680" || s.SettingsVersion != 2 || after.Etag == before.Etag {
		t.Errorf("after the patch: %+v", s)
	}
	_, err = svc.Instances.Patch(project, name, patch).Do()
	want(t, "the old version of the settings", err, 412, "staleData", "Condition does not match")
	call := svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{}})
	call.Header().Set("If-Match", before.Etag)
	_, err = call.Do()
	want(t, "the old etag", err, 412, "staleData", "Condition does not match")

	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{NullFields: []string{"UserLabels"}}}).Do())
	must(t, svc)(svc.Instances.Update(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{SettingsVersion: 3, Tier: "db-custom-1-3840"}}).Do())
	if after, err = svc.Instances.Get(project, name).Do(); err != nil {
		t.Fatal(err)
	}
	if s = after.Settings; len(s.UserLabels) != 0 || s.Tier != "db-custom-1-3840" || s.IpConfiguration.SslMode != plaintextToo {
		t.Errorf("an update sets what it does not name back: %+v", s)
	}
	// What was read can be written back.
	must(t, svc)(svc.Instances.Update(project, name, after).Do())
}

func TestAChangeIsRefused(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true, DiskGB: 20})
	type settings = sqladmin.Settings
	for what, tc := range map[string]struct {
		patch  *sqladmin.DatabaseInstance
		code   int
		reason string
		text   string
	}{
		"high availability without backups": {&sqladmin.DatabaseInstance{Settings: &settings{AvailabilityType: regional}}, 400, "invalidRequest", "point-in-time recovery"},
		"recovery without backups":          {&sqladmin.DatabaseInstance{Settings: &settings{BackupConfiguration: &sqladmin.BackupConfiguration{PointInTimeRecoveryEnabled: true}}}, 400, "invalidRequest", "automated backups"},
		"a smaller disk":                    {&sqladmin.DatabaseInstance{Settings: &settings{DataDiskSizeGb: 10}}, 400, "invalidRequest", "cannot be decreased"},
		"another kind of disk":              {&sqladmin.DatabaseInstance{Settings: &settings{DataDiskType: "PD_HDD"}}, 400, "invalidRequest", "cannot be changed"},
		"a machine that does not exist":     {&sqladmin.DatabaseInstance{Settings: &settings{Tier: "db.r6g.large"}}, 400, "invalidRequest", "Invalid Tier"},
		"a label in upper case":             {&sqladmin.DatabaseInstance{Settings: &settings{UserLabels: map[string]string{"Env": "a"}}}, 400, "invalidRequest", "Invalid label"},
		"a flag with a wrong value":         {&sqladmin.DatabaseInstance{Settings: &settings{DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: "max_connections", Value: "few"}}}}, 400, "invalidRequest", "Invalid flag value"},
		"a flag that is not played":         {&sqladmin.DatabaseInstance{Settings: &settings{DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: "cloudsql.enable_pgaudit", Value: "on"}}}}, 501, "notImplemented", "database flag"},
		"an older major":                    {&sqladmin.DatabaseInstance{DatabaseVersion: "POSTGRES_14"}, 400, "invalidRequest", "is not supported"},
		"a major together with settings":    {&sqladmin.DatabaseInstance{DatabaseVersion: "POSTGRES_18", Settings: &settings{Tier: "db-custom-1-3840"}}, 501, "notImplemented", "together with settings"},
		"a setting that is not played":      {&sqladmin.DatabaseInstance{Settings: &settings{InsightsConfig: &sqladmin.InsightsConfig{QueryInsightsEnabled: true}}}, 501, "notImplemented", "field settings.insightsConfig"},
		"another name":                      {&sqladmin.DatabaseInstance{Name: "other"}, 400, "invalidRequest", "cannot be changed"},
	} {
		_, err := svc.Instances.Patch(project, name, tc.patch).Do()
		want(t, what, err, tc.code, tc.reason, tc.text)
	}
	_, err := svc.Instances.Update(project, name, &sqladmin.DatabaseInstance{Settings: &settings{Tier: "db-custom-1-3840"}}).Do()
	want(t, "an update without a version", err, 400, "invalidRequest", "settingsVersion")
	_, err = svc.Instances.Failover(project, name, &sqladmin.InstancesFailoverRequest{}).Do()
	want(t, "failover without a standby", err, 400, "invalidRequest", "REGIONAL")
	_, err = svc.Instances.PromoteReplica(project, name).Do()
	want(t, "a method that is not played", err, 501, "notImplemented", "promoteReplica")
	_, err = svc.Instances.Get(project, name).Fields("name").Do()
	want(t, "a parameter that is not played", err, 501, "notImplemented", "parameter fields")
	op, err := svc.Operations.List(project).Instance(name).Do()
	if err != nil || len(op.Items) != 0 {
		t.Errorf("operations began: %v, %v", op, err)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	name := c.adopt(t, Attributes{NoBackups: true})
	const viewer = "viewer@example.com"
	if err := c.Identity().Grant(viewer, "roles/cloudsql.viewer"); err != nil {
		t.Fatal(err)
	}
	svc := c.api(t, viewer)
	if _, err := svc.Instances.Get(project, name).Do(); err != nil {
		t.Error(err)
	}
	_, err := svc.Instances.Restart(project, name).Do()
	want(t, "a viewer's restart", err, 403, "forbidden", "Possibly missing permission cloudsql.instances.restart on resource instances/"+name)
	_, err = svc.Connect.GenerateEphemeralCert(project, name, &sqladmin.GenerateEphemeralCertRequest{}).Do()
	want(t, "a viewer's certificate", err, 403, "forbidden", "cloudsql.instances.connect")
	_, err = svc.Instances.List("other-project").Do()
	want(t, "somebody else's project", err, 403, "notAuthorized", "The client is not authorized to make this request.")
	with := func(ts oauth2.TokenSource) *sqladmin.Service {
		svc, err := sqladmin.NewService(t.Context(), option.WithEndpoint(c.http.URL+"/"), option.WithTokenSource(ts))
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	_, err = with(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "ya29.x"})).Instances.List(project).Do()
	want(t, "a token that nobody made", err, 401, "authError", "invalid authentication credentials")
	_, err = with(c.source(t, admin, "https://www.googleapis.com/auth/devstorage.read_only")).Instances.List(project).Do()
	want(t, "a token for another service", err, 403, "insufficientPermissions", "insufficient authentication scopes")
}

func TestFaultsOfTheAPI(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	patch := func() error {
		_, err := svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{Tier: "db-custom-1-3840"}}).Do()
		return err
	}
	for effect, tc := range map[play.Effect]struct {
		code         int
		reason, text string
	}{
		play.Throttle: {429, "rateLimitExceeded", "Quota exceeded"}, play.Deny: {403, "forbidden", "cloudsql.instances.update"},
		play.Stale: {412, "staleData", "Condition"}, play.Unavailable: {503, "backendError", "unavailable"},
	} {
		c.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.patch", Target: name, Effect: effect, Count: 1})
		want(t, string(effect), patch(), tc.code, tc.reason, tc.text)
	}
	c.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.patch", Effect: play.Drop, Count: 1})
	if err := patch(); err == nil || !strings.Contains(err.Error(), "EOF") {
		t.Errorf("drop: %v", err)
	}
	c.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.restart", Effect: play.Fail, Count: 1})
	op, err := svc.Instances.Restart(project, name).Do()
	op = wait(t, svc, op, err)
	if op.Error == nil || len(op.Error.Errors) != 1 || op.Error.Errors[0].Code != "INTERNAL_ERROR" || op.Error.Errors[0].Kind != "sql#operationError" {
		t.Errorf("fail: %+v", op)
	}
	c.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.restart", Effect: play.Hang, Count: 1})
	op, err = svc.Instances.Restart(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	pause(t, 100*time.Millisecond)
	if op, err = svc.Operations.Get(project, op.Name).Do(); err != nil || op.Status != running {
		t.Errorf("hang: %+v, %v", op, err)
	}
	want(t, "a change during another", patch(), 409, "operationInProgress", "another operation was already in progress")
	_, err = svc.Users.Delete(project, name).Name("postgres").Do()
	want(t, "a user during another change", err, 409, "operationInProgress", "another operation")
}

// Since PostgreSQL 16 an instance is of the dearer edition, unless it is told, and the editions have different machines.
func TestAVersionDecidesEditionFlagsAndUpgrades(t *testing.T) {
	t.Parallel()
	c := theCloud(t)
	svc := c.api(t, admin)
	for name, refused := range map[string]struct{ version, edition, tier, flag, says string }{
		"no edition":                    {"POSTGRES_16", "", "db-custom-1-3840", "work_mem", "Invalid Tier (db-custom-1-3840) for (ENTERPRISE_PLUS) Edition"},
		"a machine of the other":        {"POSTGRES_15", "", "db-perf-optimized-N-2", "work_mem", "for (ENTERPRISE) Edition"},
		"a flag of an earlier version":  {"POSTGRES_16", "ENTERPRISE", "db-custom-1-3840", "vacuum_defer_cleanup_age", "not supported by POSTGRES_16"},
		"a flag that nobody plays":      {"POSTGRES_16", "ENTERPRISE", "db-custom-1-3840", "anything", "database flag anything"},
		"a version that nobody offers":  {"POSTGRES_19", "ENTERPRISE", "db-custom-1-3840", "work_mem", "databaseVersion POSTGRES_19"},
		"an edition that nobody offers": {"POSTGRES_16", "STARTER", "db-custom-1-3840", "work_mem", "edition"},
	} {
		_, err := svc.Instances.Insert(project, &sqladmin.DatabaseInstance{
			Name: "refused", Region: region, DatabaseVersion: refused.version,
			Settings: &sqladmin.Settings{Tier: refused.tier, Edition: refused.edition, DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: refused.flag, Value: "64"}}},
		}).Do()
		if err == nil || !strings.Contains(err.Error(), refused.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var to []string
	for _, v := range upgradable("POSTGRES_16") {
		to = append(to, v.MajorVersion)
	}
	if !slices.Equal(to, []string{"POSTGRES_17", "POSTGRES_18"}) || len(upgradable("POSTGRES_18")) > 0 {
		t.Errorf("16 can be upgraded to %v", to)
	}
}
