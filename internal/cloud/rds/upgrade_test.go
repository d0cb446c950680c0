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
	"dbops/internal/sandbox/play"
)

// upgradeStage is a played RDS for upgrades.
func upgradeStage(t *testing.T, a *played) (*cloudtest.Stage, *Provider) {
	t.Helper()
	p := a.as(t, "user/dbops")
	actions := map[string]string{"Upgrade": "ModifyDBInstance"}
	return &cloudtest.Stage{
		Changer: p,
		Spare:   func(t *testing.T, name string) { t.Helper(); a.adopt(t, name, "16", false) },
		Fault: func(method, effect string, times int) {
			a.faults.Add(play.Fault{Service: "rds", Action: actions[method], Effect: play.Effect(effect), Count: times})
		},
		Faults: func() int { return cleared(a.faults) },
		Query: func(t *testing.T, instance, sql string) string {
			t.Helper()
			return query(t, a.api.Server(instance), sql)
		},
	}, p
}

// session opens one on the real server of an instance.
func (a *played) session(t *testing.T, instance string) (lives func() bool) {
	t.Helper()
	conn, err := a.api.Server(instance).DB(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return func() bool { return conn.Ping(t.Context()) == nil }
}

func TestThePlayedRDSUpgradesInPlace(t *testing.T) {
	a := emptyAWS(t)
	a.adopt(t, "billing-prod", "15", true)
	stage, p := upgradeStage(t, a)
	cloudtest.RunUpgrader(t, stage, cloudtest.Upgrading{Session: a.session, Permission: "rds:ModifyDBInstance"})
	t.Run("in the window", func(t *testing.T) {
		r, err := p.Upgrade(t.Context(), "billing-prod", 16, cloud.UpgradeOptions{When: cloud.InWindow})
		if err != nil {
			t.Fatal(err)
		}
		again, err := p.Upgrade(t.Context(), "billing-prod", 16, cloud.UpgradeOptions{When: cloud.InWindow})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []cloud.Receipt{r, again} {
			progress, err := p.Progress(t.Context(), r)
			if err != nil || !progress.Done || !strings.Contains(progress.Status, "accepted for the window") {
				t.Errorf("got %+v, %v", progress, err)
			}
		}
		live, err := p.Get(t.Context(), "billing-prod")
		if err != nil || live.Major != 15 || len(live.Pending) != 1 || live.Pending[0].Setting != "engine_version" {
			t.Errorf("got %+v, %v", live, err)
		}
	})
	t.Run("a parameter group of somebody's needs a counterpart", func(t *testing.T) {
		own, next := "mine-14", "mine-17"
		for name, family := range map[string]string{own: "postgres14", next: "postgres17"} {
			_, err := p.api.CreateDBParameterGroup(t.Context(), &sdk.CreateDBParameterGroupInput{
				DBParameterGroupName: &name, DBParameterGroupFamily: &family, Description: new("test"),
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := p.api.ModifyDBParameterGroup(t.Context(), &sdk.ModifyDBParameterGroupInput{DBParameterGroupName: &next, Parameters: []types.Parameter{
			{ParameterName: new("transaction_timeout"), ParameterValue: new("60000"), ApplyMethod: types.ApplyMethodImmediate},
		}})
		if err != nil {
			t.Fatal(err)
		}
		a.adoptLike(t, "grouped", "14", false, func(in *sdk.CreateDBInstanceInput) {
			in.DBParameterGroupName, in.BackupRetentionPeriod = &own, new(int32(0))
		})
		_, err = p.Upgrade(t.Context(), "grouped", 17, cloud.UpgradeOptions{})
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(fault.HintOf(err), "postgres17") {
			t.Errorf("none named: %v, hint %q", err, fault.HintOf(err))
		}
		if found, err := p.CanUpgrade(t.Context(), "grouped", 17); err != nil || !strings.Contains(strings.Join(found, "; "), own) {
			t.Errorf("found %q, %v", found, err)
		}
		for _, wrong := range []string{own, "no-such-group"} {
			if _, err := p.Upgrade(t.Context(), "grouped", 17, cloud.UpgradeOptions{Parameters: wrong}); err == nil {
				t.Errorf("%s is accepted", wrong)
			}
		}
		r, err := p.Upgrade(t.Context(), "grouped", 17, cloud.UpgradeOptions{Parameters: next})
		if err != nil {
			t.Fatal(err)
		}
		finish(t, p, r)
		if got := query(t, a.api.Server("grouped"), "SHOW transaction_timeout"); got != "1min" {
			t.Errorf("the server has the parameters of another group: %s", got)
		}
		db, err := p.describe(t.Context(), "grouped")
		if err != nil || ownGroup(db) != next {
			t.Errorf("its group is %s, %v", ownGroup(db), err)
		}
	})
}

// finish follows a change to its end.
func finish(t *testing.T, p *Provider, r cloud.Receipt) {
	t.Helper()
	deadline, tick := time.Now().Add(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		progress, err := p.Progress(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if progress.Done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not end: %+v", progress)
		}
	}
}

func TestWhatAnUpgradeLooksLike(t *testing.T) {
	t.Parallel()
	now := time.Now()
	w := want{Version: "17.10"}
	version := func(v string) string { return "<EngineVersion>" + v + "</EngineVersion>" }
	const waits = "<PendingModifiedValues><EngineVersion>17.10</EngineVersion></PendingModifiedValues>"
	for _, c := range []struct {
		name, status, more string
		want               want
		at                 time.Time
		events             []any
		done               bool
		err                string
	}{
		{name: "it has not begun", status: "available", more: version("14.23") + waits, want: w, at: now},
		{name: "it is being upgraded", status: "upgrading", more: version("14.23") + waits, want: w, at: now},
		{name: "it is backed up afterwards", status: "backing-up", more: version("17.10"), want: w, at: now},
		{name: "it is there", status: "available", more: version("17.10"), want: w, at: now, done: true},
		{name: "it waits for the window", status: "available", more: version("14.23") + waits, want: want{Version: "17.10", When: cloud.InWindow}, at: now, done: true},
		{name: "RDS does not show it as pending yet", status: "available", more: version("14.23"), want: w, at: now},
		{
			name: "RDS refused it", status: "available", more: version("14.23"), want: w, at: now,
			events: []any{now, "Database instance could not be upgraded: its prechecks failed"}, err: "prechecks failed",
		},
		{name: "RDS says nothing any more", status: "available", more: version("14.23"), want: w, at: now.Add(-time.Hour), err: "no event says why"},
		{name: "it failed", status: "incompatible-parameters", more: version("17.10"), want: w, at: now, err: "incompatible-parameters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, _ := provider(t, map[string]string{
				"DescribeDBInstances": shown(c.status, c.more), "DescribeEvents": told(c.events...),
				"DescribeDBLogFiles": "<DescribeDBLogFilesResponse><DescribeDBLogFilesResult/></DescribeDBLogFilesResponse>",
			})
			progress, err := p.Progress(t.Context(), received(t, cloud.ChangeUpgrade, c.at, c.want))
			if c.err != "" {
				if fault.KindOf(err) != fault.Internal || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %+v, %v", progress, err)
				}
				return
			}
			if err != nil || progress.Done != c.done {
				t.Errorf("got %+v, %v", progress, err)
			}
		})
	}
}

func TestTheFindingsOfALogAreItsPoints(t *testing.T) {
	t.Parallel()
	const log = "-----\nUpgrade could not be run on Sun\n-----\nThe instance could not be upgraded.\n\n* There are slots.\n* There are reg types.\n-----\n"
	if got := findings(log); got != "There are slots.; There are reg types." {
		t.Errorf("got %q", got)
	}
	if got := findings("-----\nfatal: it cannot\n be done\n"); got != "fatal: it cannot be done" {
		t.Errorf("got %q", got)
	}
}
