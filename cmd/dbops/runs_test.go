package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/cloud"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

func TestWhatARunFailedOfIsToldOnce(t *testing.T) {
	t.Parallel()
	const why = "compare prod/main with the plan: it changed since the plan was made: zone was a, is b"
	event := func(kind, step, text string) state.Event { return state.Event{Kind: kind, Step: step, Text: text} }
	for _, c := range []struct {
		name   string
		run    state.Run
		events []state.Event
		want   string // without times
	}{
		{
			"it ended",
			state.Run{State: state.Failed, Problem: why},
			[]state.Event{event(op.EventStep, "check", "compare"), event(op.EventFailed, "check", why), event(op.EventEnded, "", "failed: "+why)},
			"->   check  compare\n  x  check  failed\n  --  failed\n",
		},
		{
			"it parked",
			state.Run{State: state.Parked, Problem: why},
			[]state.Event{event(op.EventFailed, "modify", why), event(op.EventParked, "modify", why)},
			"  x  modify  failed\n!!   modify  parked\n",
		},
		{
			"it was tried again, and went well",
			state.Run{State: state.Done},
			[]state.Event{event(op.EventFailed, "modify", why), event(op.EventRetry, "modify", "trying again in 1s"), event(op.EventDone, "modify", "done")},
			"  x  modify  " + why + "\n  --  modify  trying again in 1s\n  ok  modify  done\n",
		},
		{
			"it parked, was told, and was undone",
			state.Run{State: state.Undone},
			[]state.Event{event(op.EventFailed, "modify", why), event(op.EventParked, "modify", why), event(op.EventTold, "modify", "ann: told to undo")},
			"  x  modify  " + why + "\n!!   modify  " + why + "\n  --  modify  ann: told to undo\n",
		},
		{
			"it was abandoned later",
			state.Run{State: state.Failed, Problem: why},
			[]state.Event{event(op.EventTold, "modify", "ann: told to abandon"), event(op.EventEnded, "", "failed: "+why)},
			"  --  modify  ann: told to abandon\n  --  failed: " + why + "\n",
		},
		{
			"who watched was interrupted",
			state.Run{State: state.Running},
			[]state.Event{event(op.EventFailed, "modify", why)},
			"  x  modify  " + why + "\n",
		},
	} {
		var b bytes.Buffer
		tell, told := (&cli{err: &b}).teller("r1")
		for _, e := range c.events {
			tell(e)
		}
		told(c.run)
		var got strings.Builder
		for line := range strings.Lines(b.String()) {
			got.WriteString(line[len("15:04:05 "):])
		}
		if squeeze(got.String()) != squeeze(c.want) {
			t.Errorf("%s: got\n%s, want\n%s", c.name, got.String(), c.want)
		}
	}
}

// squeeze makes runs of spaces one.
func squeeze(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}

