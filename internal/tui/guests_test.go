package tui

import (
	"testing"

	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
	"dbops/internal/tui/screen"
	"dbops/internal/upgrade"
)

const overSSH = "over SSH that would be on the server"

// guest is somebody who has logged in to this machine.
func guest(c *fake.Core) {
	mend(c)
	rehearsed(c)
	ask(c, "a1", "staging", "migrate.up", state.Requested, nil)
	c.BeGuest("bob may not approve over SSH", overSSH)
}

func TestWhatPeopleElsewhereCannotDoSaysSoBeforehand(t *testing.T) {
	const noFile, noProxy = "no file is written from here: " + overSSH, "no proxy is opened from here: " + overSSH
	for name, c := range map[string]struct {
		at   func(*stage)
		keys []string
		want string
	}{
		"a plan is saved":            {func(s *stage) { s.Send(planOf("staging")) }, []string{"s"}, noFile},
		"a proxy is opened":          {func(s *stage) { s.tab("staging", "orders-main", "Proxy") }, []string{"t"}, noProxy},
		"a proxy's access is chosen": {func(s *stage) { s.tab("staging", "orders-main", "Proxy") }, []string{"c"}, noProxy},
		"files for clients":          {func(s *stage) { s.tab("prod", "orders-main", "TLS") }, []string{"f"}, noFile},
		"a client certificate":       {func(s *stage) { s.tab("prod", "ledger", "TLS") }, []string{"n"}, noFile},
		"the report of an upgrade":   {func(s *stage) { s.tab("staging", "orders-main", "Upgrade") }, []string{"s"}, noFile},
		"a vote by who may not":      {func(s *stage) { s.Send(screen.OpenApproval{ID: "a1"}) }, []string{"v"}, "nobody votes from here: bob may not approve over SSH"},
		"a refusal by who may not":   {func(s *stage) { s.Send(screen.OpenApproval{ID: "a1"}) }, []string{"x"}, "nobody votes from here: bob may not approve over SSH"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 200, 40, Options{}, guest, func(s *stage) {
				c.at(s)
				s.Press(c.keys...)
				s.Want(c.want)
			})
		})
	}
	play(t, 120, 40, Options{}, guest, func(s *stage) { // what changes something elsewhere is done as ever
		s.tab("staging", "orders-main", "Upgrade")
		s.Press("w", "e")
		got := s.core.Planned()
		if len(got) != 1 || got[0].Kind != upgrade.RehearseKind {
			t.Errorf("planned %+v", got)
		}
	})
}
