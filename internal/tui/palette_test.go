package tui

import (
	"errors"
	"testing"
	"time"

	"dbops/internal/tui/page/instance"
	"dbops/internal/tui/screen"
)

func TestThePaletteFindsCommandsByTheirWords(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press(":")
		s.Type("backup drill")
		s.Want("> backup drill", "CLI  dbops backup drill -e ENV INSTANCE")
		s.Press("enter")
		s.Want("backup drill: of which instance?")
		s.Type("staging orders")
		s.Want("> staging/orders-main", "CLI  dbops backup drill -e staging orders-main")
		s.Press("enter")
		s.Want("environment  staging  orders-main", "[8 Backups]", "Drill a restore of orders-main") // of what was still to be read when it was asked for
		if n := len(s.core.Planned()); n != 0 {
			t.Errorf("%d plans were made", n)
		}
	})
	play(t, 120, 40, Options{}, busyNight, func(s *stage) { // who does something else meanwhile does not mean it any more
		s.core.FailCredentials(5*time.Second, nil)
		rotate := func() {
			s.Press(":")
			s.Type("creds rotate")
			s.Press("enter")
			s.Type("prod/orders-main")
			s.Press("enter")
			s.Want("[4 Creds]")
		}
		rotate()
		s.Press("j")
		s.Pass(10 * time.Second)
		s.WantNot("Rotate")
		s.Press("q")
		rotate()
		s.Pass(10 * time.Second)
		s.Want("Rotate")
	})
	play(t, 120, 40, Options{}, busyNight, func(s *stage) { // what cannot be read is not waited for without an end
		s.core.FailCredentials(0, errors.New("the store is closed"))
		s.Press(":")
		s.Type("creds rotate")
		s.Press("enter")
		s.Type("prod/orders-main")
		s.Press("enter")
		s.Press("M") // where the failure itself stands, too, in any order
		s.Want("creds rotate (t): not now: ", "the store is closed")
	})
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Type("jjjjj")
		s.Press("enter", ":")
		s.Type("rotate")
		s.Want("> creds rotate prod/orders-main", "CLI  dbops creds rotate -e prod CONTAINER")
		s.Press("enter")
		s.Want("PROTECTED  prod  orders-main", "[4 Cred")
	})
}

func TestThePaletteFindsRunsAndApprovalsByTheirNames(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.Press(":")
		s.Type("r3d4")
		s.Want("> run r3d4e5f6a7b  upgrade prod/orders-main", "CLI  dbops runs show r3d4e5f6a7b")
		s.Press("enter")
		s.Want("orders-main › run r3d4e5f6a7b")
		s.Press(":")
		s.Type("a2d3")
		s.Press("enter")
		s.Want("orders-main › approval a2d3")
		s.Press(":")
		s.Type("go to the audit")
		s.Press("enter")
		s.Want("[4 Audit]")
		s.Press(":")
		s.Type("go to the fleet")
		s.Press("enter")
		s.Want("[1 Fleet]")
	})
}

func TestACommandOfThePaletteChangesNothingByItself(t *testing.T) {
	for _, c := range commands {
		if !instance.HasTab(c.tab) {
			continue
		}
		play(t, 120, 40, Options{}, busyNight, func(s *stage) {
			at := s.model().instances[9]                     // staging, where one key is enough to say yes
			s.Send(screen.OpenTab{Instance: at, Tab: c.tab}) // what the tab shows is there when the command comes
			s.Send(goCommand{c, at})
			s.Press("enter")
			s.Want("staging")
			if n := len(s.core.Told()) + len(s.core.Proxies()); n != 0 {
				t.Errorf("%s: something was told or opened", c.words)
			}
			if runs, err := s.core.Attention(t.Context()); err != nil || len(runs.Runs) != 5 {
				t.Errorf("%s: %d runs, %v", c.words, len(runs.Runs), err)
			}
		})
	}
}
