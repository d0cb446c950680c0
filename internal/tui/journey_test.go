package tui

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"charm.land/bubbles/v2/key"
	tea "charm.land/bubbletea/v2"

	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
)

func TestEnterOpensAndEscGoesBackButNeverQuits(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Want("PROTECTED  prod", "> archive")
		s.Press("j", "enter")
		s.Want("PROTECTED  prod  auth", "[1 Overview]")
		s.Press("p")
		s.Want("PROTECTED  prod  auth", "[2 Proxy]", "not started")
		s.Press("1")
		s.Want("[1 Overview]")
		s.Press("esc", "esc", "esc")
		s.Want("dbops  Fleet", "> auth")
		if s.Quit {
			t.Fatal("esc quit the program")
		}
		s.Press("q")
		if !s.Quit {
			t.Fatal("q on the first page does not quit")
		}
	})
}

func TestAnEnvironmentIsNamedAboveItsRowsEvenWhenItHasScrolledAway(t *testing.T) {
	play(t, 60, 15, Options{}, mend, func(s *stage) {
		s.Type("jjjj")
		s.Want("> ledger", "PROTECTED  prod")
		s.Press("G")
		s.WantNot("PROTECTED")
		s.Want("environment  staging")
	})
}

func TestTheFilterNarrowsKeepsAndClears(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("/")
		s.Type("orders")
		if c := s.View().Cursor; c == nil || c.X != 1+len("/orders") || c.Y != 1 {
			t.Errorf("the cursor is at %v", c)
		}
		s.Want("2 of 11 instances")
		s.Press("enter") // keeps it, opens nothing
		s.Want("dbops  Fleet", "/orders")
		s.Press("j", "enter")
		s.Want("staging  orders-main")
		s.Press("esc")
		s.Want("/orders")
		s.Press("esc")
		s.WantNot("of 11 instances")
		s.Want("billing")
		s.Press("/")
		s.Send(tea.PasteMsg{Content: "zzz"})
		s.Want("no instance matches the filter")
		s.Press("q") // a letter like any other
		s.Want("/zzzq")
		s.Press("esc")
		s.Want("> archive")
	})
}

func TestSortingKeepsEnvironmentsTogetherAndTheSelection(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("j")
		s.Press("s")
		s.Want("sorted by state", "> auth")
		screen := s.Screen()
		if strings.Index(screen, "events") > strings.Index(screen, "archive  ") {
			t.Errorf("an unreachable instance does not come first:\n%s", screen)
		}
		for _, c := range []struct{ by, first string }{
			{"connections", "orders-main"},
			{"CPU", "billing"},
			{"disk", "archive"},
			{"replica lag", "archive"},
			{"certificate", "archive"},
			{"age of credentials", "orders-main"},
			{"drift", "orders-main"},
			{"region", "archive"},
		} {
			s.Press("s")
			s.Want("sorted by "+c.by, "> auth")
			if l := strings.Split(s.Screen(), "\n")[4]; !strings.Contains(l, c.first) {
				t.Errorf("by %s the first is %q", c.by, l)
			}
		}
		s.Press("S")
		s.Want("sorted by drift")
		s.Press("s", "s")
		s.WantNot("sorted by")
	})
}

func TestTheFleetIsReadAgainAndAgainButNotBehindAnotherPage(t *testing.T) {
	play(t, 80, 24, Options{RefreshEvery: 10 * time.Second}, mend, func(s *stage) {
		if n := s.core.Asked(); n != 1 {
			t.Fatalf("asked %d times at the start", n)
		}
		s.Pass(31 * time.Second)
		if n := s.core.Asked(); n != 4 {
			t.Fatalf("asked %d times in 31 s", n)
		}
		s.Press("p") // the proxy's page reads nothing
		s.Pass(35 * time.Second)
		if n := s.core.Asked(); n != 4 {
			t.Fatalf("asked %d times behind another page", n-4)
		}
		s.Press("esc")
		if n := s.core.Asked(); n != 5 {
			t.Fatalf("asked %d times on coming back", n-4)
		}
		s.Want("as of 0s ago")
	})
}

func TestLeavingAPageCancelsWhatItReads(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.Delay("prod/archive", time.Hour)
		s.Press("enter")
		if n := s.core.Waiting(); n != 1 {
			t.Fatalf("%d instances are being read", n)
		}
		s.Want("~ reading")
		s.Press("esc")
		if n := s.core.Waiting(); n != 0 {
			t.Fatalf("%d instances are still being read", n)
		}
	})
}

