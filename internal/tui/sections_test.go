package tui

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"
	"github.com/charmbracelet/x/exp/golden"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/state/audit"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
)

// busyNight is what a night has brought: runs in every state, approvals, a log.
func busyNight(c *fake.Core) {
	mend(c)
	for i, r := range []state.Run{
		{ID: "r0a1b2c3d4e", Kind: "creds.rotate", Environment: "prod", Instance: "billing", Title: "rotate the credential of billing-api", Requester: "schedule@ci", State: state.Done, Step: "verify"},
		{ID: "r1b2c3d4e5f", Kind: "backup.drill", Environment: "prod", Instance: "orders-main", Title: "restore drill of prod/orders-main", Requester: "li@example.com", State: state.Failed, Step: "restore", Problem: "quota of instances reached"},
		{ID: "r2c3d4e5f6a", Kind: "availability.set", Environment: "prod", Instance: "ledger", Title: "make prod/ledger regional", Requester: "maria@example.com", State: state.Cancelled},
		{ID: "r3d4e5f6a7b", Kind: "upgrade.run", Environment: "prod", Instance: "orders-main", Title: "upgrade prod/orders-main from 16 to 17", Requester: "maria@example.com", State: state.Running, Step: "copy", Alive: true, Host: "laptop", PID: 4711},
		{ID: "r4e5f6a7b8c", Kind: "migrate.up", Environment: "staging", Instance: "orders-main", Title: "migrate orders from 41 to 44", Requester: "ci-deploy@shop-prod.iam.gserviceaccount.com", State: state.Parked, Step: "apply 44", Problem: "lock timeout on public.orders", Verbs: []string{"retry", "undo", "abandon"}, Hint: "look who holds the lock: dbops sessions locks"},
	} {
		r.Created = night.Add(-time.Duration(5-i) * 47 * time.Minute)
		r.Started, r.Updated = r.Created.Add(3*time.Second), r.Created.Add(9*time.Minute)
		if r.State.Ended() {
			r.Ended = r.Updated
		}
		c.Put(app.RunView{Run: r, Plan: c.PlanFor(app.Change{Environment: r.Environment, Instance: r.Instance, Kind: r.Kind}, r.Environment == "prod")})
	}
	ask(c, "a0f1", "staging", "availability.set", state.Used, nil)
	ask(c, "a1e2", "prod", "backup.configure", state.Refused, func(w *app.Waiting) {
		w.Approval.Votes = []state.Vote{{Actor: "li@example.com", Method: op.ViaGoogle, Verdict: "refuse", Reason: "not on a Friday", At: night.Add(-time.Hour)}}
	})
	ask(c, "a2d3", "prod", "availability.set", state.Requested, func(w *app.Waiting) {
		w.Approval.Required, w.Plan.Approvals = 2, 2
		w.Approval.Votes = []state.Vote{{Actor: "li@example.com", Method: op.ViaGoogle, Verdict: "approve", Reason: "read it with maria", At: night.Add(-4 * time.Minute)}}
	})
	c.History(12)
}

// ask puts an approval of a plan for orders-main there.
func ask(c *fake.Core, id, env, kind string, st state.ApprovalState, edit func(*app.Waiting)) app.Waiting {
	p := c.PlanFor(app.Change{Environment: env, Instance: "orders-main", Kind: kind}, env == "prod")
	p.Approvals, p.Facts = 1, []byte(`{"zone":"eu-west-1a","lag":{"seconds":3}}`)
	w := app.Waiting{Plan: p, Approval: state.Approval{
		ID: id, Requester: "maria@example.com", Required: 1, State: st, Requested: night.Add(-9 * time.Minute), Expires: night.Add(23*time.Hour + 51*time.Minute),
		Kind: kind, Environment: env, Instance: "orders-main",
	}}
	if st == state.Used {
		w.Approval.Run = "r0a1b2c3d4e"
	}
	if edit != nil {
		edit(&w)
	}
	w.Approval.PlanHash = p.Hash()
	c.Ask(w)
	return w
}

var sectionScenes = map[string]func(*stage){
	"runs":           func(s *stage) { s.Press("2") },
	"approvals":      func(s *stage) { s.Press("3") },
	"approval":       func(s *stage) { s.Press("3"); s.Press("enter") },
	"approve":        func(s *stage) { s.Press("3"); s.Press("enter"); s.Press("v"); s.Type("seen"); s.Press("enter") },
	"audit":          func(s *stage) { s.Press("4") },
	"entry":          func(s *stage) { s.Press("4"); s.Press("enter") },
	"instance_audit": func(s *stage) { s.Type("jjjjj"); s.Press("enter", "-") },
}

