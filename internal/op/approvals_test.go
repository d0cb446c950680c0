package op

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

func person(name string) Actor { return Actor{Name: name + "@example.com", Via: ViaAWS} }

// approvable is a plan of robot that needs others.
func (b *bench) approvable(n int, change ...func(*PlanRequest)) *Plan {
	b.T.Helper()
	return b.plan(b.T, toyRequest{Settings: []string{"a"}, Value: "1"}, append(change, func(q *PlanRequest) { q.Approvals = n })...)
}

func (b *bench) ask(p *Plan) state.Approval {
	b.T.Helper()
	a, err := b.Request(b.T.Context(), p, p.Requester)
	if err != nil {
		b.T.Fatal(err)
	}
	return a
}

func (b *bench) vote(id string, yes bool, by Actor) (state.Approval, error) {
	return b.Vote(b.T.Context(), id, Vote{Approve: yes, By: by, Reason: "looked at it", Evidence: "proof"})
}

func (b *bench) approves(id string, by Actor) state.Approval {
	b.T.Helper()
	a, err := b.vote(id, true, by)
	if err != nil {
		b.T.Fatal(err)
	}
	return a
}

func (b *bench) refused(p *Plan, o SubmitOptions, kind fault.Kind, text string) {
	b.T.Helper()
	o.Actor = robot
	_, _, err := b.Submit(b.T.Context(), p, o)
	failed(b.T, err, kind, text)
	if fault.HintOf(err) == "" && kind != fault.Usage {
		b.T.Errorf("no hint: %v", err)
	}
	if runs, err := b.Runs(b.T.Context(), state.RunFilter{PlanHash: p.Hash()}); err != nil || len(runs) > 0 {
		b.T.Errorf("there is a run all the same: %+v, %v", runs, err)
	}
}

func TestAPlanThatNeedsApprovalIsRunOnceItIsApproved(t *testing.T) {
	each(t, func(b *bench) {
		p := b.approvable(2)
		b.refused(p, SubmitOptions{}, fault.Unapproved, "nobody was asked")
		a := b.ask(p)
		wants(b.T, "asked again", b.ask(p).ID, a.ID)
		b.refused(p, SubmitOptions{}, fault.Unapproved, "0 of 2 others have approved")
		wants(b.T, "state", b.approves(a.ID, person("alice")).State, state.Requested)
		b.refused(p, SubmitOptions{}, fault.Unapproved, "1 of 2 others have approved")
		wants(b.T, "state", b.approves(a.ID, person("bob")).State, state.Approved)
		_, err := b.vote(a.ID, false, person("carol"))
		failed(b.T, err, fault.Usage, "it is approved already")
		id := b.submit(b.T, p).ID
		all, err := b.Approvals(b.T.Context(), p.Hash())
		if err != nil || len(all) != 1 || all[0].State != state.Used || all[0].Run != id || len(all[0].Votes) != 2 || all[0].Votes[0].Evidence != "proof" {
			b.T.Errorf("%+v, %v", all, err)
		}
		if _, again, err := b.Submit(b.T.Context(), p, SubmitOptions{Actor: robot}); err != nil || !again {
			b.T.Errorf("submitted again: %v, %v", again, err)
		}
		wants(b.T, "state", b.attach(b.T, id).State, state.Done)
		// The approval was for that run: the same wish again is another plan.
		b.toys.world.set("a", "0")
		b.refused(b.approvable(2), SubmitOptions{}, fault.Unapproved, "nobody was asked")
		b.verified(b.T)
	})
}