// With a file as state nothing is left that would begin later.
func TestDetachIsRefusedBeforeAnythingIsSubmitted(t *testing.T) {
	t.Parallel()
	env := environ(t, "DBOPS_STATE_DIR="+t.TempDir())
	status, stdout, stderr := runProgram(t, env, "availability", "set", "regional", "-e", "staging", "billing", "--yes", "--detach")
	if status != 2 || !strings.Contains(stderr, "the state is a file of one person") {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	if _, runs, _ := runProgram(t, env, "runs", "list"); runs != "no runs\n" {
		t.Errorf("it left %q", runs)
	}
}

// Of a way back that is nowhere offered nobody is told, and of one that is by what is typed.
func TestHowAnUpgradeGoesOnIsTold(t *testing.T) {
	t.Parallel()
	run := func(kind string, s state.RunState, alive bool) state.Run {
		return state.Run{ID: "r1", Kind: kind, Environment: "prod", Instance: "main", State: s, Alive: alive}
	}
	parked := run(upgrade.RunKind, state.Parked, false)
	parked.Verbs, parked.Hint = []string{"retry", "undo"}, "mend it"
	for _, c := range []struct{ what, got, want string }{
		{"a rollback that was killed", nextOf(run(upgrade.RollbackKind, state.Running, false)), "dbops upgrade rollback -e prod main, or dbops runs resume r1, goes on"},
		{"a cleanup that was killed", nextOf(run(upgrade.CleanupKind, state.Running, false)), "dbops runs resume r1 goes on; dbops runs abandon r1 leaves what was done"},
		{"an upgrade that was killed", nextOf(run(upgrade.RunKind, state.Running, false)), "dbops runs resume r1 goes on; dbops upgrade rollback -e prod main goes back"},
		{"any other", nextOf(run("backup.create", state.Running, false)), "dbops runs resume r1 goes on; dbops runs undo r1 changes back, and abandon leaves, what was done"},
		{"a parked upgrade", nextOf(parked), "mend it; then dbops runs decide r1 retry|undo; dbops upgrade rollback -e prod main goes back"},
		{"as the error says it", fault.HintOf(runError(parked)), "mend it; then dbops runs decide r1 retry|undo; dbops upgrade rollback -e prod main goes back"},
		{
			"somebody works on it", fault.HintOf(stopFirst(op.Fits(run(upgrade.RunKind, state.Running, true), state.UndoRun), run(upgrade.RunKind, state.Running, true))),
			"dbops runs cancel r1 stops its step; then dbops upgrade rollback -e prod main",
		},
		{
			"abandoned with clients shut out",
			shutOut(run(upgrade.RunKind, state.Failed, false), []state.Step{{Phase: state.Do, Name: "quiesce", State: state.StepDone, Started: time.Unix(0, 0)}}),
			"! clients are shut out since " + stamp(time.Unix(0, 0)) + ", and stay so: dbops upgrade rollback -e prod main lets them in again",
		},
		{"abandoned before that", shutOut(run(upgrade.RunKind, state.Failed, false), nil), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

// A plan that is blocked and changes nothing is not one of something that is so already.
func TestABlockedPlanSaysThatNothingWouldBeChanged(t *testing.T) {
	t.Parallel()
	const want = "blocked   nothing would be changed while that stands"
	for severity, blocked := range map[op.Severity]bool{op.Block: true, op.Info: false} {
		var b bytes.Buffer
		(&cli{}).showPlan(&b, &op.Plan{Draft: op.Draft{Findings: []op.Finding{{Severity: severity, Text: "it has no other address"}}}})
		if strings.Contains(b.String(), want) != blocked || strings.Contains(b.String(), "nothing changes") == blocked {
			t.Errorf("%s: %s", severity, b.String())
		}
	}
}

func TestStatusSaysFromWhenOnAnInstanceCanBeRestored(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		live *cloud.Instance
		want string
	}{
		"just made":   {&cloud.Instance{Created: now.Add(-23 * time.Minute), Backups: cloud.Backups{PITR: true, RetentionDays: 7}}, `"restorable_from":"2026-11-21T11:37:00Z"`},
		"old":         {&cloud.Instance{Backups: cloud.Backups{PITR: true, RetentionDays: 7}}, `"restorable_from":"2026-11-14T12:00:00Z"`},
		"no recovery": {&cloud.Instance{Created: now}, ""},
		"no answer":   {nil, ""},
	} {
		var b bytes.Buffer
		if err := printStatusJSON(&cli{out: &b}, []app.Status{{At: now, Live: c.live}}, nil, nil); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "restorable_from") != (c.want != "") || !strings.Contains(b.String(), c.want) {
			t.Errorf("%s: %s", name, b.String())
		}
	}
}

func TestUpgradeStatusNamesWhatARollbackLeft(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := printRemnants(&b, upgradeStatusJSON{Environment: "staging", Instance: "main", Upgrades: []upgradeRunJSON{
		{Report: &upgrade.Report{Run: "r3"}}, {}, {Report: &upgrade.Report{Run: "r1", Remnant: "main-pg18"}},
	}}); err != nil {
		t.Fatal(err)
	}
	const want = "\n! main-pg18, which run r1 made, is there still, closed to clients, and costs until it is removed\n  next: dbops upgrade cleanup -e staging main removes it\n"
	if b.String() != want {
		t.Errorf("got %q", b.String())
	}
}