func TestFramesOfSections(t *testing.T) {
	for name, go1 := range sectionScenes {
		for _, size := range sizes[1:] {
			t.Run(fmt.Sprintf("%s_%dx%d", name, size.w, size.h), func(t *testing.T) {
				play(t, size.w, size.h, Options{}, busyNight, func(s *stage) {
					go1(s)
					golden.RequireEqual(t, s.Frame())
				})
			})
		}
		t.Run(name+"_no_color", func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, busyNight, func(s *stage) {
				s.Send(tea.ColorProfileMsg{Profile: colorprofile.TrueColor})
				go1(s)
				golden.RequireEqual(t, s.Frame())
			})
		})
	}
}

func TestEverySizeOfSectionsFits(t *testing.T) {
	for name, go1 := range sectionScenes {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, Options{}, busyNight, func(s *stage) {
				go1(s)
				for w := 60; w <= 210; w += 15 {
					for _, h := range []int{15, 19, 28, 47} {
						s.Resize(w, h)
						s.Frame()
					}
				}
			})
		})
	}
}

func TestSectionsAreReachedByTheirKeysAndLeadBackToTheFleet(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Want("[1 Fleet]", "2 Runs (! 2)", "3 Approvals (1)")
		s.Press("2")
		s.Want("[2 Runs (! 2)]", "1 run for a person to decide, 1 more under way")
		s.Press("tab")
		s.Want("[3 Approvals (1)]")
		s.Press("]")
		s.Want("[4 Audit]", "the chain is whole: 12 entries")
		s.Press("]")
		s.Want("[1 Fleet]")
		s.Press("[", "esc")
		s.Want("[1 Fleet]")
		s.Press("2", "3", "4", "q")
		s.Want("[1 Fleet]")
		s.Press("enter", "2") // the tab of an instance
		s.Want("[2 Proxy]")
	})
}

func TestRunsAreListedWhatWaitsFirst(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press("2")
		order := []string{"! parked", "~ running", "r0a1b2c3d4e"}
		at := 0
		for _, want := range order {
			i := strings.Index(s.Screen(), want)
			if i < at {
				t.Errorf("%q is not where it belongs:\n%s", want, s.Screen())
			}
			at = i
		}
		s.Press("/")
		s.Type("upgrade")
		s.Press("enter")
		s.Want("/upgrade  1 of 5 runs", "[2 Runs")
		s.Press("enter")
		s.Want("orders-main › run r3d4e5f6a7b")
		s.Press("esc", "esc", "s", "s")
		s.Want("by state")
		s.Press("g", "i")
		s.Want("environment  staging  orders-main")
	})
}

func TestAListThatCannotBeReadKeepsWhatItKnewAndSaysWhy(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press("4")
		s.Want("12 entries are what maria@laptop signed")
		s.core.FailLog(fault.New(fault.Unavailable, "open the state", errors.New("connection refused")).Hint("start the VPN"))
		s.Press("r")
		s.Want("x the log could not be read: open the state: connection refused", "next: start the VPN", "creds.rotate")
		s.core.FailLog(nil)
		s.core.HangLog(true)
		s.Press("r", "2", "3") // nothing waits for it
		s.Want("[3 Approvals")
		s.Press("1")
		s.Pass(time.Minute)
		s.Want("2 Runs (! 2?)")
		s.core.HangLog(false)
		s.Pass(time.Minute)
		s.Want("2 Runs (! 2)")
	})
}

