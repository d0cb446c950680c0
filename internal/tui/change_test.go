package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/page/plan"
	"dbops/internal/tui/screen"
)

// planOf asks for a plan of staging's orders, or of prod's.
func planOf(env string) screen.OpenPlan {
	return screen.OpenPlan{
		Change: app.Change{Environment: env, Instance: "orders-main", Kind: "availability.set"}, Title: "set the availability of orders-main",
		CLI: []string{"dbops", "availability", "set", "-e", env, "orders-main", "regional"},
	}
}

func TestAPlanIsShownConfirmedAndItsRunFollowed(t *testing.T) {
	play(t, 120, 40, Options{}, nil, func(s *stage) {
		s.Send(planOf("staging"))
		s.Want("environment  staging  orders-main › plan", "! warn  the maintenance window", "remedy: wait for it", "availability", "zonal", "-> regional", "brief: connections are cut once", "WAY BACK")
		if at := strings.Index(s.Screen(), "warn"); at > strings.Index(s.Screen(), "info") {
			t.Error("an information stands before a warning")
		}
		s.Press("R", "enter")
		s.Want("run it", "CLI  dbops availability set -e staging orders-main regional")
		s.Press("y")
		s.Want("orders-main › run r", "RUNNING", "~  1  compare staging/orders-main")
		views, err := s.core.Runs(t.Context(), state.RunFilter{})
		if err != nil || len(views) != 1 {
			t.Fatalf("%v %v", views, err)
		}
		id := views[0].ID
		s.core.Play(id, state.Event{Kind: op.EventProgress, Step: op.CheckStep, Text: "reading"}, nil)
		s.Settle()
		s.Want("reading")
		s.core.Play(id, state.Event{Kind: op.EventGate, Step: "look", Text: "look at it"}, func(v *app.RunView) {
			v.Run.State, v.Run.Step, v.Run.Problem, v.Run.Verbs = state.Gate, "look", "look at it before it goes on", []string{"continue", "undo", "abandon"}
			for _, name := range []string{op.CheckStep, "modify"} {
				v.Steps = append(v.Steps, state.Step{Phase: state.Do, Name: name, State: state.StepDone, Attempt: 1, Started: s.model().now, Ended: s.model().now.Add(3 * time.Second)})
			}
		})
		s.Settle()
		s.Want("WAITS FOR A PERSON", "it waits for somebody to say continue, undo, abandon", "✓  2  set the availability", "!  3  look at it before it goes on")
		s.Press("x")
		s.Want("cancel: no step runs: it is gate, and waits for continue, undo, abandon")
		s.Press("c")
		s.Type("seen")
		s.Press("enter")
		s.Want("- see that clients are served", `CLI  dbops runs decide `+id+` continue --reason seen`)
		s.Press("y")
		s.Want("continue: told")
		if told := s.core.Told(); len(told) != 1 || told[0].Verb != state.Continue || told[0].Reason != "seen" {
			t.Errorf("told %+v", told)
		}
		s.Press("esc", "esc")
		s.Want("dbops  Fleet")
	})
}

func TestAProtectedPlanWantsItsNameTyped(t *testing.T) {
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.Send(planOf("prod"))
		s.Press("R", "y", "enter")
		s.Want("PROTECTED prod", "Type orders-main to go on:")
		s.Press("esc", "R")
		s.Type("orders-mai")
		s.Press("enter")
		s.Want("enter is off until it fits")
		s.Type("n")
		s.Press("enter")
		s.Want("PROTECTED  prod  orders-main › run r")
	})
}

func TestAPlanThatCannotBeRunSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*op.Plan)
		want string
		says []string // the page
		not  []string
	}{
		"blocked": {func(p *op.Plan) {
			p.Findings = []op.Finding{{Severity: op.Block, Text: "a run is under way", Remedy: "wait for it"}}
		}, "it is blocked: a run is under way", []string{"is blocked: it cannot be run", "-> regional"}, []string{"can be run for"}},
		"blocked, with nothing that may be changed": {func(p *op.Plan) {
			p.Changes, p.Findings = nil, []op.Finding{{Severity: op.Block, Text: "nobody could reach it", Remedy: "give it an address"}}
		}, "it is blocked: nobody could reach it", []string{"is blocked: it cannot be run", "blocked: nothing would be changed while that stands"}, []string{"can be run for", "it is so already", "DOWNTIME"}},
		"nothing": {func(p *op.Plan) { p.Changes = nil }, "there is nothing to do", []string{"nothing: it is so already"}, nil},
		"expired": {func(p *op.Plan) { p.Expires = p.Created }, "it has expired", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 120, 40, Options{}, nil, func(s *stage) {
				s.core.EditPlans(c.edit)
				s.Send(planOf("staging"))
				s.Want(c.says...)
				s.WantNot(c.not...)
				s.Press("R")
				s.Want(c.want)
			})
		})
	}
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.core.ForbidChanges("--read-only")
		s.Send(planOf("staging"))
		s.Press("R")
		s.Want("nothing is changed from here: --read-only")
	})
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.core.FailPlans(0, fault.New(fault.Denied, "plan it", errors.New("not authorized")).Hint("aws sso login"))
		s.Send(planOf("staging"))
		s.Want("x set the availability of orders-main: plan it: not authorized", "aws sso login")
		s.Press("R")
		s.Want("there is no plan")
		s.core.FailPlans(time.Hour, nil)
		s.Press("r")
		s.Want("~ working out")
		s.Press("ctrl+c")
		s.WantNot("~ working out")
	})
}

