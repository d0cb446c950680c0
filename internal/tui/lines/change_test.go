package lines_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/live"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
)

func TestEveryTabIsReadOutAndPlans(t *testing.T) {
	for _, c := range []struct {
		tab   string
		reads []string
		say   []string // to get to a plan
		kind  string
	}{
		{"migrations", []string{"orders, at 44 of 47, 3 pending", "5. 000045_index_orders_created_at, state under way: pending"}, []string{"u", "1", ""}, "migrate.up"},
		{"credentials", []string{"1. shop-api, state log", "slot b active: 18"}, []string{"1", "rotate", "1", "1", ""}, "creds.rotate"},
		{"tls", []string{"Server, seen from here:", "until: 2027-10-27", "1. server"}, []string{"t"}, "certs.rotate-ca"},
		{"availability", []string{"Zones:", "is: regional: Multi-AZ on RDS", "Fail over to the standby:"}, []string{"f"}, "availability.failover"},
		{"backups", []string{"Recovery:", "drill: problem: 50d ago", "1. before-migration-0190a1"}, []string{"back up", ""}, "backup.create"},
		{"drift", []string{"2 drifted, 1 pending", "1. backups.retention_days, status problem: drifted, declared 30, live 14"}, []string{"f"}, "drift.fix"},
		{"sessions", []string{"3 wait for locks behind 39980", "2. 40311", "statement update carts"}, []string{"2", "x"}, "session.cancel"},
		{"sessions", nil, []string{"2", "terminate"}, "session.terminate"},
	} {
		t.Run(c.tab+" "+c.kind, func(t *testing.T) {
			talk(t, nil, func(p *person) {
				p.want(p.say("6", c.tab), append([]string{"PROTECTED environment prod. orders-main. "}, c.reads...)...)
				said := p.say(c.say...)
				if strings.Contains(said, "enter for") { // what is left of a form keeps its defaults
					for range 6 {
						if said = p.say(""); strings.Contains(said, "Findings:") {
							break
						}
					}
				}
				p.want(said, "PLAN.", "Findings:", "Steps:", "the same by: dbops ", "--plan")
				planned := p.core.Planned()
				if len(planned) != 1 || !strings.HasPrefix(planned[0].Kind, c.kind) || planned[0].Instance != "orders-main" {
					t.Errorf("planned %+v", planned)
				}
			})
		})
	}
}

func TestAnUpgradeIsPlannedFromItsStage(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("6", "upgrade"), "Stages: choose (shown)", "1. copy")
		p.want(p.say("4"), "chosen: blue/green", "way back")
		p.want(p.say("upgrade: plan it"), "PLAN.", "Steps:")
	})
}

// plan goes to the plan of setting the drift of prod/orders-main back.
func (p *person) plan() string {
	p.t.Helper()
	return p.say("6", "drift", "f")
}

func TestAPlanIsReadFindingsFirst(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.plan(), "the same by: dbops drift -e prod orders-main --fix", "drift.fix of prod/orders-main",
			"Findings:", "warning: warn, the maintenance window is 4 hours away", "Sun 03:00-04:00 UTC", "remedy: wait for it, or go on now", "info, 12 clients are connected",
			"Changes:", "availability: from zonal to regional", "Downtime:", "brief: connections are cut once", "Steps:", "1, compare", "waits for a person: look at it", "Way back:",
			"the same by: dbops drift -e prod orders-main --fix --plan")
	})
}

func TestAPlanOfAProtectedEnvironmentIsRunByItsName(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.plan()
		p.want(p.say("R"), "Run it, in environment prod, PROTECTED.", "2 findings above: read them first.", "type orders-main to go on; b to leave it")
		for _, wrong := range []string{"yes", "", "1", "orders-mainx"} {
			p.want(p.say(wrong), fmt.Sprintf("%q is not orders-main.", wrong))
		}
		p.want(p.say("b"), "left.")
		if runs, _ := p.core.Runs(t.Context(), state.RunFilter{}); len(runs) != 0 {
			t.Fatalf("it was run: %+v", runs)
		}
		p.want(p.say("R", "orders-main"), "run r", "RUNNING.", "0 of 4 done:", "under way, 1, compare")
	})
}