func TestWhatWaitsIsToldOnceWhereverThePersonIs(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		if s.Raw != "" {
			t.Fatalf("what waited before the start rang: %q", s.Raw)
		}
		s.Press("enter", "p")
		s.core.Play("r3d4e5f6a7b", state.Event{}, func(v *app.RunView) { v.Run.State, v.Run.Step = state.Gate, "cutover" })
		s.Pass(20 * time.Second)
		if want := "\a\x1b]9;dbops: run r3d4e5f6a7b waits for a person (gate): upgrade prod/orders-main from 16 to 17\a"; s.Raw != want {
			t.Errorf("rang %q", s.Raw)
		}
		s.Press("M")
		s.Want("run r3d4e5f6a7b waits for a person (gate)")
		s.Pass(time.Minute)
		ask(s.core, "a9", "staging", "migrate.up", state.Requested, nil)
		ask(s.core, "a8\x1b[2J", "staging", "migrate.up", state.Requested, nil)
		s.Pass(20 * time.Second)
		if strings.Count(s.Raw, "\x1b") != 2 || !strings.Contains(s.Raw, "approval a8?[2J is asked for by maria@example.com: migrate.up of staging/orders-main, and 1 more") {
			t.Errorf("rang %q", s.Raw)
		}
		s.core.Play("r3d4e5f6a7b", state.Event{}, func(v *app.RunView) { v.Run.State = state.Running })
		s.Pass(20 * time.Second)
		s.core.Play("r3d4e5f6a7b", state.Event{}, func(v *app.RunView) { v.Run.State = state.Gate })
		before := len(s.Raw)
		s.Pass(20 * time.Second)
		if len(s.Raw) == before {
			t.Error("a run that waits again is not told")
		}
	})
	play(t, 120, 40, Options{NoBell: true}, busyNight, func(s *stage) {
		ask(s.core, "a9", "staging", "migrate.up", state.Requested, nil)
		s.Pass(20 * time.Second)
		s.Want("approval a9 is asked for")
		if s.Raw != "" {
			t.Errorf("rang %q", s.Raw)
		}
	})
}

func TestAnApprovalIsReadThenGiven(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press("3")
		s.Want("! waits", "1 of 2", "1 request without an answer")
		s.Press("v") // nobody approves what is not open
		s.WantNot("approve a2d3")
		s.Press("enter")
		s.Want("PROTECTED  prod  orders-main › approval a2d3", "waits: 1 of 2 others said yes", "read it with maria", "THE PLAN", "! warn  the maintenance window")
		s.Press("v")
		s.Type("looked at it")
		s.Press("enter")
		s.Want("PROTECTED prod", "CLI  dbops approvals approve a2d3 --reason 'looked at it'", "Type orders-main to go on:")
		s.Press("y", "enter")
		s.Want("is off until it fits")
		s.Press("backspace")
		s.Type("orders-main")
		s.Press("enter")
		s.Want("a2d3 is approved: it can be run (R)", "approved: it can be run, once")
		s.Press("v")
		s.Want("approve: it is approved already")
		s.Press("R")
		s.Want("CLI  dbops apply a2d3 --confirm orders-main")
		s.Type("orders-main")
		s.Press("enter")
		s.Want("orders-main › run r", "RUNNING")
		s.Press("esc", "esc", "esc")
		s.Want("[1 Fleet]")
	})
}

func TestARefusalNeedsAReason(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press("3")
		s.Press("enter")
		s.Press("x", "enter")
		s.Want("x reason is needed")
		s.Type("wrong window")
		s.Press("enter", "enter")
		s.Want("has to make another plan then.")
		s.Press("y")
		s.Want("a2d3 is refused", "wrong window")
	})
}

func TestWhatTheEngineRefusesIsShownWithItsHint(t *testing.T) {
	play(t, 80, 24, Options{}, busyNight, func(s *stage) {
		s.core.FailVotes(fault.Newf(fault.Unapproved, "approve a2d3", "maria@example.com asked for it, and somebody else has to approve").Hint("somebody else: dbops approvals approve a2d3"))
		s.Press("3")
		s.Press("enter")
		s.Press("v", "enter")
		s.Type("orders-main")
		s.Press("enter")
		s.Want("x it was not taken: approve a2d3: maria@example.com asked for it, and", "next: somebody else: dbops approvals approve a2d3", "! waits: 1 of 2")
	})
}

func TestApprovalsThatTakeNoVoteSayWhy(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*app.Waiting)
		key  string
		want string
	}{
		"expired":         {func(w *app.Waiting) { w.Approval.Expires, w.Approval.Expired = night, true }, "v", "it has expired"},
		"not approved":    {nil, "R", "0 of 1 other approved it"},
		"another version": {func(w *app.Waiting) { w.Plan = nil }, "v", "it can only be refused"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, Options{}, mend, func(s *stage) {
				w := ask(s.core, "a1", "staging", "migrate.up", state.Requested, nil)
				if c.edit != nil {
					c.edit(&w)
				}
				s.core.Ask(w)
				s.Send(screen.OpenApproval{ID: "a1"})
				s.Press(c.key)
				s.Want(c.want)
			})
		})
	}
	play(t, 80, 24, Options{}, busyNight, func(s *stage) {
		s.core.ForbidChanges("--read-only")
		s.Press("3")
		s.Press("enter")
		s.Press("v")
		s.Want("nothing is changed from here: --read-only")
	})
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Send(screen.OpenApproval{ID: "gone"})
		s.Want("x the approval could not be read", "dbops approvals list --all")
	})
}

