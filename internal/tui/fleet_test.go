package tui

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/app"
	"dbops/internal/backup"
	"dbops/internal/cloud"
	"dbops/internal/creds"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
)

// mark marks archive, auth and billing of prod, and billing of staging.
func (s *stage) mark() {
	s.Press("space", "space", "space", "/")
	s.Type("staging billing")
	s.Press("enter", "*", "/", "esc")
}

var severalScenes = map[string]func(*stage){
	"marked": (*stage).mark,
	"plans": func(s *stage) {
		s.core.EditPlans(func(p *op.Plan) {
			if p.Instance == "auth" {
				p.Findings = append(p.Findings, op.Finding{Severity: op.Block, Text: "a run is under way", Evidence: "r1", Remedy: "wait for it"})
			}
		})
		s.mark()
		s.Press("b", "enter")
	},
}

func TestFramesOfSeveral(t *testing.T) {
	for name, go1 := range severalScenes {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%s_%dx%d", name, size.w, size.h), func(t *testing.T) {
				play(t, size.w, size.h, Options{}, mend, func(s *stage) {
					go1(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
		t.Run(name+"_no_color", func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, mend, func(s *stage) {
				go1(s)
				golden.RequireEqual(t, s.Frame())
			})
		})
	}
}

func TestAFilterThatNothingFitsSaysSoAtOnce(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("/")
		s.Type("xyzzy")
		s.Want("no instance matches the filter")
	})
}

func TestAfterAnOutageWhatIsReadSeldomIsReadAgain(t *testing.T) {
	gone := fault.Newf(fault.Unavailable, "look", "nobody listens")
	play(t, 120, 40, Options{}, func(c *fake.Core) {
		mend(c)
		c.FailWatched(0, gone)
		c.Fail("prod/orders-main", gone)
	}, func(s *stage) {
		s.Press("/")
		s.Type("orders-main")
		s.Press("enter")
		s.Pass(2 * time.Minute)
		asked := s.core.AskedWatched()
		s.WantNot("! 97d", "drifted")
		s.core.FailWatched(0, nil)
		s.core.Fail("prod/orders-main", nil)
		s.Pass(90 * time.Second) // it is seldom, but not now
		s.Want("! 97d", "drifted")
		if got := s.core.AskedWatched() - asked; got != 2 {
			t.Errorf("they were looked at %d times, want both once", got)
		}
	})
}

func TestMarksAreSetByRowAndByFilterAndStayWhereTheyAreHidden(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("b")
		s.Want("back up: nothing is marked: space marks")
		s.Press("space")
		s.Want("P*  archive", "P > auth", "1 marked")
		s.Press("space", "k", "space")
		s.Want("P   auth", "1 marked")
		s.Press("/")
		s.Type("staging")
		s.Press("enter", "*")
		s.Want(" *  billing", " *  orders-main", " *> search", "4 marked, 1 of them hidden by the filter")
		s.Press("*")
		s.Want("1 marked, 1 of them hidden by the filter")
		s.Press("esc")
		s.Want("/staging")
		s.WantNot("1 marked")
		s.Press("esc")
		s.WantNot("/staging")
		s.Press("*")
		s.Want("11 marked")
		all, _ := s.core.Instances("")
		s.core.Configure(slices.DeleteFunc(all, func(i app.Instance) bool { return i.Name == "archive" }))
		s.core.FailLoad(errors.New("gone"))
		s.core.FailLoad(nil)
		s.Send(loadedMsg{instances: slices.DeleteFunc(all, func(i app.Instance) bool { return i.Name == "archive" || i.Name == "" })})
		s.Press("r")
		s.Want("10 marked")
	})
}

func TestSeveralPlansAreShownAndEachIsRunByItself(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		severalScenes["plans"](s)
		s.Want("back up the 4 marked instances", "4 plans, 3 ready, 0 begun, blocked: prod/auth", "PROTECTED prod among them", "x 1 block, 1 warn, 1 info", "x blocked", "P   billing", "plan of prod/archive", "WHAT")
		want := []string{"prod/archive", "prod/auth", "prod/billing", "staging/billing"}
		var planned []string
		for _, c := range s.core.Planned() {
			planned = append(planned, c.Environment+"/"+c.Instance)
			if c.Kind != backup.CreateKind {
				t.Errorf("planned %+v", c)
			}
		}
		slices.Sort(planned)
		if !slices.Equal(planned, want) {
			t.Errorf("planned %v", planned)
		}
		s.Press("R", "y")
		s.Want("4 plans, 3 ready, 0 begun")
		s.Press("j", "enter")
		s.Want("PROTECTED  prod  auth › plan", "x block  a run is under way")
		s.Press("R")
		s.Want("it is blocked: a run is under way")
		s.Press("r")
		s.Want("it is one of several: make it again there")
		s.Press("esc", "n") // the one after the blocked one
		s.Want("PROTECTED  prod  billing › plan")
		s.Press("R", "y", "enter")
		s.Type("archive")
		s.Press("enter")
		s.Want("enter is off until it fits")
		s.Press("esc", "R")
		s.Type("billing")
		s.Press("enter")
		s.Want("billing › run r", "RUNNING")
		s.Press("esc")
		s.Want("4 plans, 2 ready, 1 begun", "~ running")
		if runs, err := s.core.Runs(t.Context(), state.RunFilter{}); err != nil || len(runs) != 1 || runs[0].Instance != "billing" || runs[0].Environment != "prod" {
			t.Errorf("%v %v", runs, err)
		}
		s.Press("r")
		s.Want("plan again: it was begun: o shows its run")
		s.Press("o")
		s.Want("billing › run r")
		s.Press("esc", "n")
		s.Want("environment  staging  billing › plan")
		s.Press("R", "y")
		s.Want("billing › run r")
		s.Press("esc")
		s.Want("4 plans, 1 ready, 2 begun")
		s.Press("esc")
		s.Want("dbops  Fleet", "4 marked")
	})
}

