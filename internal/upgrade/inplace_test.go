package upgrade

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"            //nolint:depguard // the played cloud is made with it
	sdk "github.com/aws/aws-sdk-go-v2/service/rds"   //nolint:depguard // the played cloud is made with it
	"github.com/aws/aws-sdk-go-v2/service/rds/types" //nolint:depguard // the played cloud is made with it

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/play"
	"dbops/internal/sandbox/rdsapi"
	theatre "dbops/internal/sandbox/stage"
	"dbops/internal/secret"
	"dbops/internal/state"
)

// shop is a database with what an upgrade in place has to keep, and with an extension that is behind.
func (p played) shop(t *testing.T) {
	t.Helper()
	p.exec(t, p.Source, "postgres", "create role app_owner login; create role app login password 'app has one'")
	p.exec(t, p.Source, "postgres", "create database shop owner app_owner")
	p.exec(t, p.Source, "shop", `set role app_owner; create extension citext version '1.5'; create schema app;
 create table app.item (id bigint generated always as identity primary key, name citext not null unique, kind int not null);
 insert into app.item (name, kind) select 'item ' || i, i % 3 from generate_series(1, 3000) i; create index on app.item (kind);
 create table app.line (id serial primary key, item bigint not null references app.item); insert into app.line (item) select i from generate_series(1, 500) i;
 create table app.made (id int primary key, twice int generated always as (id * 2) stored); create materialized view app.many as select count(*) from app.item;
 create view app.some as select * from app.item where kind = 1; create function app.twice(v int) returns int language sql as 'select 2 * v'`)
	p.exec(t, p.Source, "shop", "analyze")
}

// served demands that clients may log in to the instance and write, as before.
func (p played) served(t *testing.T) {
	t.Helper()
	if got := p.exec(t, p.Source, "shop", "select has_database_privilege('app', 'shop', 'connect') and has_database_privilege('app', 'postgres', 'connect')"); got != "t" {
		t.Error("clients may not connect")
	}
	p.exec(t, p.Source, "shop", "set role app_owner; insert into app.item (name, kind) values ('served', 9); delete from app.item where name = 'served'")
}

func (p played) major(t *testing.T) string {
	t.Helper()
	return p.exec(t, p.Source, "postgres", "select current_setting('server_version_num')::int / 10000")
}

func TestInPlaceTheCloudUpgradesTheInstanceItself(t *testing.T) {
	for _, kind := range []cloud.Kind{cloud.RDS, cloud.CloudSQL} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			p, g := stage(t, kind)
			shop := p.instance(t, g, "shop-main", 15)
			shop.shop(t)
			b := shop.bench(t, "sqlite")
			t.Run("or refuses, and it is as it was", func(t *testing.T) { shop.isRefused(t, b) })
			t.Run("and everything is kept", func(t *testing.T) { shop.keepsEverything(t, g, b) })
			t.Run("and what the cloud has begun is waited for", func(t *testing.T) { shop.isUndoneMeanwhile(t, b) })
			if kind == cloud.RDS {
				t.Run("or a copy takes its place", func(t *testing.T) { p.takesThePlace(t, g) })
			}
		})
	}
}

