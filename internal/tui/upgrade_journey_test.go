package tui

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/upgrade"
)

func TestAnUpgradeIsChosenLookedAtAndRehearsed(t *testing.T) {
	play(t, 120, 40, Options{}, func(c *fake.Core) { mend(c); c.EditPlans(blocksInPlace) }, func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Want("[7 Upgrade]", "[. choose]", "orders-main is PostgreSQL 16, becomes 18", "in place: 17", "> copy", "v looks at what stands in the way")
		s.Press("v")
		if n := len(s.core.Planned()); n != 5 {
			t.Errorf("%d ways were planned", n)
		}
		s.Want("! 1 warning", "x 1 block", "its plan says, 0s ago:")
		s.Press("G")
		s.Want("> in place", "x block  the cloud does not upgrade", "remedy: choose one that it offers in place: 17")
		s.Press("enter")
		s.Want("is not rehearsed: restore a backup")
		s.Press("e")
		s.Want("what the cloud does by itself is not rehearsed")
		s.Press("left", "g", "j")
		s.Want("> copy, catch-up")
		s.Press("m", "h", "enter")
		s.Want("becomes 17")
		s.Press("enter", "o", "ctrl+s")
		s.Want("orders-main to PostgreSQL 17, by copy, catch-up")
		s.Press("e")
		s.Want("orders-main › plan")
		got := s.core.Planned()
		last := got[len(got)-1]
		if last.Kind != upgrade.RehearseKind || !strings.Contains(textOf(last.Request), `"to":17,"catch_up":true`) {
			t.Errorf("planned %+v", last)
		}
		s.Press("y")
		if want := "dbops upgrade rehearse -e staging orders-main --to 17 --catch-up"; !strings.Contains(s.Clipboard, want) {
			t.Errorf("the command line is %q", s.Clipboard)
		}
	})
}

func TestTheOptionsOfAnUpgradeAreAskedForAndSaid(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("j", "o")
		s.Want("tables without a key", "[refuse]", "writes are carried back", "[yes]", "5s", "1m")
		s.Press("down", "down", "down", "down", "right", "down", "right", "down", "ctrl+u", "x", "ctrl+s")
		s.Want("open transactions get: a time, as in 10s or 5m")
		s.Press("ctrl+u", "0", "down", "ctrl+u", "5", "m", "ctrl+s")
		s.Want("without later writes", "followed slowly")
		s.Press("u")
		got := s.core.Planned()
		want := `{"to":18,"catch_up":true,"full_identity":true,"no_way_back":true,"grace_ns":1,"observe_ns":300000000000}`
		if last := got[len(got)-1]; textOf(last.Request) != want+"<nil>" {
			t.Errorf("planned %s", textOf(last.Request))
		}
		s.Press("y")
		if want := "dbops upgrade run -e staging orders-main --to 18 --catch-up --full-identity --no-way-back --grace 0s --observe 5m"; s.Clipboard != want {
			t.Errorf("the command line is %q", s.Clipboard)
		}
		s.Press("esc", "k", "o")
		s.Want("open transactions get", "0s", "5m")
		s.Press("ctrl+s", "u")
		got = s.core.Planned()
		if last := got[len(got)-1]; textOf(last.Request) != `{"to":18,"grace_ns":1,"observe_ns":300000000000}<nil>` { // a copy that does not follow
			t.Errorf("planned %s", textOf(last.Request))
		}
	})
}

func TestAnUpgradeStandsWhereTheJournalSays(t *testing.T) {
	for name, c := range map[string]struct {
		setup func(*fake.Core)
		want  []string
	}{
		"nothing":              {mend, []string{"[. choose]"}},
		"a rehearsal":          {func(c *fake.Core) { c.Put(c.UpgradeAt(rehearsal, upgrade.RehearseKind, "copy orders")) }, []string{"✓ choose", "[~ rehearse]", "at copy orders"}},
		"its report":           {rehearsed, []string{"✓ rehearse", "[✓ report]", "everything worked, and both sides were the same"}},
		"before the gate":      {upgrading("target"), []string{"✓ report", "[~ run]", "clients notice nothing"}},
		"at the gate":          {upgrading("cutover"), []string{"✓ run", "[! cut over]", "waits for a person"}},
		"behind it":            {upgrading("copy orders"), []string{"[~ cut over]", "CLIENTS SHUT OUT", "clients are shut out for 53s", "Do not leave it alone"}},
		"after the switch":     {upgrading("observe"), []string{"✓ cut over", "[~ observe]", "are on orders-staging-pg18"}},
		"done":                 {upgrading(""), []string{"[✓ observe]", "on orders-staging-pg18", "orders_app_a in orders", "! on orders-staging", "legacy_cron"}},
		"a rollback goes on":   {back(upgrade.RollbackKind, state.Running), []string{"✓ observe", "[~ end]"}},
		"a rollback is parked": {back(upgrade.RollbackKind, state.Parked), []string{"[! end]"}},
		"it was rolled back":   {back(upgrade.RollbackKind, state.Done), []string{"[. choose]", "was rolled back by run rback", "! orders-staging-pg18, which run " + upgraded + " made, is there still, closed to clients, and costs", "next: c plans its removal", "clean up"}},
		"it was cleaned up":    {back(upgrade.CleanupKind, state.Done), []string{"[. choose]", "was cleaned up by run rback"}},
		"interrupted": {func(c *fake.Core) {
			v := c.UpgradeAt(upgraded, upgrade.RunKind, "target")
			v.Run.Alive = false
			c.Put(v)
		}, []string{"[! run]", "interrupted: nobody works on it"}},
		"a rehearsal that failed": {func(c *fake.Core) {
			v := c.UpgradeAt(rehearsal, upgrade.RehearseKind, "")
			v.Steps[len(v.Steps)-2].Output = []byte(`{"failed":"copy carts: type box cannot be compared","hint":"drop the index carts_box"}`)
			c.Put(v)
		}, []string{"[x report]", "x statistics: copy carts: type box cannot be compared", "remedy: drop the index carts_box"}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 120, 40, Options{}, func(core *fake.Core) { mend(core); c.setup(core) }, func(s *stage) {
				s.tab("staging", "orders-main", "Upgrade")
				s.Want(c.want...)
			})
		})
	}
}