func TestWhoMayVote(t *testing.T) {
	each(t, func(b *bench) {
		p := b.approvable(2)
		a := b.ask(p)
		for _, c := range []struct {
			name string
			yes  bool
			by   Actor
			text string
		}{
			{"the requester", true, robot, "somebody else has to approve"},
			{"the requester, written in another way", true, Actor{Name: " Robot@Example.com ", Via: ViaSSH}, "somebody else has to approve"},
			{"somebody for whom only this machine vouches", true, Actor{Name: "root@here", Via: ViaUnverified}, "nobody vouches"},
			{"somebody unverified who refuses", false, Actor{Name: "root@here"}, "nobody vouches"},
			{"nobody", true, Actor{Via: ViaAWS}, "nobody vouches"},
		} {
			_, err := b.vote(a.ID, c.yes, c.by)
			if err == nil || fault.ExitStatus(err) != 4 {
				b.T.Errorf("%s: %v", c.name, err)
			}
			failed(b.T, err, fault.Unapproved, c.text)
		}
		b.approves(a.ID, person("alice"))
		for _, again := range []Actor{person("alice"), {Name: "ALICE@example.com", Via: ViaGoogle}} {
			for _, yes := range []bool{true, false} {
				_, err := b.vote(a.ID, yes, again)
				failed(b.T, err, fault.Unapproved, "has voted on it already")
			}
		}
		_, err := b.vote("a-nothing", true, person("bob"))
		failed(b.T, err, fault.Usage, "no such approval")
		unverified := b.approvable(1, func(q *PlanRequest) { q.Requester = Actor{Name: "root@here", Via: ViaUnverified} })
		_, err = b.Request(b.T.Context(), unverified, unverified.Requester)
		failed(b.T, err, fault.Unapproved, "nobody vouches")
		_, err = b.Request(b.T.Context(), b.approvable(0), robot)
		failed(b.T, err, fault.Usage, "it needs none")
	})
}

func TestOneNoIsEnough(t *testing.T) {
	each(t, func(b *bench) {
		p := b.approvable(2)
		a := b.ask(p)
		b.approves(a.ID, person("alice"))
		no, err := b.vote(a.ID, false, person("bob"))
		if err != nil || no.State != state.Refused {
			b.T.Fatalf("%+v, %v", no, err)
		}
		_, err = b.vote(a.ID, true, person("carol"))
		failed(b.T, err, fault.Usage, "it is refused already")
		b.refused(p, SubmitOptions{}, fault.Unapproved, "it was refused by bob@example.com (looked at it)")
	})
}

func TestTheRequesterMayTakeAWishBack(t *testing.T) {
	each(t, func(b *bench) {
		a := b.ask(b.approvable(1))
		no, err := b.vote(a.ID, false, robot)
		if err != nil || no.State != state.Refused {
			b.T.Errorf("%+v, %v", no, err)
		}
	})
}

func TestWhatExpiredIsNotGood(t *testing.T) {
	each(t, func(b *bench) {
		asked, approved := b.approvable(1), b.approvable(1, func(q *PlanRequest) { q.Target.Instance = "other" })
		a := b.ask(asked)
		b.approves(b.ask(approved).ID, person("alice"))
		b.makeOlder("update approvals set expires_ms = 1")
		_, err := b.vote(a.ID, true, person("alice"))
		failed(b.T, err, fault.Stale, "it expired at 1970")
		b.refused(asked, SubmitOptions{}, fault.Unapproved, "its approval expired")
		b.refused(approved, SubmitOptions{}, fault.Unapproved, "its approval expired")
		if again := b.ask(asked); again.ID == a.ID || again.Expired {
			b.T.Errorf("asking again returned %+v", again)
		}
		old := b.approvable(0)
		old.Expires = time.Now().Add(-time.Second).UTC().Truncate(time.Second)
		b.refused(old, SubmitOptions{}, fault.Stale, "the plan expired")
	})
}

// makeOlder changes rows as time would.
func (b *bench) makeOlder(statement string) {
	b.T.Helper()
	if _, err := b.store.DB.SQL.ExecContext(b.T.Context(), statement); err != nil {
		b.T.Fatal(err)
	}
}

