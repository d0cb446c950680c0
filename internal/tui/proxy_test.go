package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dbops/internal/app"
	"dbops/internal/config"
	"dbops/internal/fault"
	"dbops/internal/proxy"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/sessions"
)

func TestWhoMayChangeNothingChoosesNoSuchAccess(t *testing.T) {
	play(t, 120, 40, Options{}, func(c *fake.Core) { c.ForbidChanges("--read-only") }, func(s *stage) {
		s.Want("READ-ONLY")
		s.Press("p", "c", "w")
		s.Want("nothing is changed from here: --read-only")
		s.Press("esc", "esc")
		s.WantNot("WRITE")
	})
}

func TestReadingAProtectedEnvironmentIsNotAsked(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("p", "t")
		s.Want("listening on 127.0.0.1:6432", "READ-ONLY", "proxy of prod listens on 127.0.0.1:6432, access read")
		if got := s.core.Proxies()[0].Access(); got != config.Read {
			t.Errorf("access %q", got)
		}
	})
}

func TestWritingToAProtectedEnvironmentIsConfirmedByYAlone(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("p", "c", "m", "t")
		s.Want("Open prod for admin", "PROTECTED prod", "Why is it opened for admin?")
		s.Press("enter", "space", "enter") // that is no reason
		s.Type("ticket 4711")
		s.Press("enter")
		s.Want("Open prod for admin", "PROTECTED prod", "CLI  dbops proxy -e prod --access admin --reason", "ends by itself after 30 minutes")
		s.Press("enter", "space", "t", "Y")
		s.Want("Open prod for admin")
		s.Press("esc")
		s.WantNot("Open prod for admin")
		if n := len(s.core.Proxies()); n != 0 {
			t.Fatalf("%d proxies were opened without a yes", n)
		}
		s.Press("t")
		s.Type("ticket 4711")
		s.Press("enter", "y")
		s.Want("listening", " ADMIN ")
	})
}

func TestWritingToAnotherEnvironmentIsNotAsked(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("G", "p", "c", "w", "t")
		s.Want("environment  staging  proxy", "listening", " WRITE ")
	})
}

func TestTheURIIsCopiedWholeAndNeverShown(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.open()
		s.Press("1", "G", "y")
		if want := "postgresql://dbops:" + fake.Password + "@127.0.0.1:6432/carts"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Want("postgresql://dbops:****@127.0.0.1:6432/carts", "copied the URI of carts (with its password)")
		s.WantNot(fake.Password)
		s.Press("M")
		s.WantNot(fake.Password)
	})
}

func TestStoppingAsksOnlyWhenSomebodyWouldBeCutOff(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.Press("p", "t")
		s.Press("t")
		s.Want("proxy of prod closed", "not started")
		s.Press("t")
		p := s.core.Proxies()[1]
		s.core.Proxies()[0].DrainFor(time.Hour) // the one that is closed
		p.DrainFor(3 * time.Second)
		p.Connect(fakeClient)
		s.Pass(time.Second)
		s.Press("t")
		s.Want("Stop the proxy of prod", "1 client is still connected")
		s.Press("enter", "esc")
		if p.Closes() != 0 {
			t.Fatal("closed without a yes")
		}
		s.Press("t", "y")
		s.Want("~ draining")
		s.Press("t")
		s.Want("it is draining")
		s.Pass(4 * time.Second)
		s.Want("not started", "proxy of prod closed")
		if p.Closes() != 1 {
			t.Errorf("closed %d times", p.Closes())
		}
		s.Press("3")
		s.Want("drain", "no new clients") // the log outlives the proxy
	})
}

func TestAConnectionIsCutAfterAYes(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		p := s.core.Proxies()[0]
		s.Press("2", "j", "x")
		s.Want("Cut connection 2", "DBeaver 24.1.2 from 127.0.0.1:51001 on database orders as", "oncall_ro, idle, connected for 6s")
		s.Press("x", "enter")
		if n := p.Totals().Open; n != 3 {
			t.Fatalf("%d connections are left before the yes", n)
		}
		s.Press("y")
		s.Pass(time.Second)
		s.Want("connection 2 cut")
		s.WantNot("> DBeaver")
		if n := p.Totals().Open; n != 2 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestAConnectionThatEndedMeanwhileIsToldSo(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		s.Press("2", "x")
		s.core.Proxies()[0].Kill(1)
		s.Press("y")
		s.Want("connection 1 had already ended")
	})
}

