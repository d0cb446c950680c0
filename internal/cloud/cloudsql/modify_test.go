package cloudsql

import (
	"encoding/json"
	"testing"

	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/cloud"
)

func live() *sqladmin.Settings {
	return &sqladmin.Settings{
		SettingsVersion: 42, Tier: "db-custom-2-7680", AvailabilityType: "REGIONAL", DeletionProtectionEnabled: true,
		UserLabels:    map[string]string{"environment": "prod", "team": "shop"},
		DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: flagIAM, Value: "on"}, {Name: "work_mem", Value: "4096"}},
		BackupConfiguration: &sqladmin.BackupConfiguration{
			Kind: "sql#backupConfiguration", Enabled: true, PointInTimeRecoveryEnabled: true, StartTime: "03:00", TransactionLogRetentionDays: 7,
			Location: "eu", TransactionalLogStorageState: "CLOUD_STORAGE", BackupRetentionSettings: &sqladmin.BackupRetentionSettings{RetainedBackups: 7, RetentionUnit: "COUNT"},
		},
		IpConfiguration: &sqladmin.IpConfiguration{RequireSsl: true, Ipv4Enabled: true, PrivateNetwork: "projects/shop/global/networks/vpc"},
	}
}

// The body is all that Cloud SQL learns: what is left out stays, and a false that the SDK leaves out stays true.
func TestTheBodyOfAPatch(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		wish cloud.Settings
		body string
	}{
		"zonal":         {cloud.Settings{Availability: new(cloud.Zonal)}, `"availabilityType":"ZONAL"`},
		"regional":      {cloud.Settings{Availability: new(cloud.Regional)}, `"availabilityType":"REGIONAL"`},
		"not protected": {cloud.Settings{DeletionProtection: new(false)}, `"deletionProtectionEnabled":false`},
		"protected":     {cloud.Settings{DeletionProtection: new(true)}, `"deletionProtectionEnabled":true`},
		"a class":       {cloud.Settings{Class: new("db-custom-4-15360")}, `"tier":"db-custom-4-15360"`},
		"no recovery, the other backup settings stay": {
			cloud.Settings{PITR: new(false)}, `"backupConfiguration":{"backupRetentionSettings":{"retainedBackups":7,"retentionUnit":"COUNT"},"enabled":true,` +
				`"location":"eu","pointInTimeRecoveryEnabled":false,"startTime":"03:00","transactionLogRetentionDays":7}`,
		},
		"all of the backups": {
			cloud.Settings{BackupsEnabled: new(false), PITR: new(false), BackupWindow: new("04:00"), RetentionDays: new(3), Retained: new(30)},
			`"backupConfiguration":{"backupRetentionSettings":{"retainedBackups":30,"retentionUnit":"COUNT"},"enabled":false,` +
				`"location":"eu","pointInTimeRecoveryEnabled":false,"startTime":"04:00","transactionLogRetentionDays":3}`,
		},
		"no IAM logins, the other flags stay": {
			cloud.Settings{IAMLogin: new(false)}, `"databaseFlags":[{"name":"work_mem","value":"4096"},{"name":"cloudsql.iam_authentication","value":"off"}]`,
		},
		"TLS, where the older setting contradicts": {cloud.Settings{TLSRequired: new(false)}, `"ipConfiguration":{"requireSsl":false,"sslMode":"ALLOW_UNENCRYPTED_AND_ENCRYPTED"}`},
		"no public address":                        {cloud.Settings{PublicAccess: new(false)}, `"ipConfiguration":{"ipv4Enabled":false}`},
		"labels, all of them": {
			cloud.Settings{Labels: []cloud.Label{{Key: "team", Remove: true}, {Key: "tier", Value: "gold"}}},
			`"userLabels":{"environment":"prod","team":null,"tier":"gold"}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := json.Marshal(&sqladmin.DatabaseInstance{Settings: patch(live(), c.wish)})
			if err != nil {
				t.Fatal(err)
			}
			var a, b any
			if err := json.Unmarshal([]byte(`{"settings":{"settingsVersion":"42",`+c.body+`}}`), &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(got, &b); err != nil {
				t.Fatal(err)
			}
			x, _ := json.Marshal(a)
			if y, _ := json.Marshal(b); string(x) != string(y) {
				t.Errorf("got  %s\nwant %s", y, x)
			}
		})
	}
}

func TestANewInstanceIsAskedForLikeItsSource(t *testing.T) {
	t.Parallel()
	source := &sqladmin.DatabaseInstance{
		Name: "main", Region: "europe-west1", DatabaseVersion: "POSTGRES_15", Settings: live(), GceZone: "europe-west1-b",
		DiskEncryptionConfiguration: &sqladmin.DiskEncryptionConfiguration{KmsKeyName: "key"},
	}
	source.Settings.IpConfiguration.Ipv4Enabled = false // true by default
	in, err := like(source, cloud.Restore{Source: "main", Target: "copy", Labels: map[string]string{"purpose": "drill"}, Unprotected: true})
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"databaseVersion":"POSTGRES_15","diskEncryptionConfiguration":{"kmsKeyName":"key"},"name":"copy","region":"europe-west1","settings":{` +
		`"activationPolicy":"ALWAYS","availabilityType":"REGIONAL","backupConfiguration":{"backupRetentionSettings":{"retainedBackups":7,"retentionUnit":"COUNT"},` +
		`"enabled":true,"kind":"sql#backupConfiguration","location":"eu","pointInTimeRecoveryEnabled":true,"startTime":"03:00","transactionLogRetentionDays":7,` +
		`"transactionalLogStorageState":"CLOUD_STORAGE"},"databaseFlags":[{"name":"cloudsql.iam_authentication","value":"on"},{"name":"work_mem","value":"4096"}],` +
		`"ipConfiguration":{"ipv4Enabled":false,"privateNetwork":"projects/shop/global/networks/vpc","requireSsl":true},"storageAutoResize":false,` +
		`"tier":"db-custom-2-7680","userLabels":{"environment":"prod","purpose":"drill","team":"shop"}}}`
	var tree any
	if err := json.Unmarshal(body, &tree); err != nil {
		t.Fatal(err)
	}
	if got, _ := json.Marshal(tree); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, changed := source.Settings.UserLabels["purpose"]; changed {
		t.Error("the source was changed")
	}
}