func TestAPlanIsComparedWithTheOneThatWasLookedAt(t *testing.T) {
	play(t, 120, 60, Options{}, mend, func(s *stage) {
		ask(s.core, "a1", "staging", "availability.set", state.Refused, nil)
		s.Press("3")
		s.Press("enter")
		s.WantNot("SINCE YOU LOOKED")
		s.Press("esc", "1")
		w := ask(s.core, "a2", "staging", "availability.set", state.Requested, nil)
		w.Plan.Findings = append(w.Plan.Findings[:1:1], op.Finding{Severity: op.Warn, Text: "a long query runs"})
		w.Plan.Changes = append(w.Plan.Changes[:1:1], op.Change{Setting: "class", From: "small", To: "large"})
		w.Plan.Facts = []byte(`{"zone":"eu-west-1a","lag":{"seconds":40}}`)
		w.Approval.PlanHash = w.Plan.Hash()
		s.core.Ask(w)
		s.Press("3")
		s.Press("enter")
		s.Want("approval a2", "SINCE YOU LOOKED AT PLAN", "+ finding (warn): a long query runs", "- finding (warn): the maintenance window is 4 hours away",
			"+ change: class small -> large", "- change: zone eu-west-1a -> eu-west-1a, eu-west-1b", "~ fact: lag.seconds was 3, is 40")
	})
}

func TestOlderEntriesAreReadWhenTheEndIsReached(t *testing.T) {
	play(t, 120, 40, Options{}, func(c *fake.Core) { mend(c); c.History(450) }, func(s *stage) {
		s.Press("4")
		s.Press("/")
		s.Type("!nothing")
		s.Press("enter")
		s.Want("200 of 200 entries")
		s.Press("G")
		s.Want("400 of 400")
		s.Press("G")
		s.Want("450 of 450")
		s.Press("G")
		s.Want("this is the first entry")
		s.core.History(3)
		s.Press("r")
		s.Want("453 of 453")
		s.core.History(300) // more than one reading brings
		s.Press("r")
		s.Want("200 of 200")
		s.Press("g", "enter")
		s.Want("audit › entry 752", "request id", "CHANGES", "active slot", "leaf hash")
		s.Press("esc")
		s.Want("[4 Audit]")
	})
}

func TestAnInstanceHasItsOwnEntries(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Type("jjjjj")
		s.Press("enter", "-")
		s.Want("[- Audit]", "creds.rotate")
		s.WantNot("migrate.up")
		s.Press("Y")
		if s.Clipboard != "dbops audit list --target prod/orders-main" {
			t.Errorf("copied %q", s.Clipboard)
		}
	})
}

func TestALogThatWasManipulatedCannotBeOverlooked(t *testing.T) {
	play(t, 80, 24, Options{}, busyNight, func(s *stage) {
		s.Press("4")
		s.core.DamageLog(func(r *audit.Report) {
			r.Problems, r.Found, r.FirstBad = []audit.Problem{{Seq: 3, Text: "entry 3 is not what was signed"}}, 1, 3
		})
		s.Press("v")
		s.Want("x THE LOG IS NOT WHAT WAS SIGNED: entry 3 is not what was signed", "next: keep a copy of the store", "chain BROKEN", "the audit log is not what was signed")
	})
}

func TestAClickSelectsWhatItIsOn(t *testing.T) {
	for key, want := range map[string]string{"2": "> ~ running", "3": ">   used", "4": "> 11-21 02:58:04"} {
		play(t, 120, 40, Options{}, busyNight, func(s *stage) {
			s.Press(key)
			row := 4
			if key == "4" {
				row = 5 // below the state of the chain
			}
			s.Send(tea.MouseClickMsg{X: 10, Y: row, Button: tea.MouseLeft})
			s.Want(want)
			s.Send(tea.MouseClickMsg{X: 3, Y: 1, Button: tea.MouseLeft})
			s.Want("[1 Fleet]")
		})
	}
}
