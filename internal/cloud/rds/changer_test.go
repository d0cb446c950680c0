package rds

import (
	"testing"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/sandbox/play"
)

func TestThePlayedRDSIsChanged(t *testing.T) {
	a := playAWS(t)
	actions := map[string]string{
		"Modify": "ModifyDBInstance", "Failover": "RebootDBInstance", "CreateBackup": "CreateDBSnapshot",
		"Restore": "RestoreDBInstanceToPointInTime", "Progress": "DescribeDBInstances",
	}
	stage := &cloudtest.Stage{
		Changer: a.as(t, "user/dbops"), Who: "arn:aws:iam::123456789012:user/dbops", Known: "orders-prod",
		Spare: func(t *testing.T, name string) { t.Helper(); a.adopt(t, name, "16", false) },
		Fault: func(method, effect string, times int) {
			a.faults.Add(play.Fault{Service: "rds", Action: actions[method], Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(a.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, a.api.Server(instance), sql)
		},
		Permissions: map[string]string{},
		Renames:     true, Windows: true, Labels: true, Keeps: true, Tells: true,
		Unknown: cloud.Settings{TLSRequired: new(true)},
	}
	for method, action := range actions {
		stage.Permissions[method] = "rds:" + action
	}
	cloudtest.RunChanger(t, stage)
	t.Run("certificates", func(t *testing.T) { cloudtest.RunCertifier(t, stage, false) })
}