// What a rollback left is removed from where it is named, with nothing to be asked first: the old instance is in use.
func TestWhatARollbackLeftIsCleanedUp(t *testing.T) {
	play(t, 120, 40, Options{}, func(core *fake.Core) { mend(core); back(upgrade.RollbackKind, state.Done)(core) }, func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("c")
		s.Want("› plan")
		got := s.core.Planned()
		if last := got[len(got)-1]; last.Kind != upgrade.CleanupKind || textOf(last.Request) != `{"run":"`+upgraded+`"}<nil>` {
			t.Errorf("planned %s %s", last.Kind, textOf(last.Request))
		}
		s.Press("y")
		if want := "dbops upgrade cleanup -e staging orders-main"; s.Clipboard != want {
			t.Errorf("the command line is %q", s.Clipboard)
		}
	})
}

// back has an upgrade that is done, and what came after it.
func back(kind string, st state.RunState) func(*fake.Core) {
	return func(c *fake.Core) {
		upgrading("")(c)
		v := c.UpgradeAt("rback", upgrade.RunKind, "target")
		v.Run.Kind, v.Run.State, v.Run.Title = kind, st, "what came after"
		v.Run.Alive = st == state.Running
		c.Put(v)
	}
}

func textOf(request any) string {
	b, err := json.Marshal(request)
	return fmt.Sprint(string(b), err)
}

func TestAnUpgradesPageGoesOnWhenSomethingWasBegun(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("right")
		s.Want("[. rehearse]")
		s.Press("r")
		s.Want("[. rehearse]") // nothing has changed: whoever reads a stage is left there
		s.core.Put(s.core.UpgradeAt(upgraded, upgrade.RunKind, "target"))
		s.Press("r")
		s.Want("[~ run]")
	})
}

func TestTheGateIsPassedOnTheRunsPage(t *testing.T) {
	play(t, 120, 40, Options{}, upgrading("cutover"), func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("u")
		s.Want("it is under way: open its run")
		s.Press("c")
		s.Want("the upgrade has not ended")
		s.Press("t")
		s.Want("run "+upgraded, "WAITS FOR A PERSON")
		s.Press("esc")
		s.Want("[! cut over]")
		s.Press("b")
		s.Want("run "+upgraded, "undo takes it back")
	})
}

func TestAfterTheSwitchItIsRolledBackOrCleanedUpByAPlan(t *testing.T) {
	play(t, 120, 40, Options{}, upgrading(""), func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Want("v looks whether it is open now")
		s.Press("v")
		s.Want("ok  it is open")
		s.Press("b", "right", "enter")
		s.Want("orders-main › plan")
		s.Press("esc", "c", "enter")
		s.Want("orders-main › plan")
		got := s.core.Planned()
		if len(got) != 3 || got[1].Request != any(upgrade.RollbackRequest{Run: upgraded, LoseWrites: true}) || got[2].Request != any(upgrade.CleanupRequest{Run: upgraded}) {
			t.Errorf("planned %+v", got)
		}
	})
}

func TestAReportIsScrolledAndSaved(t *testing.T) {
	play(t, 80, 24, Options{}, func(c *fake.Core) { mend(c); rehearsed(c) }, func(s *stage) {
		s.tab("staging", "orders-main", "Upgrade")
		s.Want("clients will be shut out", "everything worked")
		s.Press("G")
		s.Want("Nothing of the rehearsal is left but this report")
		s.Press("s", "enter")
		s.Want("the report is in report-" + rehearsal + ".html")
		if got := s.core.Reports()["report-"+rehearsal+".html"]; got != rehearsal {
			t.Errorf("saved %v", s.core.Reports())
		}
	})
}

func TestAnUpgradeOfAPlainServerSaysWhatItNeeds(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.tab("dev", "local", "Upgrade")
		s.Want("choose the major", "not here", "nobody makes a new plain server")
		s.Press("v")
		s.Want("choose the major first (m)")
		s.Press("m")
		s.Type("9")
		s.Press("enter")
		s.Want("no major version of PostgreSQL")
		s.Press("backspace")
		s.Type("18")
		s.Press("enter")
		s.Want("becomes 18")
	})
}

func TestLookingAtWaysCanFailHangAndBeReadOnly(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.core.ForbidChanges("--read-only")
		s.core.FailPlans(0, fault.New(fault.Denied, "plan it", errors.New("not authorized")).Hint("aws sso login"))
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("v")
		s.Want("x failed", "it could not be looked at: plan it: not authorized", "next: aws sso login")
		s.core.FailPlans(time.Hour, nil)
		s.Press("v")
		s.Want("~ looking")
		s.Press("v")
		s.Want("look at each: it is being looked at")
		s.Press("ctrl+c")
		s.WantNot("~ looking")
		s.core.FailPlans(0, nil)
		s.Press("v")
		s.Want("its plan says, 0s ago", "! 1 warning")
	})
}
