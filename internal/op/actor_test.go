package op

import (
	"context"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// entries are those of a run in the audit log, as who did what.
func (b *bench) entries(id string) (all []string) {
	b.T.Helper()
	list, err := b.store.Log.List(b.T.Context(), b.store.DB.Read(), audit.Filter{Run: id})
	if err != nil {
		b.T.Fatal(err)
	}
	for _, e := range list {
		what := e.Text
		if e.Step != "" {
			what = string(e.Phase) + " " + e.Step
		}
		all = append(all, e.Actor+" "+e.Via+": "+what)
	}
	return all
}

func TestTheAuditLogSaysWhoAskedApprovedStartedAndDecided(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		p := b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1", Gate: true}, func(q *PlanRequest) { q.Approvals = 1 })
		approval := b.ask(p)
		b.approves(approval.ID, person("alice"))
		run, _, err := b.Submit(t.Context(), p, SubmitOptions{Actor: person("carol")})
		if err != nil {
			t.Fatal(err)
		}
		wants(t, "state", b.attach(t, run.ID).State, state.Gate)
		for _, told := range []struct {
			verb state.Verb
			by   string
			want state.RunState
		}{{state.Continue, "dave", state.Parked}, {state.Retry, "erin", state.Parked}, {state.UndoRun, "frank", state.Undone}} {
			if err := b.Tell(t.Context(), run.ID, told.verb, person(told.by), ""); err != nil {
				t.Fatal(err)
			}
			wants(t, "state", b.attach(t, run.ID).State, told.want)
		}
		wants(t, "entries", b.entries(run.ID), []string{
			"carol@example.com aws: submitted: set toys of prod/main to 1; asked for by robot@example.com; approved by alice@example.com (approval " + approval.ID + ")",
			"carol@example.com aws: intent check", "carol@example.com aws: result check",
			"carol@example.com aws: intent a", "carol@example.com aws: result a",
			"dave@example.com aws: told to continue",
			"dave@example.com aws: intent fail", "dave@example.com aws: result fail",
			"erin@example.com aws: told to retry",
			"erin@example.com aws: intent fail", "erin@example.com aws: result fail",
			"frank@example.com aws: told to undo",
			"frank@example.com aws: intent undo fail", "frank@example.com aws: result undo fail",
			"frank@example.com aws: intent undo a", "frank@example.com aws: result undo a",
			"frank@example.com aws: ended: undone",
		})
		b.verified(t)
	})
}

func TestWhoResumesARunAnswersForWhatItDoesFromThenOn(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		interrupt := make(chan context.CancelFunc, 1)
		b.toys.on("b", func(ctx context.Context, _ *Session) error {
			select {
			case cancel := <-interrupt:
				cancel()
				<-ctx.Done()
				return context.Cause(ctx)
			default:
				return nil
			}
		})
		p := b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1"})
		id := b.submit(t, p).ID
		ctx, cancel := context.WithCancel(t.Context())
		interrupt <- cancel
		_, err := b.Attach(ctx, id, 0, nil)
		failed(t, err, fault.Interrupted, id)
		if err := b.Resume(t.Context(), id, person("erin")); err != nil {
			t.Fatal(err)
		}
		wants(t, "actor", b.run(id).Actor, "erin@example.com")
		wants(t, "state", b.attach(t, id).State, state.Done)
		if err := b.Resume(t.Context(), id, person("frank")); err != nil { // it has ended
			t.Fatal(err)
		}
		wants(t, "entries", b.entries(id)[5:], []string{
			"robot@example.com google: intent b",
			"erin@example.com aws: resumed",
			"erin@example.com aws: result b",
			"erin@example.com aws: ended: done",
		})
		failed(t, b.Resume(t.Context(), "rnothing", person("erin")), fault.Usage, "no such run")
	})
}

func TestWhoCancelsOrSubmitsAgainIsNamedToo(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		interrupt := make(chan context.CancelFunc, 1)
		b.toys.on("a", func(ctx context.Context, _ *Session) error {
			select {
			case cancel := <-interrupt:
				cancel()
			case <-ctx.Done(): // told to cancel, once the run goes on
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		p := b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})
		id := b.submit(t, p).ID
		stop := func() {
			ctx, cancel := context.WithCancel(t.Context())
			interrupt <- cancel
			_, err := b.Attach(ctx, id, 0, nil)
			failed(t, err, fault.Interrupted, id)
		}
		stop()
		if _, again, err := b.Submit(t.Context(), p, SubmitOptions{Actor: person("erin")}); err != nil || !again {
			t.Fatalf("%v, %v", again, err)
		}
		stop()
		if err := b.Tell(t.Context(), id, state.Cancel, person("frank"), ""); err != nil {
			t.Fatal(err)
		}
		wants(t, "state", b.attach(t, id).State, state.Parked)
		wants(t, "entries", b.entries(id)[3:], []string{
			"robot@example.com google: intent a",
			"erin@example.com aws: resumed",
			"frank@example.com aws: told to cancel",
			"frank@example.com aws: result a",
		})
	})
}

// A run that an older dbops submitted says only who asked.
func TestARunThatKnowsNoActorIsItsRequesters(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
		if err := b.store.Tx(t.Context(), "make it older", func(ctx context.Context, tx *state.Tx) error { return tx.SetActor(ctx, id, "", "") }); err != nil {
			t.Fatal(err)
		}
		wants(t, "state", b.attach(t, id).State, state.Done)
		wants(t, "entry", b.entries(id)[1], "robot@example.com google: intent check")
	})
}