func TestASlowInstanceHoldsUpNoOtherAndIsGivenUp(t *testing.T) {
	play(t, 120, 40, Options{}, func(c *fake.Core) { c.Fail("prod/auth", nil); c.Delay("prod/ledger", time.Hour) }, func(s *stage) {
		if l := s.Line("ledger"); !strings.Contains(l, "asking") {
			t.Errorf("got %q", l)
		}
		if l := s.Line("orders-main"); !strings.Contains(l, "available") {
			t.Errorf("got %q", l)
		}
		s.Pass(46 * time.Second)
		if l := s.Line(" ledger"); !strings.Contains(l, "x unreachable") {
			t.Errorf("got %q", l)
		}
		s.Want("no answer within 45s")
	})
}

func TestAFailureKeepsTheLastValuesWithTheirAgeAndTheReason(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Pass(2 * time.Second)
		s.core.Fail("prod/auth", fault.New(fault.Throttled, "describe instance prod/auth", errors.New("Rate exceeded")).Hint("wait a minute"))
		s.Press("r")
		s.Pass(5 * time.Second)
		l := s.Line("auth  ")
		for _, want := range []string{"x throttled", "rds 14.12", "200d", "! 7s"} {
			if !strings.Contains(l, want) {
				t.Errorf("no %q in %q", want, l)
			}
		}
		s.Want("x prod/auth", "Rate exceeded", "next: wait a minute")
		s.core.Fail("prod/auth", nil)
		s.Press("r")
		s.WantNot("throttled", "Rate exceeded")
	})
}

func TestCtrlCCancelsFirstAndQuitsTheSecondTime(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.Delay("prod/ledger", time.Hour)
		s.Press("r")
		s.Want("~ reading")
		s.Press("?", "ctrl+c")
		s.WantNot("~ reading", "Keys of")
		s.Want("ctrl+c again quits")
		if n := s.core.Waiting(); n != 0 {
			t.Errorf("%d instances are still being read", n)
		}
		s.Pass(3 * time.Second)
		s.Press("ctrl+c")
		if s.Quit {
			t.Fatal("a ctrl+c after three seconds counts as the second")
		}
		s.Press("ctrl+c")
		if !s.Quit {
			t.Fatal("the second ctrl+c does not quit")
		}
	})
}

func TestAnErrorOfTheConfigurationIsShownWithItsHintAndCanBeRetried(t *testing.T) {
	play(t, 80, 24, Options{}, func(c *fake.Core) {
		c.FailLoad(fault.Newf(fault.Config, "read dbops.yaml", "line 12: unknown key").Hint("did you mean instances?"))
	}, func(s *stage) {
		s.Want("x the configuration cannot be read", "line 12: unknown key", "next: did you mean instances?")
		s.Press("enter", "p") // nothing to open
		s.Want("the configuration cannot be read")
		s.core.FailLoad(nil)
		s.Press("r")
		s.Want("PROTECTED  prod", "available")
	})
}

func TestMessagesLeaveFailuresStay(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("y")
		s.Want("copied the address of prod/archive: archive-prod.c1x2y3")
		if want := "archive-prod.c1x2y3.eu-west-1.rds.amazonaws.com:5432"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Pass(9 * time.Second)
		s.WantNot("copied the address")
		s.Send(screen.Notice{Text: "it broke", Err: fault.Newf(fault.Denied, "do it", "no").Hint("ask maria")})
		s.Pass(time.Minute)
		s.Want("x it broke: no")
		s.Press("esc")
		s.WantNot("it broke")
		s.Press("M")
		s.Want("it broke: no", "hint: ask maria", "copied the address")
		s.Press("y")
		if want := "it broke: no\nhint: ask maria"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("esc")
		broke := func() {
			s.Send(screen.Notice{Text: "it broke again", Err: errors.New("no")})
			s.Want("x it broke again")
		}
		broke()
		s.Send(screen.Notice{Text: "written"}) // by another try
		s.Want("written")
		s.Pass(9 * time.Second)
		s.WantNot("it broke again")
		broke()
		s.Press("M", "esc") // seen
		s.WantNot("it broke again")
	})
}

func TestEveryPageTellsItsCommandLine(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		for _, c := range []struct{ keys, want string }{
			{"Y", "dbops status"},
			{"enter Y", "dbops status -e prod archive"},
			{"o Y", "dbops status -e prod archive -o json"},
			{"p Y", "dbops proxy -e prod"},
			{"c w Y", "dbops proxy -e prod --access write"},
			{"t 4 2 enter Y", "dbops proxy -e prod --access write --reason 42"}, // in the confirmation
		} {
			s.Press(strings.Fields(c.keys)...)
			if s.Clipboard != c.want {
				t.Errorf("%s copied %q, want %q", c.keys, s.Clipboard, c.want)
			}
		}
	})
}

