package tui

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"
)

// rowOf is the screen's row on which a list shows words.
func (s *stage) rowOf(words string) int {
	for y, l := range strings.Split(s.Screen(), "\n") {
		if strings.Contains(l, words) && y > 1 {
			return y
		}
	}
	return -1
}

func TestAClickSelectsARowOfEveryList(t *testing.T) {
	for name, c := range map[string]struct {
		begin func(*stage)
		row   string // that is not selected at first
		w, h  int
	}{
		"backups":        {func(s *stage) { s.tab("prod", "orders-main", "Backups") }, "  rds:orders-prod", 120, 40},
		"drift":          {func(s *stage) { s.tab("prod", "orders-main", "Drift") }, "  class", 120, 40},
		"certificates":   {func(s *stage) { s.tab("prod", "ledger", "TLS") }, "  client", 120, 40},
		"cut":            {func(s *stage) { s.tab("prod", "ledger", "TLS") }, "  next ca", 80, 24},
		"credentials":    {func(s *stage) { s.tab("prod", "orders-main", "Credentials") }, "  shop-worker", 120, 40},
		"beside":         {func(s *stage) { s.tab("prod", "orders-main", "Credentials") }, "  shop-worker", 200, 60},
		"migrations":     {func(s *stage) { s.tab("prod", "orders-main", "Migrations") }, "  000047", 120, 40},
		"wide":           {func(s *stage) { s.tab("prod", "orders-main", "Migrations") }, "  000047", 200, 60},
		"sessions":       {func(s *stage) { s.tab("prod", "orders-main", "Sessions") }, "  4", 120, 40},
		"entries":        {func(s *stage) { s.tab("prod", "orders-main", "Audit") }, "  ", 120, 40},
		"connections":    {func(s *stage) { s.open() }, "  metabase", 120, 40},
		"a small screen": {func(s *stage) { s.open(); s.Press("2") }, "  metabase", 80, 20},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, c.w, c.h, Options{}, busyNight, func(s *stage) {
				c.begin(s)
				y := -1
				for i, l := range strings.Split(s.Screen(), "\n") {
					if i > 2 && strings.HasPrefix(l, c.row) && strings.TrimSpace(l) != "" {
						y = i
					}
				}
				if y < 0 {
					t.Fatalf("no row %q:\n%s", c.row, s.Screen())
				}
				row := strings.TrimSpace(strings.Split(s.Screen(), "\n")[y])[:12]
				s.Send(tea.MouseClickMsg{X: 6, Y: y, Button: tea.MouseLeft})
				s.Want("> " + row)
				s.Send(tea.MouseClickMsg{X: 6, Y: 2, Button: tea.MouseLeft}) // where no row is
				s.Want("> " + row)
			})
		})
	}
}

func TestTheWheelMovesWhatItIsOver(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.open()
		y := s.rowOf("metabase")
		s.Send(tea.MouseWheelMsg{X: 6, Y: y, Button: tea.MouseWheelDown})
		s.Want("[2 Connections", "> metabase")
	})
	play(t, 120, 30, Options{}, mend, func(s *stage) {
		s.copies()
		s.Want("log  [j k]")
		s.Send(tea.MouseWheelMsg{X: 6, Y: s.rowOf("steps  "), Button: tea.MouseWheelDown})
		s.Want("done", "[j k]")
		if l := s.Line("steps  "); !strings.Contains(l, "[j k]") {
			t.Errorf("the steps do not move: %q", l)
		}
		s.Send(tea.MouseWheelMsg{X: 6, Y: s.rowOf("─ log"), Button: tea.MouseWheelUp})
		if l := s.Line("─ log"); !strings.Contains(l, "[j k]") || !strings.Contains(l, "later") {
			t.Errorf("the log does not move: %q", l)
		}
	})
}

func TestASecondClickOpensOnlyARow(t *testing.T) {
	play(t, 120, 40, Options{}, busyNight, func(s *stage) {
		s.tab("prod", "orders-main", "Availability") // enter opens the last run there
		before := s.Screen()
		for range 2 {
			s.Send(tea.MouseClickMsg{X: 6, Y: 9, Button: tea.MouseLeft})
		}
		if s.Screen() != before {
			t.Error("two clicks on a text did something")
		}
	})
}

func TestListsOfTabsAreFilteredAndSorted(t *testing.T) {
	for name, c := range map[string]struct {
		begin          func(*stage)
		typed          string
		stays, gone    string
		noun           string
		order, topmost string
	}{
		"TLS":     {func(s *stage) { s.tab("prod", "ledger", "TLS") }, "client", "laptop", "", "certificate", "by time left", ""},
		"Backups": {func(s *stage) { s.tab("prod", "orders-main", "Backups") }, "migration", "before-migration-0190a1", "", "backup", "by state", ""},
		"Drift":   {func(s *stage) { s.tab("prod", "orders-main", "Drift") }, "pending", "~ pending", "x drifted", "setting", "by name", ""},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, 120, 40, Options{}, nil, func(s *stage) {
				c.begin(s)
				s.Press("s")
				s.Want(c.order)
				s.Press("/")
				s.Type(c.typed)
				s.Want("/"+c.typed, " of ", c.noun, c.stays)
				s.Press("enter")
				if c.gone != "" {
					s.WantNot("  " + c.gone)
				}
				s.Press("esc")
				s.WantNot("/" + c.typed)
			})
		})
	}
}

func TestTextAboveAListThatIsCutSaysSoAndScrolls(t *testing.T) {
	play(t, 80, 24, Options{}, nil, func(s *stage) {
		s.tab("prod", "ledger", "TLS")
		s.Want("lines more: J")
		before := s.Screen()
		s.Press("J", "J", "J")
		if s.Screen() == before {
			t.Error("nothing was scrolled")
		}
		s.Want(s.model().theme.Glyphs.Up + " 3 lines more: K")
		s.Press("K", "K", "K")
		if s.Screen() != before {
			t.Error("it does not scroll back")
		}
	})
}
