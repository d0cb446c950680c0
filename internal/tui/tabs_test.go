package tui

import (
	"errors"
	"testing"
	"time"

	"github.com/charmbracelet/x/exp/golden"

	"dbops/internal/fault"
	"dbops/internal/tui/screen"
)

// tab opens a tab of an instance of the fake fleet, by name.
func (s *stage) tab(env, name, tab string) {
	for _, i := range s.model().instances {
		if i.Environment == env && i.Name == name {
			s.Send(screen.OpenTab{Instance: i, Tab: tab})
		}
	}
}

func TestTabsWithoutColours(t *testing.T) {
	for _, name := range []string{"availability", "backups", "drift", "tls_clients"} {
		t.Run(name, func(t *testing.T) {
			play(t, 80, 24, Options{NoColor: true}, mend, func(s *stage) {
				scenes[name](s)
				golden.RequireEqual(t, s.Frame())
			})
		})
	}
}

// What cannot be read keeps its last value and says why; what hangs holds up nothing, and can be cancelled.
func TestATabThatCannotBeReadKeepsItsValue(t *testing.T) {
	for tab, c := range map[string]struct{ what, value string }{
		"Availability": {"the availability", "regional: Multi-AZ on RDS"},
		"Drift":        {"the drift", "x 2 drifted, 1 pending"},
		"TLS":          {"the certificates", "required (rds.force_ssl=1)"},
		"Backups":      {"the backups", "before-migration-0190a1"},
		"Upgrade":      {"how the upgrade stands", "CLIENTS ARE SHUT OUT"},
	} {
		t.Run(tab, func(t *testing.T) {
			play(t, 200, 60, Options{}, mend, func(s *stage) { // where the row of tabs leaves room for the age in words
				s.tab("prod", "orders-main", tab)
				s.Want(c.value)
				s.core.Fail("prod/orders-main", fault.New(fault.Denied, "describe it", errors.New("ExpiredToken")).Hint("aws sso login"))
				s.Pass(5 * time.Second)
				s.Press("r")
				s.Want("x "+c.what+" could not be read: describe it: ExpiredToken", "next: aws sso login", "what follows is 5s old", c.value, "x ExpiredToken")
				s.core.Fail("prod/orders-main", nil)
				s.core.Delay("prod/orders-main", time.Hour)
				s.Press("r")
				s.Want("~ reading")
				s.Press("r")
				s.Want("refresh: it is being read since")
				s.Press("ctrl+c")
				s.WantNot("~ reading")
				s.core.Delay("prod/orders-main", 0)
				s.Press("r")
				s.WantNot("could not be read", "~ reading")
				s.Press("y")
				if s.Clipboard == "" {
					t.Error("nothing was copied")
				}
			})
			play(t, 80, 24, Options{}, mend, func(s *stage) {
				s.core.Fail("prod/orders-main", fault.Newf(fault.Unavailable, "describe it", "no route"))
				s.tab("prod", "orders-main", tab)
				s.Want("x " + c.what + " could not be read: describe it: no route")
				s.WantNot("what follows")
			})
			play(t, 80, 24, Options{}, mend, func(s *stage) {
				s.core.Delay("prod/orders-main", time.Hour)
				s.tab("prod", "orders-main", tab)
				s.Want("~ reading " + c.what)
				s.Press("ctrl+c")
				s.Want(c.what + " has not been read: r reads it")
			})
		})
	}
}
