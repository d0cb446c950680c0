package cloudsql

import (
	"context"
	"errors"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

func TestThePlayedCloudSQLUpgradesInPlace(t *testing.T) {
	g := playGoogle(t, 0.0001)
	p := g.as(t, robot)
	actions := map[string]string{"Upgrade": "instances.patch"}
	stage := &cloudtest.Stage{
		Changer: p,
		Spare:   func(t *testing.T, name string) { t.Helper(); g.adopt(t, name, 16, false) },
		Fault: func(method, effect string, times int) {
			g.faults.Add(play.Fault{Service: "cloudsql", Action: actions[method], Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(g.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, g.api.Server("shop-prod", instance), sql)
		},
	}
	cloudtest.RunUpgrader(t, stage, cloudtest.Upgrading{
		Session: func(t *testing.T, instance string) (lives func() bool) {
			t.Helper()
			conn, err := g.api.Server("shop-prod", instance).DB(t.Context(), "postgres")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			return func() bool { return conn.Ping(t.Context()) == nil }
		},
		Looks: true, Permission: "cloudsql.instances.update",
	})
	t.Run("what it has not is refused", func(t *testing.T) {
		for _, o := range []cloud.UpgradeOptions{{When: cloud.InWindow}, {Parameters: "default.postgres18"}} {
			if _, err := p.Upgrade(t.Context(), "main", 18, o); fault.KindOf(err) != fault.Invalid || !errors.Is(err, cloud.ErrUnsupported) {
				t.Errorf("%+v: %v", o, err)
			}
		}
		_, created := p.CreateGreen(t.Context(), cloud.Green{Name: "x", Source: "main"})
		_, described := p.Green(t.Context(), "x")
		_, switched := p.SwitchoverGreen(t.Context(), "x", time.Minute)
		_, deleted := p.DeleteGreen(t.Context(), "x")
		for _, err := range []error{created, described, switched, deleted} {
			if fault.KindOf(err) != fault.Invalid || !errors.Is(err, cloud.ErrUnsupported) || fault.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("a check that fails is told", func(t *testing.T) {
		g.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.preCheckMajorVersionUpgrade", Effect: play.Fail, Count: 1})
		if _, err := p.CanUpgrade(t.Context(), "main", 18); fault.KindOf(err) != fault.Internal {
			t.Errorf("got %v", err)
		}
	})
}
