package upgrade

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/rds" //nolint:depguard // the played cloud is made with it
	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/gcpapi"
	"dbops/internal/sandbox/pgtest"
	"dbops/internal/sandbox/rdsapi"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
	"dbops/internal/state"
	"dbops/internal/upgrade/follow"
)

// played is a cloud with real servers. It is all that another process needs to reach it.
type played struct {
	Kind   cloud.Kind
	URL    string
	Relay  string
	Source string
	Dir    string
}

const adminPassword = "staple-battery-17"

// onStage is held by who plays a cloud: a process has one of a kind at a time, as its credentials are in the environment.
var onStage = map[cloud.Kind]*sync.Mutex{cloud.RDS: {}, cloud.CloudSQL: {}}

// stage plays a cloud, when no other test does.
func stage(t *testing.T, kind cloud.Kind) (played, *theatre.Stage) {
	t.Helper()
	onStage[kind].Lock()
	t.Cleanup(onStage[kind].Unlock)
	clouds := theatre.New(theatre.Options{Pace: 0.0001})
	t.Cleanup(func() {
		if err := clouds.Close(); err != nil {
			t.Error(err)
		}
	})
	g := clouds.Get(t, kind)
	return played{Kind: kind, URL: g.URL, Relay: g.Relay(t), Dir: pgtest.Dir(t)}, g
}

