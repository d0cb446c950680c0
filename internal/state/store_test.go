package state_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
	"dbops/internal/state/audit"
)

// What a store promises, whichever database it is in.

// suite is a test over one store.
type suite struct {
	*testing.T
	s *state.Store
}

func each(t *testing.T, test func(s suite)) {
	t.Helper()
	t.Parallel()
	statetest.Each(t, func(t *testing.T, p statetest.Place) { //nolint:thelper // it is the test
		test(suite{t, p.Store(t)})
	})
}

func (s suite) tx(fn func(ctx context.Context, tx *state.Tx) error) {
	s.Helper()
	if err := s.s.Tx(s.Context(), "a test", fn); err != nil {
		s.Fatal(err)
	}
}

func (s suite) wants(what string, got, want any) {
	s.Helper()
	x, _ := json.Marshal(got)
	y, _ := json.Marshal(want)
	if string(x) != string(y) {
		s.Errorf("%s: got %s, want %s", what, x, y)
	}
}

// recent checks that the store set a time, and takes it out of what is compared.
func (s suite) recent(at *time.Time) {
	s.Helper()
	if d := time.Since(*at); d < -time.Minute || d > time.Minute {
		s.Errorf("a time is %s", at)
	}
	*at = time.Time{}
}

var aPlan = state.Plan{
	Hash: "h1", ID: "p1", Kind: "toy", Environment: "prod", Instance: "main", Requester: "alice", Body: []byte("{}\x00ü"),
	Created: time.UnixMilli(1700000000123).UTC(), Expires: time.UnixMilli(1700000000456).UTC(),
}

// run puts a run with its plan into the store.
func (s suite) run(id string, change ...func(*state.Run)) {
	s.Helper()
	r := state.Run{ID: id, PlanHash: "h1", Kind: "toy", Environment: "prod", Instance: "main", Title: "a title", Requester: "alice", Actor: "carol", ActorVia: "aws", Queue: "default"}
	for _, c := range change {
		c(&r)
	}
	s.tx(func(ctx context.Context, tx *state.Tx) error {
		return errors.Join(tx.PutPlan(ctx, aPlan), tx.PutRun(ctx, r))
	})
}

func TestPlansAreKeptToTheByte(t *testing.T) {
	each(t, func(s suite) {
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			other := aPlan
			other.ID, other.Body = "p2", []byte("other")
			err := errors.Join(tx.PutPlan(ctx, aPlan), tx.PutPlan(ctx, other), tx.LockPlan(ctx, "h1"), tx.LockPlan(ctx, "nothing"))
			got, found, getErr := tx.Plan(ctx, "h1")
			s.wants("plan", got, aPlan)
			_, ghost, ghostErr := tx.Plan(ctx, "h2")
			if !found || ghost {
				s.Errorf("found %v, and what is not there %v", found, ghost)
			}
			return errors.Join(err, getErr, ghostErr)
		})
	})
}

