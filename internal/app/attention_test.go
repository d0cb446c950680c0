package app

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/upgrade"
)

func TestAttentionIsOfAllThatHasNotEndedAndOfTheNewest(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	a := m.app(t, file("main", "", ""))
	if got, err := a.Attention(t.Context()); err != nil || len(got.Runs)+len(got.Approvals) > 0 {
		t.Fatalf("without a state: %+v, %v", got, err)
	}
	if d := a.Desk(DeskOptions{}); true {
		defer d.Close()
		if runs, err := d.Runs(t.Context(), state.RunFilter{}); err != nil || len(runs) > 0 {
			t.Errorf("without a state: %+v, %v", runs, err)
		}
	}
	if left, err := os.ReadDir(m.dir); err != nil || len(left) > 0 {
		t.Fatalf("looking has left %v, %v", left, err)
	}
	store, err := a.Store(t.Context())
	must(t, err)
	must(t, store.Tx(t.Context(), "put runs", func(ctx context.Context, tx *state.Tx) error {
		for i := range attentionRuns + 5 {
			id := fmt.Sprintf("r%03d", i)
			if err := tx.PutPlan(ctx, state.Plan{Hash: id, Kind: upgrade.RunKind, Environment: "prod", Instance: "main", Body: []byte("{}")}); err != nil {
				return err
			}
			if err := tx.PutRun(ctx, state.Run{ID: id, PlanHash: id, Kind: upgrade.RunKind, Environment: "prod", Instance: "main", Title: "upgrade"}); err != nil {
				return err
			}
			end := state.Done
			if i == 0 {
				end = state.Parked // the oldest, which waits
			}
			if err := tx.SetRun(ctx, id, end, "", "", ""); err != nil {
				return err
			}
		}
		return tx.PutApproval(ctx, state.Approval{ID: "a1", PlanHash: "r003", Requester: "ann", Required: 1}, 1e9)
	}))
	got, err := a.Attention(t.Context())
	if err != nil || len(got.Runs) != attentionRuns+1 || got.Runs[0].ID != "r000" || len(got.Approvals) != 1 {
		t.Errorf("%d runs, the first %+v, %+v, %v", len(got.Runs), got.Runs[0], got.Approvals, err)
	}
	w, err := a.Approval(t.Context(), "a1")
	if err != nil || w.Approval.ID != "a1" || w.Plan != nil { // its text is not that of its hash
		t.Errorf("%+v, %v", w, err)
	}
	_, err = a.Approval(t.Context(), "a2")
	fails(t, "an approval that is not there", err, fault.NotFound)
	must(t, a.Close())
	m.lose(t)
	if _, err := m.app(t, file("main", "", "")).Attention(t.Context()); err == nil {
		t.Error("a state that nobody can open has nothing that waits")
	}
}

func TestTheAuditLogIsReadWhateverWasDoneToIt(t *testing.T) {
	t.Parallel()
	m := newMachine(t, "")
	a := m.app(t, file("main", "", ""))
	for _, step := range []string{"in", "out"} {
		must(t, a.NoteSession(t.Context(), Guest{Name: "ann"}, step, "from 192.0.2.7"))
	}
	reads := func(what string, a *App, problems bool) {
		t.Helper()
		all, err := a.AuditEntries(t.Context(), audit.Filter{Actor: "ann"})
		if err != nil || len(all) != 2 || all[0].Step != "in" || all[1].Step != "out" {
			t.Errorf("%s: %+v, %v", what, all, err)
		}
		if last, err := a.AuditEntries(t.Context(), audit.Filter{Limit: 1}); err != nil || len(last) != 1 || last[0].Step != "out" {
			t.Errorf("%s: the last one: %+v, %v", what, last, err)
		}
		r, err := a.VerifyAudit(t.Context(), 0)
		if err != nil || r.Size < 2 || problems != (r.Found > 0) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	reads("by who wrote it", a, false)
	other := m.app(t, file("main", "", "")) // has not opened the state
	reads("by another one", other, false)
	if other.engine.store != nil {
		t.Error("looking has opened the state for changes")
	}
	store, err := a.Store(t.Context())
	must(t, err)
	_, err = store.DB.SQL.ExecContext(t.Context(), `update audit_entries set body = cast(replace(cast(body as text), '192.0.2.7', '192.0.2.8') as blob)
		where cast(body as text) like '%192.0.2.7%'`)
	must(t, err)
	reads("a log that was changed", m.app(t, file("main", "", "")), true)
	must(t, a.Close())
	must(t, os.Rename(filepath.Join(m.dir, "state.db"), filepath.Join(m.dir, "gone.db")))
	must(t, os.Mkdir(filepath.Join(m.dir, "state.db"), 0o700))
	_, err = m.app(t, file("main", "", "")).AuditEntries(t.Context(), audit.Filter{})
	if err == nil {
		t.Error("a log that nobody can open is empty")
	}
}
