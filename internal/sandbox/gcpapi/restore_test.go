package gcpapi

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"
)

func cloneTo(name string, at time.Time) *sqladmin.InstancesCloneRequest {
	r := &sqladmin.InstancesCloneRequest{CloneContext: &sqladmin.CloneContext{DestinationInstanceName: name}}
	if !at.IsZero() {
		r.CloneContext.PointInTime = at.UTC().Format(time.RFC3339Nano)
	}
	return r
}

func TestACloneHasTheRowsOfItsMoment(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{Labels: map[string]string{"env": "prod"}, Flags: map[string]string{"work_mem": "8192"}})
	d := c.connector(t, admin)
	var between time.Time
	in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) {
		run(t, conn, "CREATE TABLE t AS SELECT 1 AS n")
		pause(t, 20*time.Millisecond)
		between = time.Now()
		pause(t, 20*time.Millisecond)
		run(t, conn, "INSERT INTO t VALUES (2)")
	})
	_, err := svc.Instances.Clone(project, name, cloneTo("early", time.Now().Add(-time.Hour))).Do()
	want(t, "a moment before the first backup", err, 400, "invalidRequest", "before the earliest")
	_, err = svc.Instances.Clone(project, name, cloneTo("late", time.Now().Add(time.Hour))).Do()
	want(t, "a moment in the future", err, 400, "invalidRequest", "future")
	op := must(t, svc)(svc.Instances.Clone(project, name, cloneTo("then", between)).Do())
	if op.OperationType != "CLONE" || op.TargetId != "then" {
		t.Errorf("%+v", op)
	}
	must(t, svc)(svc.Instances.Clone(project, name, cloneTo("now", time.Time{})).Do())
	for clone, rows := range map[string]string{name: "1,2", "then": "1", "now": "1,2"} {
		in(t, d, clone, "postgres", "postgres-pw", func(conn *pgx.Conn) {
			if got := text(t, conn, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t"); got != rows {
				t.Errorf("%s has rows %s, want %s", clone, got, rows)
			}
			if got := text(t, conn, "SHOW work_mem"); got != "8MB" {
				t.Errorf("%s: work_mem is %s", clone, got)
			}
			run(t, conn, "INSERT INTO t VALUES (3)")
		})
	}
	made, err := svc.Instances.Get(project, "then").Do()
	if err != nil {
		t.Fatal(err)
	}
	src, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	if made.Settings.UserLabels["env"] != "prod" || made.IpAddresses[0].IpAddress == src.IpAddresses[0].IpAddress ||
		made.ServerCaCert.Sha1Fingerprint == src.ServerCaCert.Sha1Fingerprint {
		t.Errorf("the clone: %+v", made)
	}
	r, err := svc.Projects.Instances.GetLatestRecoveryTime(project, name).Do()
	if err != nil || r.EarliestRecoveryTime == "" || r.LatestRecoveryTime < r.EarliestRecoveryTime {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestABackupIsTakenAndRestoredInPlace(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	d := c.connector(t, admin)
	in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) { run(t, conn, "CREATE TABLE t AS SELECT 1 AS n") })
	_, err := svc.Instances.Clone(project, name, cloneTo("copy", time.Now())).Do()
	want(t, "recovery without backups", err, 400, "invalidRequest", "not enabled")
	op := must(t, svc)(svc.BackupRuns.Insert(project, name, &sqladmin.BackupRun{Description: "before the release"}).Do())
	if op.OperationType != "BACKUP_VOLUME" {
		t.Errorf("%+v", op)
	}
	l, err := svc.BackupRuns.List(project, name).Do()
	if err != nil || len(l.Items) != 1 {
		t.Fatalf("%+v, %v", l, err)
	}
	run1 := l.Items[0]
	if run1.Status != backupSuccessful || run1.Type != "ON_DEMAND" || run1.Description != "before the release" || run1.EndTime == "" {
		t.Errorf("%+v", run1)
	}
	in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) { run(t, conn, "DROP TABLE t") })
	before, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	must(t, svc)(svc.Instances.RestoreBackup(project, name, &sqladmin.InstancesRestoreBackupRequest{
		RestoreBackupContext: &sqladmin.RestoreBackupContext{BackupRunId: run1.Id},
	}).Do())
	after, err := svc.Instances.Get(project, name).Do()
	if err != nil || after.State != stateRunnable || after.IpAddresses[0].IpAddress != before.IpAddresses[0].IpAddress {
		t.Errorf("%+v, %v", after, err)
	}
	in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) {
		if got := text(t, conn, "SELECT n::text FROM t"); got != "1" {
			t.Errorf("the table has %s", got)
		}
	})
	must(t, svc)(svc.BackupRuns.Delete(project, name, run1.Id).Do())
	_, err = svc.BackupRuns.Get(project, name, run1.Id).Do()
	want(t, "a deleted backup", err, 404, "backupRunDoesNotExist", "backup run")
}