func TestAnApprovalIsAskedFor(t *testing.T) {
	play(t, 120, 40, Options{}, nil, func(s *stage) {
		s.core.EditPlans(func(p *op.Plan) { p.Approvals = 1 })
		s.Send(planOf("staging"))
		s.Press("R", "y")
		s.Want("approval a7f3 is asked for", "a7f3 waits for 1 other", "dbops approvals approve a7f3")
		if _, err := s.core.Vote(t.Context(), "a7f3", true, "fine"); err != nil {
			t.Fatal(err)
		}
		s.Press("R", "y")
		s.Want("orders-main › run r")
	})
}

// needing has every plan need the approval of one other; the same change is the same plan.
func needing(c *fake.Core) {
	mend(c)
	c.EditPlans(func(p *op.Plan) { p.Approvals, p.Created, p.Expires = 1, night, night.Add(24*time.Hour) })
}

func TestWhoAskedHearsOfTheAnswerOnce(t *testing.T) {
	for _, c := range []struct {
		yes            bool
		reason         string
		rings          string
		page, row, off []string
	}{
		{
			true, "", "\a\x1b]9;dbops: approval a7f3 is given by li@example.com: availability.set of prod/orders-main can be run\a",
			[]string{"the approval of 1 other: met by li@example.com", "a7f3 is approved by li@example.com", "it can be run (R), once"},
			[]string{"approval a7f3 is given by li@example.com"},
			[]string{"Approval a7f3 was given by li@example.com: it runs."},
		},
		{
			false, "not on a Friday", "\a\x1b]9;dbops: approval a7f3 of availability.set of prod/orders-main is refused by li@example.com: not on a Friday\a",
			[]string{"! the approval of 1 other", "x a7f3 is refused by li@example.com: not on a Friday", "another plan has to be made (r)"},
			[]string{"is refused by li@example.com: not on a Friday"},
			[]string{"it was refused by li@example.com: not on a Friday: another plan has to be made"},
		},
	} {
		play(t, 140, 60, Options{}, needing, func(s *stage) {
			s.Send(planOf("prod"))
			s.Press("R")
			s.Want("without it they are asked now,")
			s.Type("orders-main")
			s.Press("enter")
			s.Want("a7f3 waits for 1 other", "! the approval of 1 other")
			s.Pass(time.Minute)
			if s.Raw != "" {
				t.Errorf("who asked was told of the own request: %q", s.Raw)
			}
			s.Press("R")
			s.Want("Approval a7f3 waits already: nobody is asked again,")
			s.Press("esc")
			if _, err := s.core.Vote(t.Context(), "a7f3", c.yes, c.reason); err != nil {
				t.Fatal(err)
			}
			s.Pass(20 * time.Second)
			s.Want(c.page...)
			s.WantNot("a7f3 waits")
			s.Pass(time.Minute)
			if s.Raw != c.rings {
				t.Errorf("rang %q", s.Raw)
			}
			s.Press("M")
			s.Want(c.row...)
			s.Press("esc", "R")
			s.Want(c.off...)
		})
	}
}

func TestAnApprovalStaysWithItsPlanWhenItIsMadeAgain(t *testing.T) {
	play(t, 140, 60, Options{}, needing, func(s *stage) {
		s.Send(planOf("prod"))
		s.Press("R")
		s.Type("orders-main")
		s.Press("enter", "r")
		s.Want("a7f3 waits for 1 other")
		s.Press("esc")
		s.Pass(20 * time.Second)
		s.Send(planOf("prod")) // on a page of its own, too
		s.Want("a7f3 waits for 1 other")
		s.core.EditPlans(func(p *op.Plan) { p.Approvals, p.Title = 1, "another one" })
		s.Press("r")
		s.WantNot("a7f3")
	})
	play(t, 140, 60, Options{}, needing, func(s *stage) {
		s.Send(planOf("prod"))
		hash := s.model().top().(plan.Page).Made().Hash()[:10]
		s.Press("R")
		s.Type("orders-main")
		s.Press("enter")
		s.core.EditPlans(func(p *op.Plan) { p.Approvals, p.Title = 1, "another one" })
		s.Press("r")
		s.Want("! a7f3 (requested) belongs to the earlier plan " + hash + ": this plan is another one, and needs an approval of its own")
		s.WantNot("a7f3 waits")
		s.Press("R")
		s.Want("without it they are asked now")
	})
}

func TestTheNeedsOfAnApprovedPlanAreMet(t *testing.T) {
	play(t, 140, 60, Options{}, mend, func(s *stage) {
		ask(s.core, "a1", "prod", "availability.set", state.Approved, func(w *app.Waiting) {
			w.Approval.Votes = []state.Vote{{Actor: "li@example.com", Method: op.ViaGoogle, Verdict: "approve", At: night}}
		})
		s.Send(screen.OpenApproval{ID: "a1"})
		s.Want("the approval of 1 other: met by li@example.com")
		s.WantNot("! the approval of 1 other")
	})
}

func TestALostStreamOfARunIsAskedForAgain(t *testing.T) {
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.Send(screen.OpenRun{ID: "r123"})
		s.Want("x run r123: look at run r123: there is no such run", "dbops runs list")
		s.core.Put(app.RunView{Run: state.Run{ID: "r123", Environment: "staging", Instance: "orders-main", State: state.Running, Step: "copy", Created: s.model().now}, Plan: &op.Plan{}})
		s.Pass(4 * time.Second)
		s.Want("INTERRUPTED", "nobody works on it")
		s.Press("c")
		s.Want("resume: told")
	})
}
