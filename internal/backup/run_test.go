package backup

import (
	"strings"
	"testing"

	"dbops/internal/cloud"
)

func TestOverPlayedClouds(t *testing.T) {
	both := []string{"sqlite", "postgres"}
	play(
		t,
		scenario{"a backup is made", both, aBackupIsMade},
		scenario{"the backups are configured, and back", both[:1], theBackupsAreConfiguredAndBack},
		scenario{"a restore is like its source", both, aRestoreIsLikeItsSource},
		scenario{"a drill measures, and leaves nothing", both, aDrillMeasuresAndLeavesNothing},
	)
}

func aBackupIsMade(t *testing.T, b *bench) {
	t.Helper()
	run := b.run(t, CreateKind, CreateRequest{Label: "before-release"})
	b.done(t, run)
	made := output[CreateReport](t, b.Engine, run.ID, "backup")
	all, err := New(b.deps).List(t.Context(), target)
	if err != nil || len(all) == 0 || all[0].ID != made.ID || !all[0].Ready || !strings.Contains(all[0].ID+all[0].Text, "before-release-"+run.ID) {
		t.Errorf("made %+v, and there are %+v, %v", made, all, err)
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

func aRestoreIsLikeItsSource(t *testing.T, b *bench) {
	t.Helper()
	g := b.g
	to := newNameOf("copy")
	run := b.run(t, RestoreKind, RestoreRequest{Latest: true, To: to})
	b.done(t, run)
	live, like := g.get(t, to), g.get(t, source)
	if live.Labels[RunLabel] != run.ID || live.Labels["environment"] != "prod" || !live.DeletionProtection || live.Class != like.Class ||
		live.Backups.RetentionDays != like.Backups.RetentionDays || live.IAMLogin != like.IAMLogin {
		t.Errorf("got %+v", live)
	}
	if n := g.query(t, to, "select count(*) from item"); n != "200" {
		t.Errorf("%s items", n)
	}
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