func TestThePaletteGoesPlacesAndSaysWhyNot(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press(":")
		s.Type("go staging orders")
		s.Press("enter")
		s.Want("environment  staging  orders-main")
		s.Press("ctrl+p")
		s.Type("go to proxy prod")
		s.Press("enter")
		s.Want("PROTECTED  prod  proxy")
		s.Press(":")
		s.Type("cut")
		s.Want("! go to the connections first (l)")
		s.Press("enter")
		s.Want("Command") // it stays
		s.Press("esc", ":")
		s.Type("go to the fleet")
		s.Press("enter")
		s.Want("dbops  Fleet")
	})
}

func TestAKeyThatCannotRunSaysWhy(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("p", "y")
		s.Want("copy URI: the proxy is not open")
		if s.Clipboard != "" {
			t.Errorf("copied %q", s.Clipboard)
		}
	})
}

func TestHelpNamesEveryKeyAndCanBeSearched(t *testing.T) {
	play(t, 200, 60, Options{}, mend, func(s *stage) {
		for _, go1 := range []string{"", "enter", "p"} {
			if go1 != "" {
				s.Press(go1)
			}
			m := s.model()
			s.Press("?")
			for _, a := range append(m.top().Actions(m.scene()), m.globals()...) {
				if shown := strings.Fields(a.Key.Help().Key); len(shown) > 0 { // else the menu and the palette offer it
					s.Want(shown[0] + " ")
				}
				s.Want(a.Title)
			}
			s.Press("/")
			s.Type("redraw")
			s.Want("draw the screen again")
			s.WantNot("half a page down")
			s.Press("enter", "esc", "esc")
			s.WantNot("draw the screen again")
		}
	})
}

func TestNoKeyMeansTwoThings(t *testing.T) {
	for name, go1 := range scenes {
		play(t, 80, 24, Options{}, mend, func(s *stage) {
			go1(s)
			m := s.model()
			seen := map[string]string{}
			for _, a := range m.top().Actions(m.scene()) {
				for _, k := range a.Key.Keys() {
					if other := seen[k]; other != "" && a.Off == "" {
						t.Errorf("%s: %q is %s and %s", name, k, other, a.ID)
					}
					if a.Off == "" {
						seen[k] = a.ID
					}
				}
			}
			for _, g := range m.globals() {
				for _, k := range g.Key.Keys() {
					if other := seen[k]; other != "" && k != "esc" && !m.top().Captures() {
						t.Errorf("%s: %q is %s and %s", name, k, other, g.ID)
					}
				}
			}
		})
	}
}

func TestAnActionThatChangesSomethingNeverSharesItsKeyWithAYes(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		s.Press("2")
		m := s.model()
		for _, a := range append(m.top().Actions(m.scene()), m.globals()...) {
			if a.Write && key.Matches(tea.KeyPressMsg{Code: 'y', Text: "y"}, a.Key) {
				t.Errorf("%s is on y, which confirms", a.ID)
			}
			if a.Write && slices.Contains(a.Key.Keys(), "enter") {
				t.Errorf("%s is on enter, which never changes anything", a.ID)
			}
		}
	})
}

func TestTheBackgroundOfTheTerminalDecidesTheTheme(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		dark := s.Frame()
		s.Send(tea.BackgroundColorMsg{Color: white{}})
		if s.Frame() == dark {
			t.Error("a light background changes nothing")
		}
		if !s.model().theme.Options().Light {
			t.Error("the theme is dark on a light background")
		}
	})
}

type white struct{}

func (white) RGBA() (r, g, b, a uint32) { return 0xffff, 0xffff, 0xffff, 0xffff }

func TestWhatNobodyKnowsIsIgnored(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		before := s.Frame()
		s.Send(struct{ x int }{1})
		s.Send(tea.FocusMsg{})
		if s.Frame() != before {
			t.Error("an unknown message changed the screen")
		}
	})
}

func TestAWriteProxyIsToldOnEveryPage(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("p", "c", "w", "t", "enter") // no reason, no proxy
		s.Want("Why is it opened for write?")
		s.Type("ticket 4711")
		s.Press("enter", "y")
		s.Want("listening", " WRITE ")
		if got := s.core.Proxies()[0].Access(); got != config.Write {
			t.Errorf("access %q", got)
		}
		s.Press("esc")
		s.Want("WRITE proxy prod", "access write, 0 clients")
		s.Press("G", "enter")
		s.Want("environment  staging  search", "WRITE proxy prod")
		s.Press("esc", "g", "enter")
		s.Want("WRITE PROXY OPEN")
		s.Press("6", "f") // on a plan, too, which has a word of its own
		s.Want("WRITE PROXY OPEN", "PLAN")
	})
}