func TestRunsAreKeptAndFound(t *testing.T) {
	each(t, func(s suite) {
		s.run("r1a")
		s.run("r1b", func(r *state.Run) { r.Instance, r.Queue = "other", "far" })
		s.run("r1a", func(r *state.Run) { r.Title = "another" }) // changes nothing
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			r, found, err := tx.LockRun(ctx, "r1a")
			s.recent(&r.Created)
			s.recent(&r.Updated)
			s.wants("run", r, state.Run{
				ID: "r1a", PlanHash: "h1", Kind: "toy", Environment: "prod", Instance: "main", Title: "a title", Requester: "alice", Actor: "carol", ActorVia: "aws",
				Queue: "default", State: state.Queued,
			})
			_, ghost, ghostErr := tx.LockRun(ctx, "r2")
			if !found || ghost {
				s.Errorf("found %v, and what is not there %v", found, ghost)
			}
			return errors.Join(err, ghostErr, tx.SetRun(ctx, "r1a", state.Parked, "b", "it broke", "mend it"),
				tx.SetVerbs(ctx, "r1a", []state.Verb{state.Retry, state.UndoRun}), tx.SetQueue(ctx, "r1a", "near"),
				tx.AddRunner(ctx, state.Runner{ID: "w1", Host: "here"}, time.Minute), tx.SetRunner(ctx, "r1a", "w1"))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			r, _, err := tx.Run(ctx, "r1a")
			if r.State != state.Parked || r.Step != "b" || r.Problem != "it broke" || r.Hint != "mend it" || r.Queue != "near" || r.Runner != "w1" || !r.Alive ||
				r.Started.IsZero() || !r.Ended.IsZero() || strings.Join(r.Verbs, " ") != "retry undo" || r.Interrupted() {
				s.Errorf("%+v", r)
			}
			return errors.Join(err, tx.RemoveRunner(ctx, "w1"), tx.SetRun(ctx, "r1b", state.Cancelled, "", "", ""))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			r, _, err := tx.Run(ctx, "r1b")
			if r.Ended.IsZero() || !r.State.Ended() || len(r.Verbs) > 0 {
				s.Errorf("%+v", r)
			}
			find := func(want string, f state.RunFilter) {
				all, err := tx.Runs(ctx, f)
				var ids []string
				for _, r := range all {
					ids = append(ids, r.ID)
				}
				if strings.Join(ids, " ") != want || err != nil {
					s.Errorf("%+v finds %s, %v, want %s", f, ids, err, want)
				}
			}
			find("r1b r1a", state.RunFilter{})
			find("r1b", state.RunFilter{Limit: 1})
			find("r1a", state.RunFilter{Active: true})
			find("r1b", state.RunFilter{Environment: "prod", Instance: "other", PlanHash: "h1", IDPrefix: "r1"})
			find("r1b", state.RunFilter{IDPrefix: "r1b", Limit: 3})
			find("", state.RunFilter{IDPrefix: "%"})
			find("", state.RunFilter{Environment: "staging"})
			return err
		})
	})
}

func TestOrphansAreTakenOnce(t *testing.T) {
	each(t, func(s suite) {
		for _, id := range []string{"dead", "lives", "nobody", "ended", "far"} {
			s.run(id, func(r *state.Run) {
				if id == "far" {
					r.Queue = "far"
				}
			})
		}
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			return errors.Join(tx.AddRunner(ctx, state.Runner{ID: "dead"}, 0), tx.AddRunner(ctx, state.Runner{ID: "lives"}, time.Minute),
				tx.SetRunner(ctx, "dead", "dead"), tx.SetRunner(ctx, "lives", "lives"), tx.SetRun(ctx, "ended", state.Done, "", "", ""))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Orphans(ctx, "default", 10)
			ids := map[string]bool{}
			for _, r := range all {
				ids[r.ID] = true
			}
			s.wants("orphans", ids, map[string]bool{"dead": true, "nobody": true})
			some, someErr := tx.Orphans(ctx, "default", 1)
			s.wants("limit", len(some), 1)
			for _, c := range []struct {
				id, from string
				ok       bool
			}{{"dead", "dead", true}, {"dead", "dead", false}, {"nobody", "", true}, {"nobody", "lives", false}, {"lives", "lives", false}, {"ended", "", false}} {
				ok, err := tx.TakeRun(ctx, c.id, c.from, "lives")
				if err != nil || ok != c.ok {
					s.Errorf("take %s from %q: %v, %v", c.id, c.from, ok, err)
				}
			}
			return errors.Join(err, someErr, tx.LeaveRun(ctx, "dead", "other"), tx.LeaveRun(ctx, "nobody", "lives"))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			kept, _, err := tx.Run(ctx, "dead")
			left, _, leftErr := tx.Run(ctx, "nobody")
			s.wants("runners", []string{kept.Runner, left.Runner}, []string{"lives", ""})
			return errors.Join(err, leftErr)
		})
	})
}

