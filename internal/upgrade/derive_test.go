package upgrade

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/op"
)

func TestThePlanSaysWhatWasChosen(t *testing.T) {
	t.Parallel()
	here := op.Target{Environment: "prod", Instance: "main"}
	f := facts{Source: source{Server: Server{Name: "main"}, Major: 16}, Target: targetFacts{Server: Server{Name: "main-pg18"}}}
	for _, c := range []struct {
		q    Request
		note string
		back string
	}{
		{Request{To: 18}, "open transactions have 5s to end, then their sessions are ended; after it, who logs in to main-pg18 and who still to the old instance is watched for 1m0s", ""},
		{Request{To: 18, Grace: time.Nanosecond, Observe: time.Nanosecond}, "sessions with open transactions are ended at once; nobody watches", ""},
		{Request{To: 18, CatchUp: true, FullIdentity: true}, "tables without a primary key follow by all their columns", ""},
		{Request{To: 18, CatchUp: true, NoWayBack: true}, "follows by logical replication", "it loses what is written after the switch"},
	} {
		d := deriveRun(here, c.q, f)
		if !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, c.note) }) {
			t.Errorf("%+v: no note says %q: %q", c.q, c.note, d.Notes)
		}
		if says := strings.Contains(d.Back, "it loses what is written after the switch"); says != (c.back != "") {
			t.Errorf("%+v: the way back: %q", c.q, d.Back)
		}
		rehearsal := deriveRehearsal(here, c.q, f)
		if slices.ContainsFunc(rehearsal.Notes, func(n string) bool { return strings.HasPrefix(n, "at the cut-over") }) {
			t.Errorf("%+v: nobody is logged in to a copy: %q", c.q, rehearsal.Notes)
		}
	}
}
