package tui

import (
	"testing"

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
		s.Want("environment  staging  orders-main", "[8 Backups]", "backup drill (d): not now: its backups have not been read")
		if n := len(s.core.Planned()); n != 0 {
			t.Errorf("%d plans were made", n)
		}
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
