package rds

import (
	"context"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/cloud/cloudtest"
	"dbops/internal/fault"
	"dbops/internal/sandbox/awsid"
	"dbops/internal/sandbox/play"
)

func TestThePlayedRDS(t *testing.T) {
	a := playAWS(t)
	t.Run("conformance", func(t *testing.T) {
		cloudtest.Run(t, func(t *testing.T) (cloud.Provider, string) {
			t.Helper()
			return a.as(t, "user/dbops"), "orders-prod"
		})
	})
	t.Run("an instance is what it was made as", func(t *testing.T) {
		live, err := a.as(t, "user/dbops").Get(t.Context(), "orders-prod")
		if err != nil {
			t.Fatal(err)
		}
		if live.Availability != cloud.Regional || live.SecondaryZone == "" || !live.IAMLogin || !live.DeletionProtection || live.Major != 14 ||
			live.Backups.RetentionDays != 7 || !live.Backups.PITR || live.Labels["environment"] != "prod" || live.Project != "123456789012" ||
			live.TLS.CA == "" || live.TLS.Expires.IsZero() || live.TLS.Required != (live.TLS.Mode == "rds.force_ssl=1") {
			t.Errorf("got %+v", live)
		}
	})
	t.Run("a change that waits is pending", func(t *testing.T) {
		p := a.as(t, "user/dbops")
		id := "billing-prod"
		_, err := p.api.ModifyDBInstance(t.Context(), &sdk.ModifyDBInstanceInput{
			DBInstanceIdentifier: &id, DBInstanceClass: new("db.r6g.large"), ApplyImmediately: new(false),
		})
		if err != nil {
			t.Fatal(err)
		}
		live := until(t, p, id, func(live *cloud.Instance) bool { return len(live.Pending) > 0 })
		if c := live.Pending[0]; c.Setting != "class" || c.To != "db.r6g.large" || c.From == "" {
			t.Errorf("pending %+v", live.Pending)
		}
	})
	t.Run("maintenance that is announced is pending", func(t *testing.T) {
		at := time.Date(2026, 12, 1, 4, 30, 0, 0, time.UTC)
		if err := a.api.Announce("billing-prod", types.PendingMaintenanceAction{Action: new("system-update"), ForcedApplyDate: &at}); err != nil {
			t.Fatal(err)
		}
		p := a.as(t, "user/dbops")
		one, err := p.Get(t.Context(), "billing-prod")
		if err != nil {
			t.Fatal(err)
		}
		all, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, live := range []*cloud.Instance{one, all[0]} {
			if got := strings.Join(live.Maintenance.Pending, "; "); got != "system-update by 2026-12-01" {
				t.Errorf("pending %q", got)
			}
		}
	})
	t.Run("who may only read instances sees them", func(t *testing.T) {
		live, err := a.as(t, "user/reader").Get(t.Context(), "orders-prod")
		if err != nil || live.TLS.Mode != "" || live.Maintenance.Pending != nil {
			t.Errorf("got %+v, %v", live, err)
		}
	})
	t.Run("who may describe some instances, and list none, sees them in a batch", func(t *testing.T) {
		batch := a.as(t, "user/some").Batch(t.Context(), "orders-prod", "billing-prod")
		if live, err := batch.Get(t.Context(), "orders-prod"); err != nil || live.Name != "orders-prod" {
			t.Errorf("got %+v, %v", live, err)
		}
		if _, err := batch.Get(t.Context(), "billing-prod"); fault.KindOf(err) != fault.Denied {
			t.Errorf("of the other it says %v", err)
		}
	})
	t.Run("who may nothing learns what is missing", func(t *testing.T) {
		p := a.as(t, "user/nobody")
		_, one := p.Get(t.Context(), "orders-prod")
		_, all := p.List(t.Context())
		for _, err := range []error{one, all} {
			if fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "rds:DescribeDBInstances" {
				t.Errorf("got %v, missing %q", err, fault.PermissionOf(err))
			}
		}
	})
	for effect, want := range map[play.Effect]fault.Kind{
		play.Throttle: fault.Throttled, play.Deny: fault.Denied, play.Unavailable: fault.Unavailable, play.Drop: fault.Unavailable,
	} {
		t.Run("when it is asked to "+string(effect), func(t *testing.T) {
			t.Setenv("AWS_MAX_ATTEMPTS", "2")
			defer a.faults.Clear()
			p := a.as(t, "user/dbops")
			a.faults.Add(play.Fault{Service: "rds", Action: "DescribeDBInstances", Effect: effect})
			if _, err := p.Get(t.Context(), "orders-prod"); fault.KindOf(err) != want || fault.HintOf(err) == "" {
				t.Errorf("got %v, hint %q", err, fault.HintOf(err))
			}
		})
	}
	t.Run("a passing throttle is not noticed", func(t *testing.T) {
		defer a.faults.Clear()
		a.faults.Add(play.Fault{Service: "rds", Action: "DescribeDBInstances", Effect: play.Throttle, Count: 1})
		if _, err := a.as(t, "user/dbops").Get(t.Context(), "orders-prod"); err != nil {
			t.Error(err)
		}
	})
	t.Run("its login token is accepted, for that role only", func(t *testing.T) {
		const endpoint = "127.0.0.1:5432"
		token, err := a.as(t, "user/dbops").LoginToken(t.Context(), endpoint, "api")
		if err != nil {
			t.Fatal(err)
		}
		login := awsid.Login{Endpoint: endpoint, Role: "api", ResourceID: "db-ABC"}
		if err := a.keys.CheckToken(login, token.Reveal()); err != nil {
			t.Error(err)
		}
		login.Role = "admin"
		if err := a.keys.CheckToken(login, token.Reveal()); err == nil {
			t.Error("it is accepted for another role")
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