// An approval is for one plan to the letter: whatever is edited, it is worth nothing, or the plan is refused.
func TestAnEditedPlanIsNotTheOneThatWasApproved(t *testing.T) {
	each(t, func(b *bench) {
		p := b.approvable(1)
		b.approves(b.ask(p).ID, person("alice"))
		for _, c := range []struct {
			name string
			edit func(*Plan)
			kind fault.Kind
			text string
		}{
			{"title", func(p *Plan) { p.Title = "harmless" }, fault.Invalid, "does not follow"},
			{"findings", func(p *Plan) { p.Findings = []Finding{{Severity: Info, Text: "all is well"}} }, fault.Invalid, "does not follow"},
			{"changes", func(p *Plan) { p.Changes[0].To = "2" }, fault.Invalid, "does not follow"},
			{"downtime", func(p *Plan) { p.Downtime.Expected = "some" }, fault.Invalid, "does not follow"},
			{"cost", func(p *Plan) { p.Cost = "less" }, fault.Invalid, "does not follow"},
			{"notes", func(p *Plan) { p.Notes = []string{"x"} }, fault.Invalid, "does not follow"},
			{"back", func(p *Plan) { p.Back = "rm -rf" }, fault.Invalid, "does not follow"},
			{"other targets", func(p *Plan) { p.Also = []string{"prod/other"} }, fault.Invalid, "does not follow"},
			{"request", func(p *Plan) { p.Request = json.RawMessage(`{"Settings":["a"],"Value":"9"}`) }, fault.Invalid, "does not follow"},
			{"facts", func(p *Plan) { p.Facts = json.RawMessage(`{"Was":{"a":"8"}}`) }, fault.Invalid, "does not follow"},
			{"instance", func(p *Plan) { p.Instance = "other" }, fault.Invalid, "does not follow"},
			{"environment", func(p *Plan) { p.Environment = "other" }, fault.Invalid, "does not follow"},
			{"steps", func(p *Plan) { p.Steps[0].Title = "nothing" }, fault.Invalid, "not those of the plan"},
			{"a step less", func(p *Plan) { p.Steps = p.Steps[:0] }, fault.Invalid, "not those of the plan"},
			{"kind", func(p *Plan) { p.Kind = "other" }, fault.Config, "does not know it"},
			{"id", func(p *Plan) { p.ID = "p2" }, fault.Unapproved, "nobody was asked"},
			{"number of approvals", func(p *Plan) { p.Approvals = 2 }, fault.Unapproved, "nobody was asked"},
			{"requester", func(p *Plan) { p.Requester = person("mallory") }, fault.Unapproved, "nobody was asked"},
			{"creation", func(p *Plan) { p.Created = p.Created.Add(time.Hour) }, fault.Unapproved, "nobody was asked"},
			{"expiry", func(p *Plan) { p.Expires = p.Expires.Add(time.Hour) }, fault.Unapproved, "nobody was asked"},
			{"version", func(p *Plan) { p.Tool = "other" }, fault.Unapproved, "nobody was asked"},
			{"protection", func(p *Plan) { p.Protected = true }, fault.Unapproved, "was not confirmed"},
		} {
			body, err := p.Encode()
			if err != nil {
				b.T.Fatal(err)
			}
			edited, err := decodePlan(body)
			if err != nil {
				b.T.Fatal(err)
			}
			if c.edit(edited); edited.Hash() == p.Hash() {
				b.T.Fatalf("%s: the edited plan has the same hash", c.name)
			}
			b.T.Log(c.name)
			b.refused(edited, SubmitOptions{}, c.kind, c.text)
		}
		b.submit(b.T, p)
	})
}

func TestAPlanIsRefused(t *testing.T) {
	each(t, func(b *bench) {
		b.toys.world.set("a", "1")
		b.refused(b.approvable(0), SubmitOptions{}, fault.Usage, "changes nothing")
		b.refused(b.plan(b.T, toyRequest{Settings: []string{"blocked"}, Value: "1"}), SubmitOptions{}, fault.Blocked, "it must not be set")
		p := b.plan(b.T, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Target.Protected = true })
		b.refused(p, SubmitOptions{}, fault.Unapproved, "prod is protected, and its name was not confirmed")
		b.refused(p, SubmitOptions{Confirm: "mian"}, fault.Unapproved, `the confirmed name "mian" is not "main"`)
		if _, _, err := b.Submit(b.T.Context(), p, SubmitOptions{Actor: robot, Confirm: "main"}); err != nil {
			b.T.Error(err)
		}
	})
}

// atOnce calls do n times at once, and returns how often it said yes.
func atOnce(t *testing.T, n int, do func(i int) (bool, error)) (yes int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			ok, err := do(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else if ok {
				yes++
			}
		})
	}
	close(start)
	wg.Wait()
	return yes
}

func TestManySubmitOnePlanAtOnceAndOneRunIsMade(t *testing.T) {
	each(t, func(b *bench) {
		for n := range 8 { // the first warms the connections up
			p := b.approvable(n%2, func(q *PlanRequest) { q.Target.Instance = strconv.Itoa(n) })
			if p.Approvals > 0 {
				b.approves(b.ask(p).ID, person("alice"))
			}
			wants(b.T, "first", atOnce(b.T, 6, func(int) (bool, error) {
				_, again, err := b.Submit(b.T.Context(), p, SubmitOptions{Actor: robot})
				return !again, err
			}), 1)
			events, err := b.Events(b.T.Context(), p.RunID(), 0)
			if err != nil || len(events) != 1 {
				b.T.Errorf("%+v, %v", events, err)
			}
		}
		b.verified(b.T)
	})
}