func TestSettingsReachTheServer(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{NoBackups: true})
	d := c.connector(t, admin)
	flags := func(list ...*sqladmin.DatabaseFlags) {
		t.Helper()
		s := &sqladmin.Settings{DatabaseFlags: list}
		if len(list) == 0 {
			s.NullFields = []string{"DatabaseFlags"}
		}
		must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: s}).Do())
	}
	show := func(setting string) (got, started string) {
		t.Helper()
		in(t, d, name, "postgres", "postgres-pw", func(conn *pgx.Conn) {
			got, started = text(t, conn, "SHOW "+setting), text(t, conn, "SELECT pg_postmaster_start_time()::text")
		})
		return got, started
	}
	normal, _ := show("max_connections")
	_, started := show("work_mem")
	flags(&sqladmin.DatabaseFlags{Name: "work_mem", Value: "65536"})
	if got, again := show("work_mem"); got != "64MB" || again != started {
		t.Errorf("work_mem is %s, restarted: %v", got, again != started)
	}
	flags(&sqladmin.DatabaseFlags{Name: "max_connections", Value: "77"})
	if got, again := show("max_connections"); got != "77" || again == started {
		t.Errorf("max_connections is %s, restarted: %v", got, again != started)
	}
	if got, _ := show("work_mem"); got == "64MB" {
		t.Error("a flag that is no longer set still counts")
	}
	flags()
	if got, _ := show("max_connections"); got != normal {
		t.Errorf("max_connections is %s again, want %s", got, normal)
	}

	_, started = show("work_mem")
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		BackupConfiguration: &sqladmin.BackupConfiguration{Enabled: true, PointInTimeRecoveryEnabled: true},
	}}).Do())
	if _, again := show("work_mem"); again == started {
		t.Error("point-in-time recovery came without a restart")
	}
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{AvailabilityType: regional}}).Do())
	db, err := svc.Instances.Get(project, name).Do()
	if err != nil || db.SecondaryGceZone == "" || db.Settings.AvailabilityType != regional {
		t.Errorf("%+v, %v", db, err)
	}
	_, err = svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		BackupConfiguration: &sqladmin.BackupConfiguration{ForceSendFields: []string{"Enabled"}},
	}}).Do()
	want(t, "no backups with a standby", err, 400, "invalidRequest", "backups")

	plain := func() error {
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=%s port=5432 user=postgres password=postgres-pw dbname=postgres sslmode=disable",
			db.IpAddresses[0].IpAddress))
		if err == nil {
			err = conn.Close(t.Context())
		}
		return err
	}
	if plain() == nil {
		t.Error("a connection without TLS is taken")
	}
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
		IpConfiguration: &sqladmin.IpConfiguration{SslMode: plaintextToo},
	}}).Do())
	if err := plain(); err != nil {
		t.Errorf("after the change of sslMode: %v", err)
	}

	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{ActivationPolicy: "NEVER"}}).Do())
	if plain() == nil {
		t.Error("a stopped instance answers")
	}
	_, err = svc.Instances.Restart(project, name).Do()
	want(t, "restart of a stopped instance", err, 400, "invalidState", "not running")
	must(t, svc)(svc.Instances.Patch(project, name, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{ActivationPolicy: "ALWAYS"}}).Do())
	if err := plain(); err != nil {
		t.Errorf("after the start: %v", err)
	}
}