func TestPlansThatCannotBeMadeAreNamedAndMadeAgain(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.core.FailPlans(0, fault.New(fault.Denied, "plan it", errors.New("not authorized")).Hint("aws sso login"))
		s.mark()
		s.Press("f")
		s.Want("4 plans, 0 ready, 0 begun, no plan: prod/archive prod/auth prod/billing staging/billing", "x no plan", "plan it: not authorized", "aws sso login")
		s.Press("enter")
		s.Want("open: there is no plan")
		s.Press("n")
		s.Want("next: no plan is ready")
		s.core.FailPlans(time.Hour, nil)
		s.Press("r")
		s.Want("~ planning")
		s.Press("ctrl+c")
		s.WantNot("~ planning")
		s.core.FailPlans(0, nil)
		s.Press("r")
		s.Want("4 plans, 1 ready, 0 begun")
	})
}

func TestAFewPlansAreMadeAtATime(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.core.FailPlans(10*time.Second, nil)
		s.Press("*", "b", "enter")
		s.Want("11 plans", "waits its turn")
		if n := len(s.core.Planned()); n != 4 {
			t.Errorf("%d plans are made at once", n)
		}
		s.Pass(31 * time.Second)
		s.Want("11 plans, 11 ready")
	})
}

func TestARotationOfSeveralChoosesTheContainersOfEach(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("/")
		s.Type("orders")
		s.Press("enter", "*", "esc", "esc", "space")
		s.Press("*", "*", "/") // none, then by hand
		s.Type("prod archive")
		s.Press("enter", "*", "/", "esc", "/")
		s.Type("orders")
		s.Press("enter", "*", "t")
		s.Want("PROTECTED prod", "older than")
		s.Type("90 dd")
		s.Press("enter")
		s.Want(`"90 dd" is no age`)
		s.Press("backspace", "backspace", "backspace")
		s.Type("d")
		s.Press("enter")
		s.Want("no plan: prod/archive", "2 ready", "no container is meant")
		for _, c := range s.core.Planned() {
			if r, ok := c.Request.(creds.RotateRequest); !ok || !slices.Equal(r.Containers, []string{"shop-mailer", "shop-reports"}) || r.Polls != creds.DefaultPolls {
				t.Errorf("asked for %+v", c)
			}
		}
		s.Press("j", "y")
		if want := "dbops creds rotate -e prod -i orders-main --older-than 90d"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
	})
}

func TestWhatIsReadBesideTheStatusHoldsUpNothing(t *testing.T) {
	play(t, 120, 40, Options{}, func(c *fake.Core) {
		mend(c)
		c.DelayLoads(time.Hour)
		c.FailWatched(time.Hour, nil)
	}, func(s *stage) {
		s.Want("orders-main    available")
		s.WantNot("43%", "in sync")
		s.Pass(46 * time.Second)
		for range 5 {
			s.Press("j")
		}
		s.Want("not read", "no answer within 45s")
		s.core.DelayLoads(0)
		s.core.FailWatched(0, nil)
		s.Press("r")
		s.Want("43%", "! 97d", "! 2", "~ 12-01")
		s.core.FailLoads("prod/orders-main", fault.New(fault.Denied, "measure it", errors.New("not authorized")).Missing("cloudwatch:GetMetricData"))
		s.core.FailWatched(0, fault.Newf(fault.Unavailable, "look", "the secret store is gone"))
		s.Pass(time.Minute)
		s.Press("r")
		s.Resize(200, 60)
		s.Want("43%", "! 97d", "not authorized", "cloudwatch:GetMetricData", "the secret store is gone")
		s.WantNot("the fleet was not read")
	})
}

