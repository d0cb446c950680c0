package backup

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

func TestOverPlayedClouds(t *testing.T) {
	play(
		t,
		scenario{"a backup is made, and restored", "rds/sqlite cloudsql/postgres", aBackupIsMadeAndRestored},
		scenario{"a drill measures, and leaves nothing", "postgres", aDrillMeasuresAndLeavesNothing},
		scenario{"a drill of the past, kept", "postgres", aDrillOfThePast},
		scenario{"a drill of a source on which nothing happens", "cloudsql/postgres", aDrillOfAnIdleSource},
		scenario{"a tampered scratch is found", "rds/sqlite cloudsql/postgres", aTamperedScratchIsFound},
		scenario{"the backups are configured, and back", "sqlite", theBackupsAreConfiguredAndBack},
		scenario{"deletion protection is switched", "postgres", deletionProtectionIsSwitched},
		scenario{"the latest state is restored", "rds/postgres cloudsql/sqlite", theLatestIsRestored},
		scenario{"another name", "rds/sqlite cloudsql/postgres", anotherName},
		scenario{"a restore that fails is the result of a drill", "postgres", aRestoreThatFailsIsTheResultOfADrill},
		scenario{"a scratch that somebody removes is the result", "rds/postgres", aScratchThatSomebodyRemovesIsTheResult},
		scenario{"a restore is cancelled, and undone", "rds/sqlite cloudsql/postgres", aRestoreIsCancelledAndUndone},
		scenario{"what somebody took over is left", "cloudsql/sqlite", whatSomebodyTookOverIsLeft},
		scenario{"a name that is taken meanwhile is somebody's", "rds/postgres cloudsql/sqlite", aNameThatIsTakenMeanwhileIsSomebodys},
		scenario{"what passes is asked again", "sqlite", whatPassesIsAskedAgain},
		scenario{"a backup that failed is made by a retry", "sqlite", aBackupThatFailedIsMadeByARetry},
		scenario{"a hang is cancelled", "sqlite", aHangIsCancelled},
		scenario{"killed at every call", "sqlite", killedAtEveryCall},
	)
}

func aBackupIsMadeAndRestored(t *testing.T, b *bench) {
	t.Helper()
	run := b.run(t, CreateKind, CreateRequest{Label: "before-release"})
	b.done(t, run)
	made := output[CreateReport](t, b.Engine, run.ID, "backup")
	all, err := New(b.deps).List(t.Context(), target)
	if err != nil || len(all) == 0 || all[0].ID != made.ID || !all[0].Ready || !strings.Contains(all[0].ID+all[0].Text, "before-release-"+run.ID) {
		t.Errorf("made %+v, and there are %+v, %v", made, all, err)
	}
	b.g.query(t, source, "insert into item values (1000, 'later')")
	if r := b.restored(t, RestoreRequest{Backup: made.ID, To: newNameOf("copy")}, "200"); r.Problem != "" {
		t.Errorf("got %+v", r)
	}
	b.g.query(t, source, "delete from item where id = 1000")
}

func theLatestIsRestored(t *testing.T, b *bench) {
	t.Helper()
	b.g.label(t, source, cloud.Label{Key: cloud.LeaseLabel, Value: "somebody-1"})
	defer b.g.label(t, source, cloud.Label{Key: cloud.LeaseLabel, Remove: true})
	problem := ""
	if b.g.kind == cloud.RDS { // it is done also if this machine may not log in
		d := b.deps
		d.Connect = func(context.Context, op.Target, string, string) (*pgx.Conn, error) {
			return nil, fault.Newf(fault.Denied, "log in", "wrong password")
		}
		b.with(t, d)
		problem = "log in: wrong password"
	}
	if r := b.restored(t, RestoreRequest{Latest: true, To: newNameOf("copy")}, "200"); r.Problem != problem {
		t.Errorf("got %+v", r)
	}
}

