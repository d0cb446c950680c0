package gcpapi

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	sqladmin "google.golang.org/api/sqladmin/v1"

	"dbops/internal/sandbox/play"
)

// again opens a cloud once more in the folder of one that was stopped.
func (c *cloud) again(t *testing.T) *cloud {
	t.Helper()
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	next, err := open(t.Context(), c.dir, Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.close)
	return next
}

func TestTheCloudOutlivesARestart(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{})
	svc := c.api(t, admin)
	name := c.adopt(t, Attributes{Labels: map[string]string{"env": "prod"}})
	must(t, svc)(svc.Users.Insert(project, name, &sqladmin.User{Name: "app", Password: "app-pw"}).Do())
	c.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.restart", Effect: play.Hang})
	hung, err := svc.Instances.Restart(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	before, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(c.dir, "google", stateFile))
	if err != nil || info.Mode().Perm() != fs.FileMode(0o600) {
		t.Errorf("%v, %v", info, err)
	}

	c = c.again(t)
	svc = c.api(t, admin)
	after, err := svc.Instances.Get(project, name).Do()
	if err != nil {
		t.Fatal(err)
	}
	if after.IpAddresses[0].IpAddress != before.IpAddresses[0].IpAddress || after.Settings.UserLabels["env"] != "prod" ||
		after.ServerCaCert.Sha1Fingerprint != before.ServerCaCert.Sha1Fingerprint || after.Etag != before.Etag || after.State != stateRunnable {
		t.Errorf("after the restart: %+v", after)
	}
	in(t, c.connector(t, admin), name, "app", "app-pw", func(*pgx.Conn) {})
	op, err := svc.Operations.Get(project, hung.Name).Do()
	if err != nil || op.Status != done || op.Error == nil {
		t.Errorf("the operation that hung: %+v, %v", op, err)
	}
	must(t, svc)(svc.Instances.Restart(project, name).Do())
}

func TestInterruptedOperationsGoOnOrEnd(t *testing.T) {
	t.Parallel()
	c := ownCloud(t, Config{Pace: 1}) // nothing ends by itself
	svc := c.api(t, admin)
	patched, deleted, saved, copied := c.adopt(t, Attributes{NoBackups: true}), c.adopt(t, Attributes{NoBackups: true}),
		c.adopt(t, Attributes{NoBackups: true}), c.adopt(t, Attributes{NoBackups: true})
	begin := func(op *sqladmin.Operation, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return op.Name
	}
	ops := map[string]string{
		"UPDATE": begin(svc.Instances.Patch(project, patched, &sqladmin.DatabaseInstance{Settings: &sqladmin.Settings{
			DatabaseFlags: []*sqladmin.DatabaseFlags{{Name: "max_connections", Value: "88"}},
		}}).Do()),
		"DELETE":        begin(svc.Instances.Delete(project, deleted).Do()),
		"BACKUP_VOLUME": begin(svc.BackupRuns.Insert(project, saved, &sqladmin.BackupRun{}).Do()),
		"CLONE":         begin(svc.Instances.Clone(project, copied, cloneTo("half", time.Time{})).Do()),
	}
	c = c.again(t)
	svc = c.api(t, admin)
	for kind, name := range ops {
		op, err := svc.Operations.Get(project, name).Do()
		op = wait(t, svc, op, err)
		if (op.Error != nil) != (kind == "CLONE") {
			t.Errorf("%s: %+v", kind, op.Error)
		}
	}
	in(t, c.connector(t, admin), patched, "postgres", "postgres-pw", func(conn *pgx.Conn) {
		if got := text(t, conn, "SHOW max_connections"); got != "88" {
			t.Errorf("max_connections is %s", got)
		}
	})
	_, err := svc.Instances.Get(project, deleted).Do()
	want(t, "the deleted one", err, 404, "instanceDoesNotExist", "")
	if l, err := svc.BackupRuns.List(project, saved).Do(); err != nil || len(l.Items) != 1 || l.Items[0].Status != backupSuccessful {
		t.Errorf("backup: %+v, %v", l, err)
	}
	half, err := svc.Instances.Get(project, "half").Do()
	if err != nil || half.State != stateFailed {
		t.Errorf("the clone: %+v, %v", half, err)
	}
	must(t, svc)(svc.Instances.Delete(project, "half").Do())
}
