package gcpapi

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"
)

func TestAnInstanceIsUpgradedThoughTheCloudEnds(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{Pace: 1}) // nothing ends by itself
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{Major: 16, Flags: map[string]string{"work_mem": "8192"}})
	in(t, c.connector(t, admin), name, "postgres", "postgres-pw", func(conn *pgx.Conn) { run(t, conn, "CREATE TABLE item AS SELECT 42 AS id") })
	begun, err := svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{DatabaseVersion: "POSTGRES_18"}).Do()
	if err != nil || begun.OperationType != "MAJOR_VERSION_UPGRADE" {
		t.Fatalf("got %+v, %v", begun, err)
	}
	_, err = svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{DatabaseVersion: "POSTGRES_17"}).Do()
	want(t, "another one meanwhile", err, 409, "operationInProgress", "")

	c = c.again(t)
	svc = c.api(t, admin)
	op, err := svc.Operations.Get(project, begun.Name).Do()
	if op = wait(t, svc, op, err); op.Error != nil {
		t.Fatalf("it failed: %+v", op.Error.Errors[0])
	}
	db, err := svc.Instances.Get(project, name).Do()
	if err != nil || db.DatabaseVersion != "POSTGRES_18" || !strings.HasPrefix(db.DatabaseInstalledVersion, "POSTGRES_18_") || db.State != stateRunnable {
		t.Errorf("got %+v, %v", db, err)
	}
	in(t, c.connector(t, admin), name, "postgres", "postgres-pw", func(conn *pgx.Conn) {
		if got := text(t, conn, "SELECT current_setting('work_mem') || id FROM item"); got != "8MB42" {
			t.Errorf("got %s", got)
		}
	})
	l, err := svc.BackupRuns.List(project, name).Do()
	if err != nil || len(l.Items) != 3 || !strings.HasPrefix(l.Items[0].Description, "Post-upgrade backup, POSTGRES_16 to POSTGRES_18") || l.Items[0].DatabaseVersion != "POSTGRES_18" ||
		!strings.HasPrefix(l.Items[1].Description, "Pre-upgrade backup") || l.Items[1].DatabaseVersion != "POSTGRES_16" {
		t.Errorf("backups: %+v, %v", l, err)
	}
	_, err = svc.Instances.RestoreBackup(project, name, &sqladmin.InstancesRestoreBackupRequest{
		RestoreBackupContext: &sqladmin.RestoreBackupContext{BackupRunId: l.Items[1].Id},
	}).Do()
	want(t, "the backup of another version", err, 400, "invalidRequest", "POSTGRES_16")
	check, err := svc.Instances.PreCheckMajorVersionUpgrade(project, name, &sqladmin.InstancesPreCheckMajorVersionUpgradeRequest{
		PreCheckMajorVersionUpgradeContext: &sqladmin.PreCheckMajorVersionUpgradeContext{TargetDatabaseVersion: "POSTGRES_17"},
	}).Do()
	want(t, "a check for an older one", err, 400, "invalidRequest", "is not supported")
	if check != nil {
		t.Errorf("got %+v", check)
	}
}
