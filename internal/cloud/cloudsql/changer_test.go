package cloudsql

import (
	"testing"

	"dbops/internal/cloud/cloudtest"
	"dbops/internal/sandbox/play"
)

func TestThePlayedCloudSQLIsChanged(t *testing.T) {
	g := playGoogle(t, 0.0001)
	actions := map[string]string{
		"Modify": "instances.patch", "Failover": "instances.failover", "CreateBackup": "backupRuns.insert",
		"Restore": "instances.clone", "Progress": "operations.get",
	}
	stage := &cloudtest.Stage{
		Changer: g.as(t, robot), Who: robot, Known: "main",
		Spare: func(t *testing.T, name string) { t.Helper(); g.adopt(t, name, 16, false) },
		Fault: func(method, effect string, times int) {
			g.faults.Add(play.Fault{Service: "cloudsql", Action: actions[method], Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(g.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, g.api.Server("shop-prod", instance), sql)
		},
		Permissions: map[string]string{
			"Modify": "cloudsql.instances.update", "Failover": "cloudsql.instances.failover", "CreateBackup": "cloudsql.backupRuns.create",
			"Restore": "cloudsql.instances.clone",
		},
		Revisions: true,
	}
	cloudtest.RunChanger(t, stage)
	t.Run("certificates", func(t *testing.T) { cloudtest.RunCertifier(t, stage, true) })
}