func TestTrafficIsMeasured(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("p", "t")
		p := s.core.Proxies()[0]
		id := p.Connect(fakeClient)
		s.Pass(time.Second)
		for range 4 {
			p.Traffic(id, 2048, 3<<20, "active")
			s.Pass(time.Second)
		}
		s.Press("2")
		l := s.Line("psql")
		for _, want := range []string{"active", "8.0 KiB", "12 MiB", "2.0 KiB", "3.0 MiB"} {
			if !strings.Contains(l, want) {
				t.Errorf("no %q in %q", want, l)
			}
		}
		if l := s.Line("traffic"); !strings.Contains(l, "2.0 KiB/s") || !strings.Contains(l, "3.0 MiB/s") || !strings.Contains(l, "████") {
			t.Errorf("got %q", l)
		}
	})
}

func TestAProxyThatEndsByItselfIsNotMissed(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		s.Press("esc")
		s.core.Proxies()[0].End("accept: too many open files")
		s.Pass(time.Second)
		s.Want("x proxy of prod ended")
		s.WantNot("PROTECTED  prod   proxy")
		s.Press("p")
		s.Want("it ended by itself", "read its events, then start it again")
		s.Press("3")
		s.Want("too many open files")
		s.Press("t")
		s.Want("listening")
	})
}

func TestAStartThatFailsSaysWhyAndCanBeRepeated(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.FailOpen(0, fault.New(fault.Busy, "open the proxy of prod", errors.New("listen tcp 127.0.0.1:6432: address already in use")).
			Hint("another dbops has it: lsof -i :6432"))
		s.Press("p", "t")
		s.Want("listen tcp 127.0.0.1:6432: address", "already in use", "lsof -i :6432")
		s.core.FailOpen(0, nil)
		s.Press("t")
		s.Want("listening")
	})
}

func TestAStartCanBeCancelled(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.FailOpen(time.Hour, nil)
		s.Press("p", "t")
		s.Want("~ starting")
		s.Pass(3 * time.Second)
		s.Want("~ starting for 3s")
		s.Press("t")
		s.Want("start of the proxy of prod cancelled", "not started")
		if n := len(s.core.Proxies()); n != 0 {
			t.Errorf("%d proxies were opened", n)
		}
	})
}

func TestQuittingWithClientsAsksDrainsAndThenQuits(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		p := s.core.Proxies()[0]
		p.DrainFor(3 * time.Second)
		s.Press("q")
		s.Want("proxy 127.0.0.1:6432, access read, 3 clients")
		s.Press("ctrl+z")
		s.Want("suspend: it would freeze 1 proxy with 3 clients")
		s.Press("q")
		s.Want("This closes 1 proxy with 3 clients")
		s.Press("esc", "q", "y")
		s.Want("closing 1 proxy with 3 clients", "ctrl+c quit at once")
		if s.Quit {
			t.Fatal("quit before the proxy had closed")
		}
		s.Press("p") // too late for anything else
		s.Want("dbops  Fleet")
		s.Pass(4 * time.Second)
		if !s.Quit || p.Closes() != 1 {
			t.Errorf("quit %v, closed %d times", s.Quit, p.Closes())
		}
	})
}

func TestAnImpatientPersonDoesNotWaitForTheDrain(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.open()
		s.core.Proxies()[0].DrainFor(time.Hour)
		s.Press("ctrl+c")
		s.Want("ctrl+c again quits and closes 1 proxy with 3 clients")
		s.Press("ctrl+c")
		s.Want("closing 1 proxy")
		if s.Quit {
			t.Fatal("did not wait at all")
		}
		s.Press("ctrl+c")
		if !s.Quit || !s.model().hurried {
			t.Fatal("the third ctrl+c does not quit")
		}
		s.keeper.Hurry() // as Run does; else the bubble would wait for an hour
		s.Settle()
	})
}

func TestStartingTheSameProxyTwiceStartsOne(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.FailOpen(time.Second, nil)
		s.Press("p")
		s.Send(startMsg("prod"))
		s.Send(startMsg("prod"))
		s.Pass(2 * time.Second)
		if n := len(s.core.Proxies()); n != 1 {
			t.Errorf("%d proxies were opened", n)
		}
		if st := s.model().proxies.States()["prod"]; st.Phase != sessions.Running {
			t.Errorf("phase %d", st.Phase)
		}
	})
}

var fakeClient = proxy.Connection{Client: "127.0.0.1:51234", Application: "psql", Database: "orders", User: "oncall_ro", State: "idle"}

func startMsg(env string) screen.StartProxy {
	return screen.StartProxy{Options: app.ProxyOptions{Environment: env}}
}