func TestManyVoteAndAskAtOnce(t *testing.T) {
	each(t, func(b *bench) {
		for n := range 5 {
			p := b.approvable(3, func(q *PlanRequest) { q.Target.Instance = strconv.Itoa(n) })
			err := b.store.Tx(b.T.Context(), "store the plan", func(ctx context.Context, tx *state.Tx) error {
				body, err := p.Encode()
				return errors.Join(err, tx.PutPlan(ctx, storedPlan(p, p.Hash(), body))) // else the first to store it keeps the others waiting
			})
			if err != nil {
				b.T.Fatal(err)
			}
			var mu sync.Mutex
			ids := map[string]bool{}
			atOnce(b.T, 5, func(int) (bool, error) {
				a, err := b.Request(b.T.Context(), p, p.Requester)
				mu.Lock()
				defer mu.Unlock()
				ids[a.ID] = true
				return true, err
			})
			wants(b.T, "requests", len(ids), 1)
			for id := range ids {
				b.voteAtOnce(id)
			}
		}
	})
}

// voteAtOnce lets three people vote twice each.
func (b *bench) voteAtOnce(id string) {
	b.T.Helper()
	wants(b.T, "votes", atOnce(b.T, 6, func(i int) (bool, error) {
		_, err := b.vote(id, true, person(string(rune('a'+i%3))))
		if k := fault.KindOf(err); err != nil && (k == fault.Unapproved || k == fault.Usage) {
			return false, nil
		}
		return true, err
	}), 3)
	err := b.store.Read(b.T.Context(), "look", func(ctx context.Context, tx *state.Tx) error {
		a, _, err := tx.Approval(ctx, id)
		wants(b.T, "state", a.State, state.Approved)
		return err
	})
	if err != nil {
		b.T.Error(err)
	}
}

// What is signed is an interface: signatures that were made outlive the code.
func TestTheMessageThatIsSigned(t *testing.T) {
	t.Parallel()
	wants(t, "yes", string(VoteMessage("abc", true)), "dbops approve plan abc\n")
	wants(t, "no", string(VoteMessage("abc", false)), "dbops refuse plan abc\n")
}

func TestAnApprovalThatWasWrittenPastDbopsIsWorthNothing(t *testing.T) {
	each(t, func(b *bench) {
		write := func(p *Plan, votes ...state.Vote) {
			a := b.ask(p)
			err := b.store.Tx(t.Context(), "write past dbops", func(ctx context.Context, tx *state.Tx) error {
				for _, v := range votes {
					if _, err := tx.AddVote(ctx, a.ID, v); err != nil {
						return err
					}
				}
				_, err := tx.SetApproval(ctx, a.ID, state.Requested, state.Approved, "")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		yes := func(who string) state.Vote {
			return state.Vote{Actor: who, Method: ViaSSH, Verdict: "approve", Evidence: "forged"}
		}

		none := b.approvable(1)
		write(none)
		b.refused(none, SubmitOptions{}, fault.Unapproved, "0 of 1 others have")

		own := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"}, func(q *PlanRequest) { q.Approvals = 1 })
		write(own, yes(robot.Name))
		b.refused(own, SubmitOptions{}, fault.Unapproved, "a vote of who asked")

		b.o.CheckVote = func(v state.Vote, hash string) error {
			if v.Evidence == "forged" || hash == "" {
				return errors.New("the signature is wrong")
			}
			return nil
		}
		forged := b.plan(t, toyRequest{Settings: []string{"c"}, Value: "1"}, func(q *PlanRequest) { q.Approvals = 1 })
		write(forged, yes("bob@example.com"))
		b.refused(forged, SubmitOptions{}, fault.Unapproved, "the vote of bob@example.com does not verify")
	})
}

// Whoever writes another name into a plan's file, and a hash that fits, may not approve past it.
func TestAPlanIsAskedForByWhoMadeIt(t *testing.T) {
	each(t, func(b *bench) {
		p := b.approvable(1)
		p.Requester = person("bob")
		_, err := b.Request(t.Context(), p, robot)
		failed(t, err, fault.Denied, "bob@example.com made it")
		if all, err := b.Approvals(t.Context(), ""); err != nil || len(all) > 0 {
			t.Errorf("it was asked for: %+v, %v", all, err)
		}
		b.ask(p)
		if _, err := b.Request(t.Context(), p, robot); err != nil {
			t.Errorf("what was asked for already is not found by somebody else: %v", err)
		}
	})
}
