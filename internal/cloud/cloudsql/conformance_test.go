package cloudsql

import (
	"context"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

func TestThePlayedCloudSQL(t *testing.T) {
	g := playGoogle(t, 0.001)
	t.Run("conformance", func(t *testing.T) {
		cloudtest.Run(t, func(t *testing.T) (cloud.Provider, string) {
			t.Helper()
			return g.as(t, robot), "main"
		})
	})
	t.Run("an instance is what it was made as", func(t *testing.T) {
		live, err := g.as(t, viewer).Get(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		if live.Availability != cloud.Regional || live.SecondaryZone == "" || live.Major != 15 || !live.IAMLogin || !live.DeletionProtection ||
			!live.Backups.Enabled || !live.Backups.PITR || live.Labels["environment"] != "prod" || live.Project != "shop-prod" ||
			!live.TLS.Required || live.TLS.Mode != "ENCRYPTED_ONLY" || live.TLS.CACert == "" || live.TLS.Expires.IsZero() || live.Region != "europe-west1" {
			t.Errorf("got %+v", live)
		}
		if live.Backups.EarliestRestorable.IsZero() || live.Backups.LatestRestorable.Before(live.Backups.EarliestRestorable) {
			t.Error("how far it can be restored is not known")
		}
	})
	t.Run("while an operation runs the state says so", func(t *testing.T) {
		defer g.faults.Clear()
		p := g.as(t, robot)
		g.faults.Add(play.Fault{Service: "cloudsql", Target: "audit", Effect: play.Hang, Count: 1})
		api, err := p.service(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		op, err := api.Instances.Restart("shop-prod", "audit").Context(t.Context()).Do()
		if err != nil {
			t.Fatal(err)
		}
		live := until(t, p, "audit", func(live *cloud.Instance) bool { return live.State == cloud.Restarting })
		if live.RawState != "RUNNABLE, RESTART RUNNING" && live.RawState != "RUNNABLE, RESTART PENDING" {
			t.Errorf("during %s it is %q", op.OperationType, live.RawState)
		}
		all, err := p.List(t.Context())
		if err != nil || len(all) != 2 || all[0].State != cloud.Restarting || all[1].State != cloud.Available {
			t.Errorf("listed %+v, %v", all, err)
		}
	})
	t.Run("who may nothing learns what is missing", func(t *testing.T) {
		if err := g.api.Identity().Grant(nobody); err != nil {
			t.Fatal(err)
		}
		p := g.as(t, nobody)
		_, one := p.Get(t.Context(), "main")
		_, all := p.List(t.Context())
		for want, err := range map[string]error{"cloudsql.instances.get": one, "cloudsql.instances.list": all} {
			if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != want {
				t.Errorf("got %v, missing %q, want %s", err, fault.PermissionOf(err), want)
			}
		}
	})
	for effect, want := range map[play.Effect]fault.Kind{
		play.Throttle: fault.Throttled, play.Deny: fault.Denied, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
	} {
		t.Run("when it is asked to "+string(effect), func(t *testing.T) {
			defer g.faults.Clear()
			p := g.as(t, robot)
			g.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.get", Effect: effect})
			if _, err := p.Get(t.Context(), "main"); fault.KindOf(err) != want || fault.HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
	t.Run("a passing failure is not noticed", func(t *testing.T) {
		defer g.faults.Clear()
		p := g.as(t, robot)
		for _, effect := range []play.Effect{play.Throttle, play.Unavailable, play.Drop} {
			g.faults.Add(play.Fault{Service: "cloudsql", Action: "instances.get", Effect: effect, Count: 1})
		}
		if _, err := p.Get(t.Context(), "main"); err != nil {
			t.Error(err)
		}
	})
	t.Run("its identity is a database user", func(t *testing.T) {
		got, err := g.as(t, robot).Principal(context.Background())
		if err != nil || got != "robot@shop-prod.iam" {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("another project is denied or not found", func(t *testing.T) {
		p := g.as(t, robot)
		p.project = "somebody-elses"
		_, err := p.Get(t.Context(), "main")
		if k := fault.KindOf(err); k != fault.Denied && k != fault.NotFound {
			t.Errorf("got %v", err)
		}
	})
}

func until(t *testing.T, p *Provider, name string, ok func(*cloud.Instance) bool) *cloud.Instance {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		live, err := p.Get(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if ok(live) {
			tick.Stop()
			return live
		}
		<-tick.C
	}
}