// label labels an instance, and waits until that is so.
func (g *stage) label(t testing.TB, name string, l cloud.Label) {
	t.Helper()
	want := cloud.Settings{Labels: []cloud.Label{l}}
	r, err := g.cloud.Modify(t.Context(), name, cloud.Modify{Settings: want})
	for p := (cloud.Progress{}); err == nil && !p.Done; {
		if p, err = g.cloud.Progress(t.Context(), r); err == nil && !p.Done {
			err = op.Sleep(t.Context(), 5*time.Millisecond)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// restored restores, and demands that the new instance is like the source, and how many items it has.
func (b *bench) restored(t *testing.T, q RestoreRequest, items string) RestoreReport {
	t.Helper()
	run := b.run(t, RestoreKind, q)
	b.done(t, run)
	live, like := b.g.get(t, q.To), b.g.get(t, source)
	if _, marked := live.Labels[cloud.LeaseLabel]; marked || live.Labels[RunLabel] != run.ID || live.Labels["environment"] != "prod" || !live.DeletionProtection || live.Class != like.Class ||
		live.Backups.RetentionDays != like.Backups.RetentionDays || live.Backups.Window != like.Backups.Window || live.IAMLogin != like.IAMLogin ||
		live.Availability != like.Availability || live.PublicAccess != like.PublicAccess || live.TLS.Required != like.TLS.Required {
		t.Errorf("got %+v", live)
	}
	if n := b.g.query(t, q.To, "select count(*) from item"); n != items {
		t.Errorf("%s items", n)
	}
	r := output[RestoreReport](t, b.Engine, run.ID, "verify")
	if r.Instance != q.To || len(r.Endpoints) == 0 || (len(r.Lost) > 0) != (b.g.kind == cloud.CloudSQL) {
		t.Errorf("got %+v", r)
	}
	if d := b.plan(t, RestoreKind, q); !strings.Contains(strings.Join(found(d.Draft), " "), "block name-taken") {
		t.Errorf("a second time: %+v", d.Findings)
	}
	b.g.drop(t, q.To)
	return r
}

func deletionProtectionIsSwitched(t *testing.T, b *bench) {
	t.Helper()
	b.done(t, b.run(t, UnprotectKind, ProtectRequest{}))
	if b.g.get(t, source).DeletionProtection {
		t.Error("it is on")
	}
	b.done(t, b.run(t, ProtectKind, ProtectRequest{}))
	if !b.g.get(t, source).DeletionProtection {
		t.Error("it is off")
	}
	if p := b.plan(t, ProtectKind, ProtectRequest{}); !p.Nothing() {
		t.Errorf("a second time: %+v", p.Changes)
	}
}

func theBackupsAreConfiguredAndBack(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	was := g.get(t, source).Backups
	b.done(t, b.run(t, ConfigureKind, ConfigureRequest{RetentionDays: new(5)}))
	if got := g.get(t, source).Backups; got.RetentionDays != 5 || got.Window != was.Window || got.Enabled != was.Enabled {
		t.Errorf("got %+v", got)
	}
	b.done(t, b.run(t, ConfigureKind, ConfigureRequest{RetentionDays: &was.RetentionDays}))
}

func aDrillMeasuresAndLeavesNothing(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	run := b.run(t, DrillKind, DrillRequest{Targets: Targets{RPO: Span(60e9), RTO: Span(60e9)}})
	b.done(t, run)
	r := b.report(t, run.ID)
	if !r.Met || !r.Exact || r.RTO <= 0 || r.RPO <= 0 || r.Interrupted || r.Instance != scratch(run.ID) {
		t.Errorf("got %+v", r)
	}
	g.gone(t, r.Instance)
	if like := g.get(t, source); like.State != cloud.Available || !like.DeletionProtection {
		t.Errorf("the source is %+v", like)
	}
}

// A drill to a moment of the past is passed although the source has changed since.
func aDrillOfThePast(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	at := g.now(t)
	g.query(t, source, "insert into item values (2000, 'later')")
	defer g.query(t, source, "delete from item where id = 2000")
	g.restorable(t, at)
	run := b.run(t, DrillKind, DrillRequest{Time: at, Keep: true, Databases: []string{"postgres"}})
	b.done(t, run)
	r := b.report(t, run.ID)
	if !r.Met || r.Exact || !r.Kept || !r.Point.Equal(at) || r.Reached.After(at) {
		t.Errorf("got %+v", r)
	}
	differs := false
	for _, c := range r.Checks {
		differs = differs || c.Object == "public.item" && c.Result == Differs
	}
	if n := g.query(t, r.Instance, "select count(*) from item"); !differs || n != "200" {
		t.Errorf("%s items, and %+v", n, r.Checks)
	}
	if live := g.get(t, r.Instance); live.DeletionProtection || live.Labels[RunLabel] != run.ID {
		t.Errorf("it cannot be removed: %+v", live)
	}
	g.drop(t, r.Instance)
}

// A drill does not wait for ever for a moment that is not to come, and says what it is worth then.
func aDrillOfAnIdleSource(t *testing.T, b *bench) {
	t.Helper()
	at := b.g.now(t)
	b.g.restorable(t, at)
	d := b.g.deps(stuck{b.g.cloud, at}, source)
	d.Settle = time.Second
	b.with(t, d)
	run := b.run(t, DrillKind, DrillRequest{Databases: []string{"postgres"}, Targets: Targets{RPO: Span(time.Millisecond)}})
	b.done(t, run)
	if r := b.report(t, run.ID); r.Met || r.Exact || !strings.Contains(r.Text, "could have been lost, and 1ms is the target") || strings.Contains(r.Text, "rows") {
		t.Errorf("got %+v", r)
	}
}

// stuck is a cloud that can restore to one moment and no later one.
type stuck struct {
	Cloud
	at time.Time
}

func (s stuck) Get(ctx context.Context, name string) (*cloud.Instance, error) {
	live, err := s.Cloud.Get(ctx, name)
	if err == nil {
		live.Backups.LatestRestorable = s.at
	}
	return live, err
}

// now is the clock of the source, after what it has done and before what it will do.
func (g *stage) now(t testing.TB) time.Time {
	t.Helper()
	text := g.query(t, source, `select pg_sleep(0.02); select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	g.query(t, source, "select pg_sleep(0.02)")
	return at
}

// restorable waits until the source can be restored to a moment.
func (g *stage) restorable(t testing.TB, at time.Time) {
	t.Helper()
	g.query(t, source, "insert into note values (1); select pg_switch_wal()::text")
	for !g.get(t, source).Backups.LatestRestorable.After(at) {
		if err := op.Sleep(t.Context(), 5*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

func anotherName(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	old, to := newNameOf("old"), newNameOf("new")
	g.spare(t, old)
	g.query(t, old, "create table item (id int); insert into item values (1)")
	g.label(t, old, cloud.Label{Key: cloud.LeaseLabel, Value: "somebody-1"})
	b.use(t, g.cloud, old)
	id := b.submit(t, b.plan(t, RenameKind, RenameRequest{To: to, Names: []string{"dbops.yaml: prod.instances.shop"}}))
	run := b.attach(t, id)
	if g.kind == cloud.RDS {
		b.done(t, run)
		g.gone(t, old)
	} else {
		if run.State != state.Gate || run.Step != "stop-writers" {
			t.Fatalf("got %+v", run)
		}
		g.gone(t, to)
		b.tell(t, id, state.Continue)
		if run = b.attach(t, id); run.State != state.Gate || run.Step != "repoint" || !strings.Contains(run.Problem, "dbops.yaml: prod.instances.shop") {
			t.Fatalf("got %+v", run)
		}
		b.tell(t, id, state.Continue)
		b.done(t, b.attach(t, id))
		g.get(t, old)
		g.drop(t, old)
	}
	if n := g.query(t, to, "select count(*) from item"); n != "1" {
		t.Errorf("%s items", n)
	}
	if _, marked := g.get(t, to).Labels[cloud.LeaseLabel]; marked {
		t.Error("it seems to be changed by somebody")
	}
	g.drop(t, to)
}