// instance makes one that is the target.
func (p played) instance(t *testing.T, g *theatre.Stage, name string, major int) played {
	t.Helper()
	p.Source = name
	var err error
	if p.Kind == cloud.RDS {
		_, err = g.RDS.Adopt(t.Context(), rdsapi.Seed{
			Create: sdk.CreateDBInstanceInput{
				DBInstanceIdentifier: &p.Source, EngineVersion: new(fmt.Sprint(major)), MasterUsername: new("boss"), BackupRetentionPeriod: new(int32(7)),
				DeletionProtection: new(true), PubliclyAccessible: new(true),
			},
			Password: secret.New(adminPassword),
		})
	} else {
		_, err = g.Google.Adopt(t.Context(), gcpapi.Attributes{
			Project: theatre.Project, Name: p.Source, Major: major, Availability: "ZONAL", Password: secret.New(adminPassword), DeletionProtection: true,
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p played) connect(ctx context.Context, _ op.Target, s Server, database string, tune func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	cfg, err := theatre.Through(p.Relay, s.Name, database)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["application_name"] = "dbops"
	if tune != nil {
		tune(cfg)
	}
	return pgx.ConnectConfig(ctx, cfg)
}

func (p played) exec(t testing.TB, server, database, sql string) (text string) {
	t.Helper()
	conn, err := p.connect(t.Context(), target, Server{Name: server}, database, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	answers, err := conn.PgConn().Exec(t.Context(), sql).ReadAll()
	if err != nil {
		t.Fatalf("%.80s: %v", sql, err)
	}
	if last := answers[len(answers)-1]; len(last.Rows) > 0 && last.Rows[0][0] != nil {
		text = string(last.Rows[0][0])
	}
	return text
}

func (p played) deps(ctx context.Context) (Deps, error) {
	client, err := theatre.Client(ctx, p.Kind, p.URL, &http.Transport{})
	if err != nil {
		return Deps{}, err
	}
	c, ok := client.(Cloud)
	if !ok {
		return Deps{}, fmt.Errorf("%T upgrades nothing", client)
	}
	return Deps{
		Cloud:   func(context.Context, op.Target) (Cloud, string, error) { return c, p.Source, nil },
		Connect: p.connect,
		Address: func(ctx context.Context, _ op.Target, s Server, database string) (follow.Address, error) {
			live, err := c.Get(ctx, s.Name)
			if err != nil {
				return follow.Address{}, err
			}
			return follow.Address{Host: live.Endpoints[0].Host, Port: live.Endpoints[0].Port, Database: database, SSLMode: "require"}, nil
		},
		Admin: func(context.Context, op.Target) (string, secret.Value, error) {
			return map[cloud.Kind]string{cloud.RDS: "boss", cloud.CloudSQL: "postgres"}[p.Kind], secret.New(adminPassword), nil
		},
		Clients: &clients{}, Dir: p.Dir, Pace: pace, Reach: 20 * time.Second,
	}, nil
}

func (p played) bench(t *testing.T, store string) *bench {
	t.Helper()
	d, err := p.deps(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return newBench(t, store, d)
}

func (p played) alike(t testing.TB, to, database string) {
	t.Helper()
	at := func(name string) func(string) (*pgx.Conn, error) {
		return func(db string) (*pgx.Conn, error) {
			return p.connect(t.Context(), target, Server{Name: name}, db, nil)
		}
	}
	alike(t, at(p.Source), at(to), database)
}

// many are tables by the thousand.
const many = `do $$ begin for i in 1..%d loop execute format('create table many.t%%s (id int primary key, v text default %%L)', i, i); execute format('insert into many.t%%s values (%%s)', i, i); end loop; end $$`

func TestBothCloudsAreUpgradedWithOneOfEverything(t *testing.T) {
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p, g := stage(t, kind)
			for _, one := range []struct{ from, to, tables int }{{14, 17, 5000}, {15, 18, 5000}, {16, 18, 5000}} {
				t.Run(fmt.Sprintf("%d to %d", one.from, one.to), func(t *testing.T) {
					p := p.instance(t, g, fmt.Sprintf("shop-%d", one.from), one.from)
					p.exec(t, p.Source, "postgres", file(t, "stream/testdata/roles.sql"))
					p.exec(t, p.Source, "postgres", "create database shop owner app_owner")
					p.exec(t, p.Source, "shop", file(t, "stream/testdata/zoo.sql"))
					p.exec(t, p.Source, "shop", "create schema many; "+fmt.Sprintf(many, one.tables))
					b := p.bench(t, "sqlite")
					request := Request{To: one.to, Observe: 1, Unattended: true}
					plan := b.plan(t, RunKind, request)
					if blocked := plan.Blocked(); len(blocked) > 0 {
						t.Fatalf("%s", words2(blocked))
					}
					run := b.attach(t, b.submit(t, plan))
					b.done(t, run)
					to := fmt.Sprintf("%s-pg%d", p.Source, one.to)
					p.alike(t, to, "shop")
					live, err := g.Client.Get(t.Context(), to)
					if err != nil || live.Major != one.to || !live.DeletionProtection || !live.Backups.Enabled || live.Labels[RunLabel] != run.ID {
						t.Errorf("%v: %+v", err, live)
					}
					report := b.report(t, run.ID)
					if report.Downtime == nil || !report.Databases[0].Equal || report.Databases[0].Tables < one.tables {
						t.Errorf("%s", words2(report))
					}
					for _, phase := range report.Phases {
						t.Logf("%s took %s", phase.Name, phase.Took)
					}
					b.done(t, b.run(t, RollbackKind, RollbackRequest{Run: run.ID}))
					if c := b.deps.Clients.(*clients); c.now != p.Source {
						t.Errorf("clients use %q", c.now)
					}
					b.clears(t, g.Client, run.ID, p.Source, to)
				})
			}
		})
	}
}

func TestARehearsalTouchesNothingAndForetells(t *testing.T) {
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p, g := stage(t, kind)
			p = p.instance(t, g, "shop-main", 15)
			p.exec(t, p.Source, "postgres", "create role app_owner login")
			p.exec(t, p.Source, "postgres", "create database shop owner app_owner")
			p.exec(t, p.Source, "shop", "create table t (id int primary key, v text); insert into t select i, 'x' from generate_series(1, 1000) i")
			b := p.bench(t, "sqlite")
			b.rehearsed(t)
			before := p.exec(t, p.Source, "shop", "select pg_current_wal_insert_lsn()")
			run := b.run(t, RehearseKind, Request{To: 17})
			b.done(t, run)
			all, err := g.Client.List(t.Context())
			if err != nil || len(all) != 1 {
				t.Errorf("%v: %d instances", err, len(all))
			}
			if n := p.exec(t, p.Source, "shop", "select count(*) from pg_roles where rolname like 'dbops%'"); n != "0" {
				t.Errorf("%s roles are left on the source", n)
			}
			report := b.report(t, run.ID)
			if report.Forecast == nil || report.Forecast.Low <= 0 || report.Forecast.High <= report.Forecast.Low || len(report.Failures) > 0 || !report.Databases[0].Equal {
				t.Fatalf("%s", words2(report))
			}
			t.Logf("%s to %s, log from %s", report.Forecast.Low, report.Forecast.High, before)
			if d := b.plan(t, RunKind, Request{To: 17}); d.Downtime.Expected != "some" || !strings.Contains(d.Downtime.Text, run.ID) || has(d.Findings, op.Warn, "rehearsal") {
				t.Errorf("%s", words2(d.Draft))
			}

			// What would fail is found, told, and cleared away.
			p.exec(t, p.Source, "shop", "create table broken (v text); insert into broken values ('x'); create function bad(text) returns int immutable language plpgsql as 'begin return v from only_here; end'; "+
				"create table only_here (v int); insert into only_here values (1); create index on broken (bad(v)); drop table only_here")
			run = b.run(t, RehearseKind, Request{To: 17})
			b.done(t, run)
			report = b.report(t, run.ID)
			if len(report.Failures) != 1 || report.Failures[0].Step != "copy shop" || report.Forecast != nil {
				t.Errorf("%s", words2(report.Failures))
			}
			if all, err := g.Client.List(t.Context()); err != nil || len(all) != 1 {
				t.Errorf("%v: %d instances", err, len(all))
			}
			var md, html strings.Builder
			if err := report.Markdown(&md); err != nil || !strings.Contains(md.String(), "## What failed") {
				t.Errorf("%v: %s", err, md.String())
			}
			if err := report.HTML(&html); err != nil || !strings.Contains(html.String(), "only_here") {
				t.Errorf("%v: %s", err, html.String())
			}
		})
	}
}

