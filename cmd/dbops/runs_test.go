package main

import (
	"bytes"
	"strings"
	"testing"

	"dbops/internal/op"
	"dbops/internal/state"
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