func TestStepsEventsAndControlsAreInOrder(t *testing.T) {
	each(t, func(s suite) {
		s.run("r1")
		steps := []state.Step{
			{Phase: state.Do, Pos: 0, Attempt: 1, Name: "check"},
			{Phase: state.Do, Pos: 1, Attempt: 1, Name: "a"},
			{Phase: state.Do, Pos: 1, Attempt: 2, Name: "a"},
			{Phase: state.Do, Pos: 10, Attempt: 1, Name: "b"},
			{Phase: state.Undo, Pos: 10, Attempt: 1, Name: "b"},
			{Phase: state.Undo, Pos: 1, Attempt: 1, Name: "a"},
		}
		s.tx(func(ctx context.Context, tx *state.Tx) (err error) {
			for i := range steps {
				err = errors.Join(err, tx.BeginStep(ctx, "r1", steps[len(steps)-1-i]))
			}
			done := steps[1]
			done.State, done.Problem, done.Output = state.StepFailed, "no", []byte(`{"x":1}`)
			return errors.Join(err, tx.EndStep(ctx, "r1", done), tx.BeginStep(ctx, "r1", steps[1]),
				tx.AddEvent(ctx, "r1", state.Event{Kind: "one", Step: "a", Text: "ü"}), tx.AddEvent(ctx, "r1", state.Event{Kind: "two"}),
				tx.AddControl(ctx, "r1", state.Control{Verb: state.Cancel, Reason: "why", Actor: "bob", Via: "ssh"}), tx.AddControl(ctx, "r1", state.Control{Verb: state.Retry, Actor: "bob"}),
				tx.AddRunner(ctx, state.Runner{ID: "w"}, time.Minute), tx.SetRunner(ctx, "r1", "w"))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Steps(ctx, "r1")
			for i := range all {
				s.recent(&all[i].Started)
				if ended := all[i].State == state.StepFailed; ended != !all[i].Ended.IsZero() || ended != (string(all[i].Output) == `{"x":1}`) {
					s.Errorf("%+v", all[i])
				}
				all[i].Ended, all[i].State, all[i].Output, all[i].Problem = time.Time{}, "", nil, ""
			}
			s.wants("journal", all, steps)
			events, eventsErr := tx.Events(ctx, "r1", 0)
			for i := range events {
				s.recent(&events[i].At)
			}
			s.wants("events", events, []state.Event{{Seq: 1, Kind: "one", Step: "a", Text: "ü"}, {Seq: 2, Kind: "two"}})
			later, laterErr := tx.Events(ctx, "r1", 1)
			s.wants("later events", len(later), 1)
			told, toldErr := tx.Controls(ctx, "r1")
			for i := range told {
				s.recent(&told[i].At)
			}
			s.wants("controls", told, []state.Control{{Seq: 1, Verb: state.Cancel, Reason: "why", Actor: "bob", Via: "ssh"}, {Seq: 2, Verb: state.Retry, Actor: "bob"}})
			cancels, cancelsErr := tx.Cancels(ctx, "w")
			s.wants("cancels", cancels, []string{"r1"})
			return errors.Join(err, eventsErr, laterErr, toldErr, cancelsErr, tx.TakeControl(ctx, "r1", 1, "here"))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			told, err := tx.Controls(ctx, "r1")
			s.wants("points", []string{told[0].Point, told[1].Point}, []string{"here", ""})
			cancels, cancelsErr := tx.Cancels(ctx, "w")
			s.wants("cancels that were heeded", len(cancels), 0)
			return errors.Join(err, cancelsErr)
		})
	})
}