func TestWhatIsReadSeldomIsReadSeldom(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		if loads, seldom := s.core.AskedLoads(), s.core.AskedWatched(); loads != 1 || seldom != 2 {
			t.Fatalf("%d readings of loads, %d of what is read seldom", loads, seldom)
		}
		s.Pass(9 * time.Minute)
		if loads, seldom := s.core.AskedLoads(), s.core.AskedWatched(); loads != 10 || seldom != 2 {
			t.Errorf("in 9 minutes %d readings of loads, %d of what is read seldom", loads, seldom)
		}
		s.Pass(2 * time.Minute)
		if seldom := s.core.AskedWatched(); seldom != 4 {
			t.Errorf("%d readings of what is read seldom", seldom)
		}
		s.Press("2")
		loads := s.core.AskedLoads()
		s.Pass(5 * time.Minute)
		if n := s.core.AskedLoads(); n != loads {
			t.Errorf("%d readings behind another page", n-loads)
		}
		s.Press("1")
		s.Press("r")
		if seldom := s.core.AskedWatched(); seldom != 6 {
			t.Errorf("%d readings after r", seldom)
		}
	})
}

func TestTheMarkedInstancesAreCompared(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("G", "space", "/")
		s.Type("prod orders")
		s.Press("enter", "*", "/", "esc")
		s.core.Fail("staging/search", fault.Newf(fault.Unavailable, "describe it", "no route"))
		s.Press("d")
		s.Want("2 instances compared: 1 drifted, 1 could not be seen")
	})
}

func TestWhatIsMeasuredNeedsAttentionFromALevelOn(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		cpu, n, used, free, lag := 0.97, 190, int64(90<<30), int64(10<<30), 2*time.Minute
		s.core.Measured("prod/billing", cloud.Load{At: night, CPU: &cpu, Connections: &n, StorageUsed: &used, StorageFree: &free, ReplicaLag: &lag})
		s.Pass(time.Minute)
		s.Press("/")
		s.Type("prod billing")
		s.Press("enter")
		s.Want("x 190/200", "x 97%", "! 90%", "! 2m")
		s.Resize(200, 60)
		s.Want("x prod/billing", "the processors are 97% busy", "190 of 200 connections are in use", "the disk is 90% full: 90 GiB of 100 GiB", "the replica is 2m behind")
		s.Pass(20 * time.Minute) // nobody measures any more: it may be well by now
		s.core.DelayLoads(time.Hour)
		s.Pass(time.Minute)
		s.WantNot("the processors are 97% busy")
		s.Want("x 97%", "! 22m ago")
	})
}

// A protected environment's rows have an edge in its colour with a letter, in every look, at every size, selected or not.
func TestARowOfAProtectedEnvironmentIsKnownByItself(t *testing.T) {
	for name, c := range map[string]struct {
		opts    Options
		profile colorprofile.Profile
	}{
		"dark": {Options{}, colorprofile.TrueColor}, "light": {Options{Background: BackgroundLight}, colorprofile.TrueColor},
		"high-contrast": {Options{Theme: "high-contrast"}, colorprofile.TrueColor}, "colour-blind": {Options{Theme: "colour-blind"}, colorprofile.TrueColor},
		"16": {Options{}, colorprofile.ANSI}, "no colour": {Options{NoColor: true}, colorprofile.TrueColor}, "ascii": {Options{ASCII: true}, colorprofile.TrueColor},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, c.opts, mend, func(s *stage) {
				s.Send(tea.ColorProfileMsg{Profile: c.profile})
				for _, size := range sizes {
					s.Resize(size.w, size.h)
					for range 11 {
						s.edged(t)
						s.Press("j")
					}
					s.Press("g")
				}
			})
		})
	}
}

// edged looks at the rows of the list: under a heading of a protected environment all have an edge, and no others.
func (s *stage) edged(t *testing.T) {
	t.Helper()
	edge, protected, rows := "", false, 0
	frame := strings.Split(s.Frame(), "\n")
	for y, line := range strings.Split(s.Screen(), "\n")[3:] {
		switch {
		case strings.HasPrefix(line, " PROTECTED  "):
			protected = true
		case strings.HasPrefix(line, " environment  "):
			protected = false
		case strings.Contains(line, "── ") || strings.Contains(line, "-- ") || strings.TrimSpace(line) == "":
			if rows == 0 {
				t.Fatalf("no rows:\n%s", s.Screen())
			}
			return
		case strings.HasPrefix(line, "  ") && (strings.Contains(line, " more") || strings.Contains(line, " above")):
		default:
			rows++
			if (line[0] == 'P') != protected {
				t.Fatalf("row %q, protected %v", line, protected)
			}
			if protected {
				before, _, _ := strings.Cut(frame[y+3], "P")
				if edge == "" {
					edge = before
				}
				if before == "" || before != edge {
					t.Fatalf("an edge of its own look: %q", frame[y+3])
				}
			}
		}
	}
}