func TestAPlanThatIsBlockedIsNotRun(t *testing.T) {
	talk(t, func(c *fake.Core) {
		c.EditPlans(func(p *op.Plan) {
			p.Findings = append(p.Findings, op.Finding{Severity: op.Block, Check: "standby", Text: "there is no standby", Remedy: "make it regional"})
		})
	}, func(p *person) {
		p.want(p.plan(), "Findings:", "problem: block, there is no standby", "remedy: make it regional", "warning: warn")
		p.want(p.say("R"), "it is blocked: there is no standby")
	})
}

func TestAPlanIsSaved(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.plan()
		p.want(p.say("s"), "Save the plan", "file: dbops apply FILE runs it later", "or enter for plan-r")
		p.want(p.say("night.json"), "saved: dbops apply night.json")
		if p.core.Saved()["night.json"] == nil {
			t.Errorf("saved %v", p.core.Saved())
		}
	})
}

func TestNothingIsChangedWhereNothingMayBe(t *testing.T) {
	talk(t, func(c *fake.Core) { c.ForbidChanges("--read-only") }, func(p *person) {
		p.plan()
		p.want(p.say("R"), "nothing is changed from here: --read-only")
		p.want(p.say("a"), "run this plan; not now: nothing is changed from here: --read-only")
	})
}

// began runs a plan and returns the run.
func (p *person) began() string {
	p.t.Helper()
	p.plan()
	p.say("R", "orders-main")
	runs, err := p.core.Runs(p.t.Context(), state.RunFilter{})
	if err != nil || len(runs) != 1 {
		p.t.Fatalf("%v %+v", err, runs)
	}
	return runs[0].ID
}

func (p *person) step(run, kind, step, text string, change func(*app.RunView)) string {
	p.core.Play(run, state.Event{Kind: kind, Step: step, Text: text}, change)
	return p.hear()
}

func modify(v *app.RunView) {
	v.Run.Step = "modify"
	v.Steps = append(v.Steps, state.Step{Phase: state.Do, Name: "modify", State: state.StepRunning, Attempt: 1, Started: v.Run.Started})
}

func waits(v *app.RunView) {
	v.Run.State, v.Run.Step, v.Run.Problem, v.Run.Verbs = state.Gate, "look", "look before it goes on", []string{"continue", "undo", "abandon"}
}

func TestARunIsFollowedStepByStep(t *testing.T) {
	talk(t, nil, func(p *person) {
		run := p.began()
		p.pass(3 * time.Second)
		p.want(p.step(run, op.EventStep, "modify", "", modify), "step 2 of 4, set the availability: begins.")
		told := 0
		for i := range 40 {
			p.step(run, op.EventProgress, "modify", fmt.Sprintf("the standby is at %d percent", i), nil)
			told += strings.Count(p.pass(time.Second), "the standby is at")
		}
		if told < 3 || told > 5 {
			t.Errorf("progress was told %d times in 40 seconds", told)
		}
		p.want(p.step(run, op.EventDone, "modify", "the standby is there", nil), "step 2 of 4, set the availability: done after 40s: the standby is there.")
		p.want(p.step(run, op.EventEnded, "", "done", func(v *app.RunView) {
			v.Run.State, v.Run.Alive, v.Run.Ended = state.Done, false, v.Run.Started.Add(44*time.Second)
		}), "the run has ended", "done, took 44s")
	})
}

func TestTheLastWordOfAStepIsToldLate(t *testing.T) {
	talk(t, nil, func(p *person) {
		run := p.began()
		p.wantNot(p.step(run, op.EventProgress, op.CheckStep, "nearly there", nil), "nearly there")
		p.want(p.pass(11*time.Second), "nearly there")
		p.wantNot(p.pass(30*time.Second), "nearly there")
	})
}

func TestAGateIsAQuestion(t *testing.T) {
	talk(t, nil, func(p *person) {
		run := p.began()
		p.want(p.step(run, op.EventGate, "look", "look at it", waits), "it waits for a person: look at it.", "look before it goes on",
			"It waits for you, in environment prod, PROTECTED.", "1. go on past the gate", "2. undo what it changed", "3. abandon")
		p.want(p.say("1"), "the same by: dbops runs decide "+run+" continue", "reason:")
		p.want(p.say("it is fine"), "see that clients are served", "--reason 'it is fine'", "type orders-main to go on")
		p.want(p.say("orders-main"), "continue: told")
		if told := p.core.Told(); len(told) != 1 || told[0].Verb != state.Continue || told[0].Reason != "it is fine" || told[0].Confirm != "orders-main" {
			t.Errorf("told %+v", told)
		}
	})
}

