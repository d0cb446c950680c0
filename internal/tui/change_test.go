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