// rehearsed lets plans know the last rehearsal.
func (b *bench) rehearsed(t testing.TB) {
	t.Helper()
	d := b.deps
	d.Rehearsed = func(ctx context.Context, _ op.Target, major int) (*Report, error) {
		all, err := b.Runs(ctx, state.RunFilter{})
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			if r.Kind == RehearseKind && r.State == state.Done {
				return b.report(t, r.ID), nil
			}
		}
		return nil, nil
	}
	b.with(t, d)
}

// deaf is a cloud whose answer to the first removal is lost: the instance goes, and who asked does not know.
type deaf struct {
	Cloud
	asked int
}

func (c *deaf) Delete(ctx context.Context, name string) (cloud.Receipt, error) {
	r, err := c.Cloud.Delete(ctx, name)
	if c.asked++; c.asked == 1 && err == nil {
		return cloud.Receipt{}, fault.Newf(fault.Unavailable, "remove "+name, "the answer was lost")
	}
	return r, err
}

// clears cleans up after a rollback: the new instance goes, and the old one, which clients use, stays.
func (b *bench) clears(t *testing.T, live cloud.Provider, upgraded, from, to string) {
	t.Helper()
	p, r, steps, after, err := b.journal(t.Context(), upgraded)
	if err != nil {
		t.Fatal(err)
	}
	report, err := ReportOf(p, r, steps)
	if err != nil {
		t.Fatal(err)
	}
	if report.EndedBy(after); report.Remnant != to {
		t.Errorf("%q is said to be left", report.Remnant)
	}
	b.blocks(t, "the old instance, which clients use", CleanupKind, CleanupRequest{Run: upgraded, Remove: true}, "source-in-use", "rolled back to "+from)
	plan := b.plan(t, CleanupKind, CleanupRequest{Run: upgraded})
	if len(plan.Blocked()) > 0 || len(plan.Changes) != 1 || plan.Changes[0].From != to || !strings.Contains(plan.Downtime.Text, "clients use "+from+",") {
		t.Fatalf("%s", words2(plan.Draft))
	}
	d := b.deps
	inner := d.Cloud
	c := &deaf{}
	d.Cloud = func(ctx context.Context, at op.Target) (Cloud, string, error) {
		var name string
		c.Cloud, name, err = inner(ctx, at)
		return c, name, err
	}
	b.with(t, d)
	b.done(t, b.attach(t, b.submit(t, plan)))
	if _, err := live.Get(t.Context(), to); !is(err, fault.NotFound) {
		t.Errorf("%s is there: %v", to, err)
	}
	if c.asked == 0 {
		t.Error("nobody was asked to remove it")
	}
	old, err := live.Get(t.Context(), from)
	if err != nil || old.State != cloud.Available {
		t.Errorf("%v: %+v", err, old)
	}
	if all, err := c.Backups(t.Context(), to); old.Provider == cloud.RDS && (err != nil || len(all) == 0) {
		t.Errorf("no last backup: %v, %+v", err, all)
	}
	b.blocks(t, "a second time", CleanupKind, CleanupRequest{Run: upgraded}, "ended", CleanupKind)
	if _, _, _, after, err = b.journal(t.Context(), upgraded); err != nil {
		t.Fatal(err)
	}
	report.Remnant = ""
	if report.EndedBy(after); report.Remnant != "" {
		t.Errorf("%s is still said to be left", report.Remnant)
	}
}