func TestARunIsLeftAndComeBackTo(t *testing.T) {
	talk(t, nil, func(p *person) {
		run := p.began()
		p.want(p.say("b"), "Drift.")
		p.step(run, op.EventGate, "look", "look at it", waits)
		p.want(p.pass(16*time.Second), "run "+run+" waits for a person (gate)")
		p.want(p.say("b", "runs"), "Runs.", "1. warning: gate, run "+run)
		p.want(p.say("1"), "chosen: ", "open: open the run")
		p.want(p.say("open"), "WAITS FOR A PERSON.", "It waits for you", "1. go on past the gate")
		p.want(p.say("b"), "left.")
		p.want(p.say("go on"), "continue "+run)
	})
}

func TestAnApprovalIsAskedForAndGivenOrRefused(t *testing.T) {
	for verb, want := range map[string]state.ApprovalState{"approve": state.Approved, "refuse": state.Refused} {
		t.Run(verb, func(t *testing.T) {
			talk(t, func(c *fake.Core) { c.EditPlans(func(p *op.Plan) { p.Approvals = 1 }) }, func(p *person) {
				p.plan()
				p.want(p.say("R", "orders-main"), "approval a7f3 is asked for: somebody else has to give it")
				p.say("b", "b")
				p.want(p.say("approvals", "1"), "chosen: ", "a7f3")
				p.want(p.say("open"), "approval", "Findings:")
				p.want(p.say(verb), "reason")
				said := p.say("as discussed")
				if strings.Contains(said, "type orders-main") {
					p.say("orders-main")
				} else {
					p.say("yes")
				}
				all, err := p.core.Approvals(t.Context())
				if err != nil || len(all) != 1 || all[0].Approval.State != want || all[0].Approval.Votes[0].Reason != "as discussed" {
					t.Errorf("%v %+v\n%s", err, all, p.paper)
				}
			})
		})
	}
}

func TestTheAuditLogIsRead(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.want(p.say("audit"), "Audit.", "nothing was done yet", "the same by: dbops audit list")
		p.want(p.say("verify", ""), "the chain is whole")
	})
}

// What was read out is what is acted on: a list that has changed meanwhile does not move the choice to another row.
func TestAChoiceThatIsGoneIsNotActedOn(t *testing.T) {
	talk(t, nil, func(p *person) {
		p.say("6", "sessions", "2")
		all, err := p.core.LiveSessions(t.Context(), "prod", "orders-main")
		if err != nil {
			t.Fatal(err)
		}
		left := *all
		left.Sessions = slices.DeleteFunc(slices.Clone(all.Sessions), func(s live.Session) bool { return s.PID == 40311 })
		p.core.Connected(func() *live.Activity { return &left })
		p.pass(3 * time.Second)
		p.want(p.say("x"), "what you chose is not there any more: nothing was done.", "Sessions.")
		p.want(p.say("x"), "PLAN.")
		if planned := p.core.Planned(); len(planned) != 1 {
			t.Errorf("planned %+v", planned)
		}
	})
}

func TestARunThatHasEndedIsReadWithWhatCameOfIt(t *testing.T) {
	talk(t, func(c *fake.Core) {
		p := c.PlanFor(app.Change{Environment: "prod", Instance: "orders-main", Kind: "backup.drill"}, true)
		c.Put(app.RunView{Plan: p, Run: state.Run{ID: "r1", Kind: p.Kind, Environment: "prod", Instance: "orders-main", Title: "restore drill", State: state.Done, Created: night}})
		for _, e := range []state.Event{
			{Kind: op.EventDone, Step: "modify", Text: "it is there"},
			{Kind: op.EventDone, Step: "verify", Text: "passed: usable after 11s, at most 2m59s lost"},
			{Kind: op.EventEnded, Text: "done"},
		} {
			c.Play("r1", e, nil)
		}
	}, func(p *person) {
		said := p.say("runs")
		p.want(said, "Runs.", "1. done, run r1", "the same by: dbops runs list\n> ")
		if n := strings.Count(said, "the same by"); n != 1 {
			t.Errorf("it was said %d times: %s", n, said)
		}
		p.want(p.say("runs"), "Runs.", "1. done, run r1", "the same by: dbops runs list\n> ")
		said = p.say("1", "open")
		p.want(said, "DONE.", "the way back: ", "result: passed: usable after 11s, at most 2m59s lost", "Steps,")
		p.wantNot(said, "the run has ended", "step 4 of 4")
	})
}
