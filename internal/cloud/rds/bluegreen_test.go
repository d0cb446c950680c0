package rds

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/sandbox/play"
)

func TestThePlayedRDSUpgradesACopyThatTakesThePlace(t *testing.T) {
	a := emptyAWS(t)
	p := a.as(t, "user/dbops")
	own := "logical-14"
	if _, err := p.api.CreateDBParameterGroup(t.Context(), &sdk.CreateDBParameterGroupInput{
		DBParameterGroupName: &own, DBParameterGroupFamily: new("postgres14"), Description: new("test"),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.api.ModifyDBParameterGroup(t.Context(), &sdk.ModifyDBParameterGroupInput{DBParameterGroupName: &own, Parameters: []types.Parameter{
		{ParameterName: new("rds.logical_replication"), ParameterValue: new("1"), ApplyMethod: types.ApplyMethodPendingReboot},
	}}); err != nil {
		t.Fatal(err)
	}
	a.adoptLike(t, "shop", "14", true, func(in *sdk.CreateDBInstanceInput) { in.DBParameterGroupName = &own })
	ask := func(t *testing.T, name, sql string) string { t.Helper(); return query(t, a.api.Server(name), sql) }
	ask(t, "shop", `CREATE TABLE item (id bigserial PRIMARY KEY, text text)`)
	ask(t, "shop", `INSERT INTO item (text) SELECT 'before' FROM generate_series(1, 1000)`)
	before := describeOne(t, p, "shop")
	green := cloud.Green{Name: "to-17", Source: "shop", Major: 17, Labels: map[string]string{"run": "1"}}

	t.Run("what cannot be is refused", func(t *testing.T) {
		for _, g := range []cloud.Green{{Source: "shop", Major: 17}, {Name: "x", Source: "shop", Major: 14}, {Name: "x", Source: "shop", Major: 17, Parameters: own}} {
			if _, err := p.CreateGreen(t.Context(), g); fault.KindOf(err) != fault.Invalid {
				t.Errorf("%+v: %v", g, err)
			}
		}
		if _, err := p.Green(t.Context(), "to-17"); fault.KindOf(err) != fault.NotFound {
			t.Errorf("got %v", err)
		}
		if _, err := p.SwitchoverGreen(t.Context(), "to-17", time.Second); fault.KindOf(err) != fault.Invalid {
			t.Errorf("got %v", err)
		}
		gone, err := p.DeleteGreen(t.Context(), "to-17")
		if err != nil {
			t.Fatal(err)
		}
		finish(t, p, gone)
	})
	t.Run("the copy follows the source", func(t *testing.T) {
		r, err := p.CreateGreen(t.Context(), green)
		if err != nil {
			t.Fatal(err)
		}
		ask(t, "shop", `INSERT INTO item (text) SELECT 'meanwhile' FROM generate_series(1, 100)`)
		again, err := p.CreateGreen(t.Context(), green)
		if err != nil {
			t.Fatal(err)
		}
		finish(t, p, r)
		finish(t, p, again)
		s, err := p.Green(t.Context(), "to-17")
		if err != nil || !s.Ready || s.Switched || s.Source != "shop" || !strings.HasPrefix(s.Target, "shop-green-") {
			t.Fatalf("got %+v, %v", s, err)
		}
		ask(t, "shop", `INSERT INTO item (text) SELECT 'after' FROM generate_series(1, 10)`)
		until(t, p, s.Target, func(live *cloud.Instance) bool {
			return live.Major == 17 && ask(t, s.Target, `SELECT count(*)::text FROM item`) == "1110"
		})
		if _, err := p.CreateGreen(t.Context(), cloud.Green{Name: "another", Source: "shop", Major: 17}); err == nil {
			t.Error("a second deployment of the source is accepted")
		}
	})
	t.Run("a switchover that fails leaves the source as it was", func(t *testing.T) {
		a.faults.Add(play.Fault{Service: "rds", Action: "SwitchoverBlueGreenDeployment", Effect: play.Fail, Count: 1})
		r, err := p.SwitchoverGreen(t.Context(), "to-17", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if err := fails(t, p, r); !strings.Contains(err.Error(), "SWITCHOVER_FAILED") {
			t.Errorf("got %v", err)
		}
		ask(t, "shop", `INSERT INTO item (text) VALUES ('still')`)
	})
	t.Run("the copy takes the place", func(t *testing.T) {
		lives := a.session(t, "shop")
		r, err := p.SwitchoverGreen(t.Context(), "to-17", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.SwitchoverGreen(t.Context(), "to-17", time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		finish(t, p, r)
		finish(t, p, again)
		live, old := describeOne(t, p, "shop"), describeOne(t, p, "shop-old1")
		if live.Major != 17 || old.Major != 14 || fmt.Sprint(live.Endpoints) != fmt.Sprint(before.Endpoints) || !live.DeletionProtection || live.Labels["environment"] != "prod" {
			t.Errorf("got %+v, and the old %+v", live, old)
		}
		if got := ask(t, "shop", `SELECT count(*)::text FROM item`); got != "1111" {
			t.Errorf("%s rows", got)
		}
		if got := ask(t, "shop", `INSERT INTO item (text) VALUES ('new') RETURNING (id > 1111)::text`); got != "true" {
			t.Error("the sequence is behind")
		}
		if got := ask(t, "shop-old1", `SHOW default_transaction_read_only`); got != "on" {
			t.Error("the old one takes writes")
		}
		if got := ask(t, "shop-old1", `SELECT count(*)::text FROM pg_replication_slots`); got != "0" {
			t.Errorf("%s slots are left", got)
		}
		if lives() {
			t.Error("a session outlives the switchover")
		}
	})
	t.Run("the deployment is deleted, and both instances stay", func(t *testing.T) {
		r, err := p.DeleteGreen(t.Context(), "to-17")
		if err != nil {
			t.Fatal(err)
		}
		finish(t, p, r)
		describeOne(t, p, "shop")
		describeOne(t, p, "shop-old1")
	})
	t.Run("one that is given up is deleted with its copy", func(t *testing.T) {
		a.faults.Add(play.Fault{Service: "rds", Action: "CreateBlueGreenDeployment", Effect: play.Fail, Count: 1})
		a.adoptLike(t, "small", "14", true, func(in *sdk.CreateDBInstanceInput) { in.DBParameterGroupName = &own })
		r, err := p.CreateGreen(t.Context(), cloud.Green{Name: "fails", Source: "small", Major: 17})
		if err != nil {
			t.Fatal(err)
		}
		if err := fails(t, p, r); !strings.Contains(err.Error(), "INVALID_CONFIGURATION") {
			t.Errorf("got %v", err)
		}
		s, err := p.Green(t.Context(), "fails")
		if err != nil {
			t.Fatal(err)
		}
		if r, err = p.DeleteGreen(t.Context(), "fails"); err != nil {
			t.Fatal(err)
		}
		finish(t, p, r)
		for deadline := time.Now().Add(time.Minute); ; {
			if _, err := p.Get(t.Context(), s.Target); fault.KindOf(err) == fault.NotFound {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the copy stays")
			}
		}
		describeOne(t, p, "small")
	})
	t.Run("who may not is told", func(t *testing.T) {
		if _, err := a.as(t, "user/reader").Green(t.Context(), "x"); fault.KindOf(err) != fault.Denied || fault.PermissionOf(err) != "rds:DescribeBlueGreenDeployments" {
			t.Errorf("got %v", err)
		}
	})
}

func describeOne(t *testing.T, p *Provider, name string) *cloud.Instance {
	t.Helper()
	live, err := p.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return live
}

// fails follows a change until it is said to have failed.
func fails(t *testing.T, p *Provider, r cloud.Receipt) error {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		progress, err := p.Progress(t.Context(), r)
		if err != nil {
			if fault.KindOf(err) != fault.Internal {
				t.Errorf("got %v", err)
			}
			return err
		}
		if progress.Done || time.Since(start) > time.Minute {
			t.Fatalf("it did not fail: %+v", progress)
			return errors.New("unreachable")
		}
	}
}
