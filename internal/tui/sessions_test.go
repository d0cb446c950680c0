package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/fault"
	"dbops/internal/live"
)

func TestWhoBlocksIsSeenAndTerminated(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Sessions")
		s.Want("! 3 wait for locks behind 39980; 8 sessions: 5 active, 1 idle in tx", "> 39980", "! blocks 3", "x by 39980 +1")
		s.Press("x")
		s.Want("cancel: it runs no statement: t terminates it")
		s.Press("l")
		s.Want("> 39980", "! idle in tx, blocks 3", "╰ 40311", "a row of carts: Share", "carts: AccessExclusive +1")
		s.Press("enter")
		s.Want("session 39980  app_rw  cart", "! idle in tx for 7m", "7m, has changed something", "WAITING FOR IT", "HOLDS", "LAST STATEMENT", "where id = 17")
		s.Press("t")
		s.Want("orders-main › plan", "session.terminate of prod/orders-main")
		planned := s.core.Planned()
		r, ok := planned[len(planned)-1].Request.(live.Request)
		if !ok || len(r.Sessions) != 1 || r.Sessions[0].PID != 39980 || r.Sessions[0].Started.IsZero() || planned[len(planned)-1].Kind != live.TerminateKind {
			t.Errorf("planned %+v", planned)
		}
		s.Press("esc", "esc")
		s.Want("╰ 40311")
		s.Press("l")
		s.Want("LOCKS", "STATEMENT")
	})
}

func TestAStatementIsCancelledByItsBeginning(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Sessions")
		s.Press("/")
		s.Type("metabase")
		s.Press("enter")
		s.Want("> 40122", "/metabase")
		s.Press("x")
		planned := s.core.Planned()
		r, ok := planned[0].Request.(live.Request)
		if !ok || planned[0].Kind != live.CancelKind || r.Sessions[0].Asked.IsZero() {
			t.Errorf("planned %+v", planned)
		}
		s.Press("esc", "esc")
		s.Press("s")
		s.Want("sorted by age")
		if l := strings.Split(s.Screen(), "\n")[5]; !strings.Contains(l, "40122") && !strings.Contains(s.Screen(), "> 40122") {
			t.Errorf("the oldest is not first: %q", l)
		}
	})
}

func TestASessionThatHasEndedSaysSo(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Sessions")
		s.Press("enter")
		s.Want("session 39980")
		s.core.Connected(func() *live.Activity { return &live.Activity{} })
		s.Pass(3 * time.Second)
		s.Want("! it has ended; this is how it was", "session 39980")
		s.Press("t")
		s.Want("terminate: it has ended")
		s.Press("esc")
		s.Want("nobody is connected", "0 sessions")
		s.Press("l")
		s.Want("nobody waits for a lock")
	})
}

func TestSessionsThatMayNotBeSeenAreTold(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.core.Connected(func() *live.Activity {
			return &live.Activity{
				Sessions: []live.Session{{PID: 7, User: "app"}},
				Missing:  []live.Missing{{Part: "sessions", Why: "the login may not see what one session of others do", Hint: "GRANT pg_monitor to the login that reads"}},
			}
		})
		s.tab("prod", "orders-main", "Sessions")
		s.Want("! the login may not see", "next: GRANT pg_monitor", "not seen")
		s.Press("t")
		s.Want("terminate: the login may not see it")
	})
}

func TestALostServerKeepsSessionsAndFigures(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Sessions")
		s.Want("> 39980")
		lost := fault.New(fault.Unavailable, "log in to prod/orders-main", errors.New("no route to host")).Hint("is the VPN up?")
		s.core.FailLive(0, lost)
		s.Pass(3 * time.Second)
		s.Want("x the sessions could not be read: log in to prod/orders-main: no route to host", "is the VPN up?", "> 39980")
		s.Press("1")
		s.Want("x log in to prod/orders-main: no route to host", "is the VPN up?", "ENDPOINTS")
		s.core.FailLive(time.Hour, nil)
		s.Pass(3 * time.Second)
		s.Want("ENDPOINTS") // the rest does not wait for it
	})
}

func TestFiguresAreReadWhileTheOverviewIsInFront(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.Press("j", "enter")
		s.Pass(9 * time.Second)
		s.Want("LIVE", "connections", "of 500, 24 active, 7 in tx", "rolled back", "cache hits", "MiB/s", "40122 bi_ro", "! 3 sessions wait for locks", "orders-dr streaming 40ms behind", "orders 742 GiB")
		s.Press("2")
		before := s.core.Looked()
		s.Pass(10 * time.Second)
		if n := s.core.Looked(); n != before {
			t.Errorf("read %d times behind another tab", n-before)
		}
		s.Press("1")
		s.Pass(3 * time.Second)
		if n := s.core.Looked(); n < before+2 {
			t.Errorf("read %d times in front", n-before)
		}
	})
}

func TestSessionsWithoutColours(t *testing.T) {
	for _, name := range []string{"sessions", "locks", "session", "figures"} {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, mend, func(s *stage) {
				scenes[name](s)
				golden.RequireEqual(t, s.Frame())
			})
		})
	}
}