func TestApprovalsAndVotesAreKept(t *testing.T) {
	each(t, func(s suite) {
		s.run("r1")
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			a := state.Approval{ID: "a1", PlanHash: "h1", Requester: "alice", Required: 2}
			err := errors.Join(tx.PutApproval(ctx, a, time.Hour), tx.PutApproval(ctx, state.Approval{ID: "a2", PlanHash: "h1"}, -time.Second))
			for _, first := range []bool{true, false} {
				ok, voteErr := tx.AddVote(ctx, "a1", state.Vote{Actor: "bob", Method: "aws", Verdict: "approve", Reason: "fine", Evidence: "sig"})
				if err = errors.Join(err, voteErr); ok != first {
					s.Errorf("a vote was added: %v", ok)
				}
			}
			for _, first := range []bool{true, false} {
				ok, setErr := tx.SetApproval(ctx, "a1", state.Requested, state.Used, "r1")
				if err = errors.Join(err, setErr); ok != first {
					s.Errorf("the state was set: %v", ok)
				}
			}
			return err
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			a, found, err := tx.Approval(ctx, "a1")
			s.recent(&a.Requested)
			if left := time.Until(a.Expires); !found || left < 50*time.Minute || left > 70*time.Minute {
				s.Errorf("found %v, expires in %s", found, left)
			}
			a.Expires = time.Time{}
			for i := range a.Votes {
				s.recent(&a.Votes[i].At)
			}
			s.wants("approval", a, state.Approval{
				ID: "a1", PlanHash: "h1", Requester: "alice", Required: 2, State: state.Used, Run: "r1", Kind: "toy", Environment: "prod", Instance: "main",
				Votes: []state.Vote{{Actor: "bob", Method: "aws", Verdict: "approve", Reason: "fine", Evidence: "sig"}},
			})
			_, ghost, ghostErr := tx.Approval(ctx, "nothing")
			all, allErr := tx.Approvals(ctx, "")
			none, noneErr := tx.Approvals(ctx, "h2")
			if ghost || len(all) != 2 || len(none) != 0 || !all[0].Expired && !all[1].Expired || len(all[0].Votes)+len(all[1].Votes) != 1 {
				s.Errorf("%v, %+v, %+v", ghost, all, none)
			}
			plans, plansErr := tx.PlansOfApprovals(ctx)
			plan, found, planErr := tx.Plan(ctx, "h1")
			s.wants("plans of two approvals", plans, []state.Plan{plan})
			if !found || plan.Hash != "h1" {
				s.Errorf("%v, %+v", found, plan)
			}
			return errors.Join(err, ghostErr, allErr, noneErr, plansErr, planErr)
		})
	})
}

func TestBaselinesAreReplaced(t *testing.T) {
	each(t, func(s suite) {
		b := state.Baseline{Environment: "prod", Instance: "main", Setting: "size", Value: "1", Run: "r1"}
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			newer := b
			newer.Value, newer.Run = "2", "r2"
			elsewhere := b
			elsewhere.Instance = "other"
			return errors.Join(tx.PutBaseline(ctx, b), tx.PutBaseline(ctx, newer), tx.PutBaseline(ctx, elsewhere))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Baselines(ctx, "prod", "main")
			if len(all) != 1 || all[0].Value != "2" || all[0].Run != "r2" || all[0].Setting != "size" {
				s.Errorf("%+v", all)
			}
			return err
		})
	})
}

func TestRunnersLiveAsLongAsTheirLease(t *testing.T) {
	each(t, func(s suite) {
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			return errors.Join(tx.AddRunner(ctx, state.Runner{ID: "a", Host: "h", PID: 7, Queues: []string{"x", "y"}}, time.Minute),
				tx.AddRunner(ctx, state.Runner{ID: "b"}, 0), tx.AddRunner(ctx, state.Runner{ID: "old"}, -48*time.Hour))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Runners(ctx)
			if len(all) != 1 || all[0].ID != "a" || all[0].PID != 7 || strings.Join(all[0].Queues, " ") != "x y" {
				s.Errorf("%+v", all)
			}
			if err := tx.RenewRunner(ctx, "b", time.Minute); !errors.Is(err, state.ErrLost) {
				s.Errorf("a lease that is over: %v", err)
			}
			if err := tx.RenewRunner(ctx, "nobody", time.Minute); !errors.Is(err, state.ErrLost) {
				s.Errorf("a lease that never was: %v", err)
			}
			return errors.Join(err, tx.RenewRunner(ctx, "a", time.Hour), tx.ForgetRunners(ctx), tx.RemoveOtherRunners(ctx, "a"), tx.AddRunner(ctx, state.Runner{ID: "b"}, 0))
		})
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			all, err := tx.Runners(ctx)
			if len(all) != 1 || time.Until(all[0].Expires) < 50*time.Minute {
				s.Errorf("%+v", all)
			}
			return errors.Join(err, tx.RemoveRunner(ctx, "a"))
		})
	})
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	each(t, func(s suite) {
		s.run("r1")
		wrong := errors.New("wrong")
		err := s.s.Tx(s.Context(), "a test", func(ctx context.Context, tx *state.Tx) error {
			return errors.Join(tx.SetRun(ctx, "r1", state.Done, "", "", ""), tx.Append(ctx, audit.Entry{Actor: "alice", Kind: "toy", Phase: audit.Note}), wrong)
		})
		if !errors.Is(err, wrong) || fault.KindOf(err) != fault.Internal {
			s.Errorf("%v", err)
		}
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			r, _, err := tx.Run(ctx, "r1")
			s.wants("state", r.State, state.Queued)
			return err
		})
		if report, err := s.s.Log.Verify(s.Context(), 0); err != nil || !report.OK() {
			s.Errorf("%+v, %v", report, err)
		}
	})
}

