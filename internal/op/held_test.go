package op

import (
	"context"
	"strings"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/state"
)

func TestATargetOfARunThatWaitsIsRefused(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		next := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})
		waiting := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
		wants(t, "state", b.attach(t, waiting).State, state.Parked)
		_, _, err := b.Submit(t.Context(), next, SubmitOptions{Actor: robot})
		failed(t, err, fault.Blocked, "prod/main has an unfinished run, "+waiting)
		b.tell(t, waiting, state.Abandon)
		wants(t, "state", b.attach(t, waiting).State, state.Failed)
		wants(t, "state", b.attach(t, b.submit(t, next).ID).State, state.Done)
	})
}

// passing are the passing findings of a plan for prod/main, in short.
func (b *bench) passing(r toyRequest) (all []string) {
	b.T.Helper()
	for _, f := range b.plan(b.T, r).Findings {
		if f.Passing {
			all = append(all, string(f.Severity)+" "+f.Check+": "+f.Text+" -> "+f.Remedy)
		}
	}
	return all
}

func TestAPlanTellsWhatIsInItsWayAtTheMoment(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		next := toyRequest{Settings: []string{"b"}, Value: "1"}
		wants(t, "findings without another run", b.passing(next), []string(nil))

		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"wait", "fail"}, Value: "1"})).ID
		title := id + ": set toys of prod/main to 1"
		wants(t, "findings beside a run that waits to be begun", b.passing(next), []string{
			"warn unfinished-run: prod/main has a run that waits to be begun, " + title + " -> one of both waits for the other: dbops runs show " + id,
		})
		ctx, interrupt := context.WithCancel(t.Context())
		attached := beside(func() error { _, err := b.Attach(ctx, id, 0, nil); return err })
		eventually(t, "a step is taken", func() bool { return b.toys.world.said("at wait") })
		wants(t, "findings beside a run that is worked on", b.passing(next), []string{
			"warn unfinished-run: prod/main is being changed by run " + title + " -> this change would wait for its end: dbops runs watch " + id,
		})
		if got := b.passing(toyRequest{Settings: []string{"b"}}); len(got) > 0 {
			t.Errorf("a plan that changes nothing is warned: %s", got)
		}
		elsewhere := b.plan(t, next, func(q *PlanRequest) { q.Target.Instance = "other" })
		wants(t, "findings of another instance", len(elsewhere.Findings), 0)

		interrupt()
		failed(t, attached(), fault.Interrupted, id)
		wants(t, "findings beside a run that nobody works on", b.passing(next), []string{
			"block unfinished-run: prod/main has an unfinished run, " + title + " -> nobody works on it: dbops runs resume " + id + "; then make the plan again",
		})
		b.toys.world.say("go")
		wants(t, "state", b.attach(t, id).State, state.Parked)
		if got := b.passing(next); len(got) != 1 || !strings.HasPrefix(got[0], "block ") || !strings.HasSuffix(got[0], id+" says what it waits for; then make the plan again") {
			t.Errorf("findings beside a run that waits for a person: %q", got)
		}
	})
}

func TestWhatPassesIsNoPartOfWhatAPlanFollowsFrom(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		b.o.Underway = func(_ context.Context, at Target, known func(string) bool) ([]Finding, error) {
			return []Finding{
				{Severity: Warn, Check: "state", Text: at.String() + " is modifying"},
				{Severity: Warn, Check: "toy", Text: "the operation has looked itself"},
			}, nil
		}
		p := b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})
		wants(t, "findings", p.Findings[0], Finding{Severity: Warn, Check: "state", Text: "prod/main is modifying", Passing: true})
		wants(t, "state", b.attach(t, b.submit(t, p).ID).State, state.Done)

		blocked := b.plan(t, toyRequest{Settings: []string{"blocked"}, Value: "1"})
		wants(t, "findings of an operation that has looked itself", len(blocked.Findings), 2)
		forged := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})
		forged.Findings = append(forged.Findings, Finding{Severity: Info, Check: "other", Text: "all is well"})
		_, _, err := b.Submit(t.Context(), forged, SubmitOptions{Actor: robot})
		failed(t, err, fault.Invalid, "it was edited")
	})
}

func TestWhoTakesNoMarkWaitsForNone(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		b.o.Underway = func(context.Context, Target, func(string) bool) ([]Finding, error) {
			return []Finding{{Severity: Warn, Check: "state", Text: "it is modifying"}, {Severity: Block, Check: "marked", Text: "another store's run changes it"}}, nil
		}
		wants(t, "findings in the way of a change", len(b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"}).Blocked()), 1)
		p := b.plan(t, toyRequest{Settings: []string{"untouched"}, Value: "1"})
		wants(t, "findings in the way of what leaves the target alone", len(p.Blocked()), 0)
		wants(t, "what is told all the same", p.Findings[0].Check, "state")
	})
}
