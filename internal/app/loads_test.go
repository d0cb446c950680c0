package app

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/config"
	"dbops/internal/fault"
)

// cloudOf is a provider that measures, and notes what it was asked.
type cloudOf struct {
	cloud.Provider

	mu    sync.Mutex
	asked [][]string
	err   error
}

func (c *cloudOf) Measure(_ context.Context, names ...string) (map[string]cloud.Load, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(names)
	c.asked = append(c.asked, names)
	out := map[string]cloud.Load{}
	for i, name := range names {
		if name != "stopped" {
			out[name] = cloud.Load{At: time.Unix(int64(i), 0), Connections: new(len(c.asked))}
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return out, nil
}

// deaf is a provider that measures nothing.
type deaf struct{ cloud.Provider }

// loadsApp is one with a region, a project and a plain server, and a clock.
func loadsApp(t *testing.T) (a *App, aws, google *cloudOf, now *time.Time) {
	t.Helper()
	rds := func(id string) *config.Instance {
		return &config.Instance{RDS: &config.RDS{Region: "eu-west-1", Identifier: id}}
	}
	cfg := &config.Config{Path: "/etc/dbops.yaml", Environments: map[string]*config.Environment{
		"prod": {Protected: true, Name: "prod", Instances: map[string]*config.Instance{
			"orders": rds("orders-prod"), "billing": rds("billing-prod"), "search": rds("stopped"),
			"main":  {CloudSQL: &config.CloudSQL{Project: "shop", Region: "europe-west1", Instance: "main"}},
			"plain": {Postgres: &config.Postgres{URL: "postgres://db.example.com:5432/?sslmode=verify-full"}},
		}},
		"reports": {Name: "reports", Instances: map[string]*config.Instance{"orders": rds("orders-prod")}},
	}}
	a = New(cfg, Options{RuntimeDir: t.TempDir(), StateDir: t.TempDir(), Getenv: func(string) string { return "" }})
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	aws, google = &cloudOf{}, &cloudOf{}
	a.providers[keyOf("prod", "orders", rds("x"))] = aws
	a.providers[keyOf("prod", "main", cfg.Environments["prod"].Instances["main"])] = google
	now = new(time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC))
	a.questions.now = func() time.Time { return *now }
	return a, aws, google, now
}

func loadsOf(t *testing.T, a *App, env, instance string) map[string]InstanceLoad {
	t.Helper()
	stream, err := a.Loads(t.Context(), env, instance)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]InstanceLoad{}
	for l := range stream {
		if (l.Load == nil) == (l.Err == nil) {
			t.Errorf("of %s/%s: %+v, %v", l.Environment, l.Name, l.Load, l.Err)
		}
		out[l.Environment+"/"+l.Name] = l
	}
	return out
}

func TestAllInstancesOfARegionAreOneQuestion(t *testing.T) {
	t.Parallel()
	a, aws, google, _ := loadsApp(t)
	out := loadsOf(t, a, "", "")
	if len(out) != 6 || out["prod/orders"].Load == nil || out["reports/orders"].Load == nil || out["prod/main"].Load == nil {
		t.Errorf("got %+v", out)
	}
	if len(aws.asked) != 1 || !slices.Equal(aws.asked[0], []string{"billing-prod", "orders-prod", "stopped"}) || len(google.asked) != 1 {
		t.Errorf("asked %v, %v", aws.asked, google.asked)
	}
	if err := out["prod/search"].Err; fault.KindOf(err) != fault.NotFound || fault.HintOf(err) == "" {
		t.Errorf("without figures: %v", err)
	}
	if err := out["prod/plain"].Err; !errors.Is(err, cloud.ErrUnsupported) {
		t.Errorf("a plain server: %v", err)
	}
	if _, err := a.Loads(t.Context(), "", "ordres"); fault.KindOf(err) != fault.Usage {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestFiguresAreGivenAgainForAWhile(t *testing.T) {
	t.Parallel()
	a, aws, _, now := loadsApp(t)
	first := loadsOf(t, a, "prod", "orders")
	*now = now.Add(loadFresh - time.Second)
	again := loadsOf(t, a, "prod", "")
	if *again["prod/orders"].Load.Connections != *first["prod/orders"].Load.Connections {
		t.Error("it was measured again within a minute")
	}
	if len(aws.asked) != 2 || !slices.Equal(aws.asked[1], []string{"billing-prod", "stopped"}) {
		t.Errorf("asked %v", aws.asked)
	}
	*now = now.Add(2 * time.Second)
	if later := loadsOf(t, a, "prod", "orders"); *later["prod/orders"].Load.Connections != 3 {
		t.Errorf("later: %+v", later)
	}
}

func TestALoadThatCannotBeHadIsSaidForEachInstance(t *testing.T) {
	t.Parallel()
	a, aws, google, now := loadsApp(t)
	loadsOf(t, a, "prod", "orders")
	*now = now.Add(time.Second)
	aws.err = fault.Newf(fault.Denied, "measure", "no").Missing("cloudwatch:GetMetricData")
	out := loadsOf(t, a, "prod", "")
	if fault.PermissionOf(out["prod/billing"].Err) != "cloudwatch:GetMetricData" || out["prod/main"].Load == nil {
		t.Errorf("got %+v", out)
	}
	if out["prod/orders"].Load == nil {
		t.Error("what was measured a moment ago is lost")
	}
	aws.err = nil
	if out = loadsOf(t, a, "prod", "billing"); out["prod/billing"].Load == nil {
		t.Errorf("after it was allowed: %+v", out)
	}
	for key, p := range a.providers {
		if p == cloud.Provider(google) {
			a.providers[key] = deaf{}
		}
	}
	*now = now.Add(time.Hour)
	if out = loadsOf(t, a, "prod", "main"); !errors.Is(out["prod/main"].Err, cloud.ErrUnsupported) {
		t.Errorf("of a provider that does not measure: %v", out["prod/main"].Err)
	}
}