func (p played) keepsEverything(t *testing.T, g *theatre.Stage, b *bench) {
	t.Helper()
	plan := b.plan(t, InPlaceKind, InPlaceRequest{To: 17})
	if blocked := plan.Blocked(); len(blocked) > 0 {
		t.Fatalf("%s", words2(blocked))
	}
	if !has(plan.Findings, op.Warn, "no-way-back") || !has(plan.Findings, op.Warn, "extension-outdated") {
		t.Errorf("%s", words2(plan.Findings))
	}
	for _, f := range plan.Findings { // none of it is made anew
		if slices.Contains(ofCopies, f.Check) {
			t.Errorf("%s", words2(f))
		}
	}
	action := "backupRuns.insert"
	if p.Kind == cloud.RDS {
		action = "CreateDBSnapshot"
	}
	g.Faults.Add(play.Fault{Action: action, Effect: play.Fail, Count: 1}) // a backup that fails is not waited for, and a retry makes another one
	t.Cleanup(g.Faults.Clear)
	id := b.submit(t, plan)
	if run := b.attach(t, id); run.State != state.Parked || run.Step != "backup" || run.Hint == "" {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.tell(t, id, state.Retry)
	if run := b.attach(t, id); run.State != state.Gate || p.major(t) != "15" {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	p.exec(t, p.Source, "shop", "set role app_owner; insert into app.item (name, kind) values ('late', 5)")
	sequences := "select string_agg(sequencename || ' ' || last_value, ', ' order by 1) from pg_sequences"
	before := p.exec(t, p.Source, "shop", sequences)
	b.tell(t, id, state.Continue)
	b.done(t, b.attach(t, id))

	if got := p.major(t); got != "17" {
		t.Errorf("it is PostgreSQL %s", got)
	}
	for what, sql := range map[string]string{
		before:           sequences,
		"3001 500 1000":  "select concat_ws(' ', (select count(*) from app.item), (select count(*) from app.line), (select count(*) from app.some))",
		"5":              "select kind from app.item where name = 'LATE'",
		"1.6":            "select extversion from pg_extension where extname = 'citext'",
		"item_kind_idx":  "select string_agg(indexname, ' ') from pg_indexes where schemaname = 'app' and indexname like '%kind%'",
		"it has them":    "select case when count(distinct tablename) = 3 then 'it has them' end from pg_stats where schemaname = 'app'",
		"8":              "select app.twice(4)",
		"app_owner":      "select tableowner from pg_tables where tablename = 'item'",
		"nobody is kept": "select case when not exists (select from pg_db_role_setting where setconfig::text like '%read_only%') then 'nobody is kept' end",
	} {
		if got := p.exec(t, p.Source, "shop", sql); got != what {
			t.Errorf("%s: %q, want %q", sql, got, what)
		}
	}
	p.served(t)
	if c := b.deps.Clients.(*clients); c.now != "" {
		t.Errorf("clients were switched to %q", c.now)
	}
	c, ok := g.Client.(Cloud)
	if !ok {
		t.Fatalf("%T", g.Client)
	}
	all, err := c.Backups(t.Context(), p.Source)
	made := slices.IndexFunc(all, func(x cloud.Backup) bool {
		return x.Kind == "manual" && x.Ready && (x.ID == "before-"+id+"-2" || x.Text == "before-"+id+"-2")
	})
	if err != nil || made < 0 {
		t.Fatalf("%v: %s", err, words2(all))
	}
	report := b.report(t, id)
	if report.Downtime == nil || report.Downtime.Took <= 0 || len(report.Failures) > 0 || report.Source.Major != 15 || report.Target.Major != 17 || report.Target.Name != p.Source {
		t.Errorf("%s", words2(report))
	}
	restore := "without what was written since: dbops backup restore -e prod old --backup " + all[made].ID + " --to NAME"
	b.refusesRollback(t, id, restore)
	if !strings.HasSuffix(report.Back, restore) {
		t.Error(report.Back)
	}
}

// isUndoneMeanwhile takes an upgrade back while the cloud works on it: clients are let in when it is done, and not before.
func (p played) isUndoneMeanwhile(t *testing.T, b *bench) {
	t.Helper()
	id := b.submit(t, b.plan(t, InPlaceKind, InPlaceRequest{To: 18, Unattended: true}))
	c, _, err := b.deps.Cloud(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	told, step := false, ""
	run, err := b.Attach(t.Context(), id, 0, func(e state.Event) {
		if e.Kind == op.EventStep {
			step = e.Step
		}
		if step != "upgrade" {
			return
		}
		if live, err := c.Get(t.Context(), p.Source); !told && err == nil && e.Kind == op.EventProgress && live.State != cloud.Available && live.RawState != "backing-up" {
			told = true // the upgrade has begun: the backup before it may end late
			b.tell(t, id, state.Cancel)
		}
	})
	if err != nil || run.State != state.Parked || run.Step != "upgrade" {
		t.Fatalf("%v: the run is %s at %s: %s", err, run.State, run.Step, run.Problem)
	}
	if report := b.report(t, id); report.ShutOut.IsZero() || !strings.HasPrefix(report.Clients, "shut out of "+p.Source+" since ") {
		t.Errorf("%s", words2(report))
	}
	b.tell(t, id, state.UndoRun)
	waited := false
	run, err = b.Attach(t.Context(), id, 0, func(e state.Event) {
		waited = waited || e.Kind == op.EventProgress && strings.HasPrefix(e.Text, p.Source+": ")
		if e.Kind != op.EventStep || !strings.HasPrefix(e.Text, "let writers into ") {
			return
		}
		if live, err := c.Get(t.Context(), p.Source); err != nil || live.State != cloud.Available {
			t.Errorf("clients are let in while the cloud works: %v, %+v", err, live)
		}
	})
	if err != nil || run.State != state.Undone || !waited {
		t.Fatalf("%v: the run is %s at %s: %s (%s)", err, run.State, run.Step, run.Problem, run.Hint)
	}
	if report := b.report(t, id); !report.ShutOut.IsZero() || p.major(t) != "18" || report.Stays != 18 || !strings.Contains(report.Verdict(), "run ANALYZE") {
		t.Errorf("PostgreSQL %s: %s", p.major(t), words2(report))
	}
	p.served(t)
}

// refusesRollback demands that nothing takes an upgrade in place back, and that the refusal says what to do.
func (b *bench) refusesRollback(t *testing.T, run, remedy string) {
	t.Helper()
	_, err := b.Plan(t.Context(), op.PlanRequest{Kind: RollbackKind, Target: target, Request: RollbackRequest{Run: run, LoseWrites: true}, Requester: tester})
	if !is(err, fault.Blocked) || !strings.Contains(err.Error(), "it was made in place") || !strings.Contains(fault.HintOf(err), remedy) {
		t.Errorf("%v; hint: %s", err, fault.HintOf(err))
	}
}

// odd is what both clouds refuse to upgrade: a name of a function is a number on disk, which is another one afterwards.
const odd = "set role app_owner; create table app.odd (what regproc)"

func (p played) isRefused(t *testing.T, b *bench) {
	t.Helper()
	// What is there beforehand is seen beforehand, also where the cloud says it only when it is asked to upgrade.
	p.exec(t, p.Source, "shop", odd)
	if plan := b.plan(t, InPlaceKind, InPlaceRequest{To: 17}); !has(plan.Findings, op.Block, "reg-columns") {
		t.Errorf("%s", words2(plan.Findings))
	}
	p.exec(t, p.Source, "shop", "drop table app.odd")

	// What comes at the gate is seen by the cloud, when writers are kept out already.
	id := b.submit(t, b.plan(t, InPlaceKind, InPlaceRequest{To: 17}))
	if run := b.attach(t, id); run.State != state.Gate {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	p.exec(t, p.Source, "shop", odd)
	b.tell(t, id, state.Continue)
	run := b.attach(t, id)
	if run.State != state.Parked || run.Step != "upgrade" || !strings.Contains(run.Problem, "app.odd.what") || !strings.Contains(run.Hint, "dbops upgrade rollback -e prod old") {
		t.Fatalf("the run is %s at %s: %s (%s)", run.State, run.Step, run.Problem, run.Hint)
	}
	if got := p.exec(t, p.Source, "shop", "select has_database_privilege('app', 'shop', 'connect')"); got != "f" {
		t.Error("clients may connect in the middle of an upgrade")
	}
	if p.Kind == cloud.RDS { // who abandoned it has a way back, too
		b.tell(t, id, state.Abandon)
		b.ends(t, id, state.Failed)
		b.done(t, b.run(t, RollbackKind, RollbackRequest{Run: id}))
	} else {
		b.tell(t, id, state.UndoRun)
		b.ends(t, id, state.Undone)
	}
	if got := p.major(t); got != "15" {
		t.Errorf("it is PostgreSQL %s", got)
	}
	if got := p.exec(t, p.Source, "shop", "select count(*) from app.item"); got != "3000" {
		t.Errorf("%s rows", got)
	}
	p.served(t)
	p.exec(t, p.Source, "shop", "drop table app.odd")
}

// logical makes an instance whose parameter group lets it be replicated.
func (p played) logical(t *testing.T, g *theatre.Stage, name string, major int) played {
	t.Helper()
	p.Source = name
	cfg, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("eu-west-1"), config.WithSharedConfigProfile("played"), config.WithBaseEndpoint(g.URL))
	if err != nil {
		t.Fatal(err)
	}
	api, group := sdk.NewFromConfig(cfg), "logical"
	if _, err = api.CreateDBParameterGroup(t.Context(), &sdk.CreateDBParameterGroupInput{
		DBParameterGroupName: &group, DBParameterGroupFamily: new(fmt.Sprintf("postgres%d", major)), Description: new("a test"),
	}); err == nil {
		_, err = api.ModifyDBParameterGroup(t.Context(), &sdk.ModifyDBParameterGroupInput{DBParameterGroupName: &group, Parameters: []types.Parameter{
			{ParameterName: new("rds.logical_replication"), ParameterValue: new("1"), ApplyMethod: types.ApplyMethodPendingReboot},
		}})
	}
	if err == nil {
		_, err = g.RDS.Adopt(t.Context(), rdsapi.Seed{
			Create: sdk.CreateDBInstanceInput{
				DBInstanceIdentifier: &p.Source, EngineVersion: new(fmt.Sprint(major)), MasterUsername: new("boss"), BackupRetentionPeriod: new(int32(7)),
				PubliclyAccessible: new(true), DBParameterGroupName: &group,
			},
			Password: secret.New(adminPassword),
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p played) takesThePlace(t *testing.T, g *theatre.Stage) {
	t.Helper()
	p = p.logical(t, g, "blue", 16)
	p.shop(t)
	b := p.bench(t, "sqlite")

	// In place one has to name the parameter group of the new major, because the instance has one of its own.
	if plan := b.plan(t, InPlaceKind, InPlaceRequest{To: 18}); !has(plan.Findings, op.Block, "provider-check") {
		t.Errorf("%s", words2(plan.Findings))
	}
	if plan := b.plan(t, InPlaceKind, InPlaceRequest{To: 18, Parameters: "default.postgres18"}); len(plan.Blocked()) > 0 {
		t.Errorf("%s", words2(plan.Findings))
	}

	// Before the switchover it is undone without a trace.
	request := InPlaceRequest{To: 18, BlueGreen: true}
	id := b.submit(t, b.plan(t, InPlaceKind, request))
	if run := b.attach(t, id); run.State != state.Gate {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	b.tell(t, id, state.UndoRun)
	if run := b.attach(t, id); run.State != state.Undone {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	for { // the provider removes the copy after the deployment
		all, err := g.Client.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		copies := slices.DeleteFunc(all, func(i *cloud.Instance) bool { return !strings.HasPrefix(i.Name, "blue-") })
		if len(copies) == 0 {
			break
		}
		if copies[0].State != cloud.Deleting {
			t.Fatalf("%s", words2(copies))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := p.exec(t, p.Source, "shop", "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)"); n != "0" {
		t.Errorf("%s slots and publications are left", n)
	}

	id = b.submit(t, b.plan(t, InPlaceKind, request))
	if run := b.attach(t, id); run.State != state.Gate {
		t.Fatalf("the run is %s at %s: %s", run.State, run.Step, run.Problem)
	}
	p.exec(t, p.Source, "shop", "set role app_owner; insert into app.item (name, kind) values ('late', 5); update app.item set kind = 7 where id = 1")
	b.tell(t, id, state.Continue)
	b.done(t, b.attach(t, id))
	if got := p.major(t); got != "18" {
		t.Errorf("it is PostgreSQL %s", got)
	}
	if got := p.exec(t, p.Source, "shop", "select concat_ws(' ', (select count(*) from app.item), (select kind from app.item where name = 'late'), (select kind from app.item where id = 1))"); got != "3001 5 7" {
		t.Errorf("rows: %s", got)
	}
	if got := p.exec(t, p.Source, "shop", "set role app_owner; insert into app.item (name, kind) values ('next', 1) returning id > 3001"); got != "t" {
		t.Error("the sequence was left behind")
	}
	p.served(t)
	all, err := g.Client.List(t.Context())
	if err != nil || !slices.ContainsFunc(all, func(i *cloud.Instance) bool { return i.Name == "blue-old1" && i.Major == 16 }) {
		t.Errorf("%v: %s", err, words2(all))
	}
	if report := b.report(t, id); report.Downtime == nil || report.Downtime.Took <= 0 || len(report.Failures) > 0 {
		t.Errorf("%s", words2(report))
	}
	b.refusesRollback(t, id, "the old instance stays under another name")
}