// Two that decide about one run or plan do it after each other.
func TestWhoLocksDecidesAlone(t *testing.T) {
	each(t, func(s suite) {
		s.run("r1")
		for what, lock := range map[string]func(ctx context.Context, tx *state.Tx) error{
			"run":  func(ctx context.Context, tx *state.Tx) error { _, _, err := tx.LockRun(ctx, "r1"); return err },
			"plan": func(ctx context.Context, tx *state.Tx) error { return tx.LockPlan(ctx, "h1") },
		} {
			var inside, most atomic.Int32
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					err := s.s.Tx(s.Context(), "a test", func(ctx context.Context, tx *state.Tx) error {
						if err := lock(ctx, tx); err != nil {
							return err
						}
						most.Store(max(most.Load(), inside.Add(1)))
						defer inside.Add(-1)
						_, err := tx.Now(ctx)
						return err
					})
					if err != nil {
						s.Error(err)
					}
				})
			}
			wg.Wait()
			s.wants("at once with a "+what, most.Load(), 1)
		}
	})
}

func TestTheClockIsTheStores(t *testing.T) {
	each(t, func(s suite) {
		s.tx(func(ctx context.Context, tx *state.Tx) error {
			now, err := tx.Now(ctx)
			if d := time.Since(now); d < -10*time.Second || d > 10*time.Second || now.Nanosecond()%1e6 != 0 {
				s.Errorf("now is %s", now)
			}
			return err
		})
	})
}

// A store of the version that knew no actors is read, and goes on.
func TestAnOlderStoreIsReadAndGoesOn(t *testing.T) {
	t.Parallel()
	statetest.Each(t, func(t *testing.T, p statetest.Place) { //nolint:thelper // it is the test
		old := suite{t, p.Store(t)}
		old.run("r1")
		old.tx(func(ctx context.Context, tx *state.Tx) error {
			return errors.Join(tx.AddControl(ctx, "r1", state.Control{Verb: state.Retry, Actor: "bob"}), tx.Append(ctx, audit.Entry{Kind: "toy", Run: "r1", Phase: audit.Note}))
		})
		for _, s := range []string{
			"alter table runs drop column actor", "alter table runs drop column actor_via", "alter table controls drop column actor_via",
			"alter table runners drop column process", "alter table runners drop column seen_ms",
			"insert into runners (id, host, pid, queues, started_ms, expires_ms) values ('old', 'there', 1, 'q', 1, 9000000000000)", "update runs set runner = 'old'",
			"drop table moves", "alter table events drop column detail", "drop index runs_part_of", "alter table runs drop column part_of",
			"alter table runs drop column part_step", "drop table notices", "delete from state_version where version > 1",
		} {
			if _, err := old.s.DB.SQL.ExecContext(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		now := suite{t, p.Store(t)}
		now.tx(func(ctx context.Context, tx *state.Tx) error {
			r, found, err := tx.Run(ctx, "r1")
			if !found || r.Requester != "alice" || r.Actor != "" || r.ActorVia != "" || r.PartOf != "" || !r.Alive {
				t.Errorf("%v, %+v", found, r)
			}
			told, toldErr := tx.Controls(ctx, "r1")
			if len(told) != 1 || told[0].Actor != "bob" || told[0].Via != "" {
				t.Errorf("%+v", told)
			}
			return errors.Join(err, toldErr, tx.SetActor(ctx, "r1", "carol", "aws"))
		})
		if report, err := now.s.Log.Verify(t.Context(), 0); err != nil || !report.OK() {
			t.Errorf("%v, %+v", err, report)
		}
	})
}
