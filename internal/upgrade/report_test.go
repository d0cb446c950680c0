package upgrade

import (
	"context"
	"strings"
	"testing"
	"time"

	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
)

const twoServers = `{"source": {"major": 17, "server": {"name": "shop"}}, "target": {"server": {"name": "next"}}}`

// reported is the report of a run of prod/main whose journal this is.
func reported(t *testing.T, kind string, run state.Run, journal ...state.Step) (r *Report, text string) {
	t.Helper()
	run.ID, run.Kind, run.Environment, run.Instance = "r1", kind, "prod", "main"
	p := &op.Plan{Kind: kind, Target: op.Target{Environment: "prod", Instance: "main"}, Request: []byte(`{"to": 18}`), Facts: []byte(twoServers)}
	r, err := ReportOf(p, run, journal)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	return r, b.String()
}

func did(name string, s state.StepState) state.Step {
	return state.Step{Phase: state.Do, Name: name, State: s, Attempt: 1, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func TestAReportOfOneThatWasAbandonedSaysWhereClientsAre(t *testing.T) {
	t.Parallel()
	journal := []state.Step{did(quiesceStep, state.StepDone), did(switchStep, state.StepFailed)}
	r, text := reported(t, RunKind, state.Run{State: state.Failed, Problem: "shop-api: no room"}, journal...)
	const want = "**switch: shop-api: no room; clients are shut out of shop since 2026-01-02 03:04:05 UTC, and some may be on next; dbops upgrade rollback -e prod main lets them in again**"
	if !strings.Contains(text, want) || !strings.Contains(text, "- **switch**: shop-api: no room") {
		t.Error(text)
	}
	if r.EndedBy(After{Ended: "upgrade.rollback, run r2", Back: true}); r.Verdict() != "switch: shop-api: no room" {
		t.Errorf("after its rollback: %s", r.Verdict())
	}
	if _, text = reported(t, RunKind, state.Run{State: state.Failed, Problem: "ended at the gate"}, did("catch-up", state.StepDone)); !strings.Contains(text, "\n- ended at the gate\n") ||
		!strings.Contains(text, "**ended at the gate; clients are on shop**") {
		t.Error(text)
	}
}

func TestAReportOfOneThatWaits(t *testing.T) {
	t.Parallel()
	if r, text := reported(t, RunKind, state.Run{State: state.Gate, Problem: "from now on nobody writes"}); len(r.Failures) > 0 || strings.Contains(text, "What failed") {
		t.Errorf("a gate is no failure: %s", text)
	}
	parked := state.Run{State: state.Parked, Step: "switch", Problem: "no room", Hint: "make some", Verbs: []string{"retry", "undo"}}
	if _, text := reported(t, RunKind, parked, did("switch", state.StepFailed)); !strings.Contains(text,
		"; make some; then dbops runs decide r1 retry|undo; dbops upgrade rollback -e prod main goes back**") || !strings.Contains(text, `| make some; then dbops runs decide r1 retry\|undo; `) {
		t.Error(text)
	}
	parked.Hint = "dbops upgrade rollback -e prod main lets them in"
	if r, _ := reported(t, RunKind, parked); strings.Count(r.Verdict(), "upgrade rollback") != 1 {
		t.Error(r.Verdict())
	}
}

func TestAnInstanceThatTheCloudUpgradedAllTheSame(t *testing.T) {
	t.Parallel()
	settled := state.Step{Phase: state.Undo, Name: upgradeStep, State: state.StepDone, Output: []byte(`{"major": 18}`)}
	undone := state.Run{State: state.Undone}
	if r, text := reported(t, InPlaceKind, undone, did(upgradeStep, state.StepFailed), settled); r.Stays != 18 || !strings.Contains(text, "**it is undone; shop is PostgreSQL 18 all the same") ||
		!strings.Contains(text, "run ANALYZE") {
		t.Error(text)
	}
	settled.Output = []byte(`{"major": 17}`)
	if r, _ := reported(t, InPlaceKind, undone, settled); r.Stays != 0 || r.Verdict() != "it is undone" {
		t.Error(r.Verdict())
	}
}

func TestAPlainServerHasNoProtectionThatIsTakenAway(t *testing.T) {
	t.Parallel()
	facts := func(provider cloud.Kind) []byte {
		return []byte(`{"source": {"provider": "` + string(provider) + `"}}`)
	}
	for provider, want := range map[cloud.Kind]bool{cloud.Postgres: false, cloud.RDS: true} {
		r := New(Deps{Journal: func(context.Context, string) (*op.Plan, state.Run, []state.Step, After, error) {
			p := &op.Plan{Kind: RunKind, Target: target, Request: []byte(`{"to": 18}`), Facts: facts(provider)}
			return p, state.Run{State: state.Failed}, []state.Step{did(switchStep, state.StepDone), did(keepStep, state.StepFailed)}, After{}, nil
		}})
		p, _, err := r.recall(t.Context(), target, "r1")
		if err != nil || p.Protected != want {
			t.Errorf("%s: %v, %v", provider, p.Protected, err)
		}
		_, err = r.cleanup().Observe(t.Context(), target, CleanupRequest{Run: "r1", Remove: true})
		if refused := fault.KindOf(err) == fault.Usage; refused == want {
			t.Errorf("%s: its removal: %v", provider, err)
		}
	}
}
