package app

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// plan stores a run with a plan that can be read.
func (a upgradesOf) plan(t testing.TB, id, kind string) {
	t.Helper()
	a.asked(t, id, kind, `{"to":18}`)
}

// asked is plan of a request.
func (a upgradesOf) asked(t testing.TB, id, kind, request string) {
	t.Helper()
	p := &op.Plan{
		Schema: op.PlanSchema, ID: id, Kind: kind, Target: op.Target{Environment: "prod", Instance: "main"}, Request: json.RawMessage(request),
		Facts: json.RawMessage(`{"source":{"server":{"name":"main"},"major":16},"target":{"server":{"name":"main-pg18"}}}`), Draft: op.Draft{Title: "upgrade prod/main"},
	}
	body, err := p.Encode()
	must(t, err)
	must(t, a.store.Tx(t.Context(), "put a run", func(ctx context.Context, tx *state.Tx) error {
		if err := tx.PutPlan(ctx, state.Plan{Hash: p.Hash(), Kind: kind, Environment: "prod", Instance: "main", Body: body}); err != nil {
			return err
		}
		return tx.PutRun(ctx, state.Run{ID: id, PlanHash: p.Hash(), Kind: kind, Environment: "prod", Instance: "main", Title: "upgrade"})
	}))
}

func TestUpgradingIsWhatTheJournalHolds(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	store, err := a.Store(t.Context())
	must(t, err)
	u := upgradesOf{a, store}
	is := func(what string, rehearsal, last, back string) {
		t.Helper()
		got, err := a.Upgrading(t.Context(), "prod", "main")
		must(t, err)
		name := func(v *Upgraded) string {
			if v == nil {
				return ""
			}
			return v.Run.ID
		}
		came := ""
		if got.Back != nil {
			came = got.Back.Run.ID
		}
		if name(got.Rehearsal) != rehearsal || name(got.Last) != last || came != back {
			t.Errorf("%s: %q %q %q", what, name(got.Rehearsal), name(got.Last), came)
		}
	}
	is("nothing", "", "", "")
	u.plan(t, "rehearsal", upgrade.RehearseKind)
	is("a rehearsal", "rehearsal", "", "")
	u.plan(t, "run", upgrade.RunKind)
	is("a run", "rehearsal", "run", "")
	u.set(t, "run", state.Done)
	u.plan(t, "back", upgrade.RollbackKind)
	is("a rollback", "rehearsal", "run", "back")

	dir := t.TempDir()
	for name, begin := range map[string]string{"report.html": "<!doctype html>", "report.md": "# upgrade prod/main", "report": "# upgrade prod/main", "report.json": "{"} {
		file := filepath.Join(dir, name)
		must(t, a.SaveUpgradeReport(t.Context(), "run", file))
		b, err := os.ReadFile(file)
		must(t, err)
		if !strings.HasPrefix(strings.ToLower(string(b)), begin) {
			t.Errorf("%s begins with %.40q", name, b)
		}
	}
	if err := a.SaveUpgradeReport(t.Context(), "run", filepath.Join(dir, "none", "report.md")); fault.KindOf(err) != fault.Usage || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
}

// What a rollback left is to be cleaned up, also where another upgrade was begun and ended since.
func TestWhatARollbackLeftIsNotForgotten(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	store, err := a.Store(t.Context())
	must(t, err)
	u := upgradesOf{a, store}
	is := func(what, left, clean string) {
		t.Helper()
		got, err := a.Upgrading(t.Context(), "prod", "main")
		must(t, err)
		name := ""
		if got.Left != nil {
			name = got.Left.Run.ID + " " + got.Left.Report.Remnant
		}
		run, err := a.UpgradeToClean(t.Context(), "prod", "main")
		must(t, err)
		if name != left || run.ID != clean {
			t.Errorf("%s: %q is left, and %q is cleaned up; want %q and %q", what, name, run.ID, left, clean)
		}
	}
	u.plan(t, "one", upgrade.RunKind)
	u.set(t, "one", state.Done)
	is("the way back is open", "", "one")
	u.asked(t, "back-of-one", upgrade.RollbackKind, `{"run":"one"}`)
	is("a rollback is begun", "", "one")
	u.set(t, "back-of-one", state.Done)
	is("rolled back", "one main-pg18", "one")
	u.plan(t, "two", upgrade.RunKind)
	is("the next one is begun", "one main-pg18", "two")
	u.set(t, "two", state.Done)
	is("whose way back is open", "one main-pg18", "two")
	u.asked(t, "clean-of-two", upgrade.CleanupKind, `{"run":"two"}`)
	u.set(t, "clean-of-two", state.Done)
	is("and given up", "one main-pg18", "one")
	u.asked(t, "clean-of-one", upgrade.CleanupKind, `{"run":"one"}`)
	u.set(t, "clean-of-one", state.Done)
	is("nothing is left", "", "two")
}
