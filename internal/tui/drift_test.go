package tui

import (
	"reflect"
	"testing"
	"time"

	"dbops/internal/drift"
)

func TestDriftIsComparedOnDemandAndSetBackThroughAPlan(t *testing.T) {
	play(t, 200, 60, Options{RefreshEvery: 10 * time.Second}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Drift")
		s.Want("x 2 drifted, 1 pending, 1 unknown, 2 in sync", "dbops last applied 14, and 30 is declared", "next         dbops drift -e prod orders-main --fix")
		s.WantNot("maintenance.window")
		s.Pass(3 * time.Minute)
		s.Want(" 3m ")
		s.WantNot("stale", "ago  live")
		s.Press("v")
		s.Want("maintenance.window", "undeclared", "in sync")
		s.Press("Y")
		if want := "dbops drift -e prod orders-main --all"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("G", "enter")
		s.Want("set back this: maintenance.window has not drifted")
		s.Press("g", "f")
		s.Want("› plan")
		s.Press("esc")
		s.Want(" 0s ") // it may be another by now
		s.Press("j", "enter", "right")
		s.Want("Set deletion_protection back to true", "[yes]", "Ask who did it")
		s.Press("enter", "y")
		if want := "dbops drift -e prod orders-main --fix --overwrite deletion_protection"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("esc", "g", "enter", "enter", "y")
		if want := "dbops drift -e prod orders-main --fix --setting backups.retention_days"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		got := s.core.Planned()
		want := []drift.FixRequest{{}, {Overwrite: []string{"deletion_protection"}}, {Settings: []string{"backups.retention_days"}}}
		for i, w := range want {
			if len(got) != len(want) || got[i].Kind != drift.FixKind || !reflect.DeepEqual(got[i].Request, w) {
				t.Fatalf("planned %+v", got)
			}
		}
	})
}

func TestNoDriftIsSaidSo(t *testing.T) {
	play(t, 80, 24, Options{}, mend, func(s *stage) {
		s.tab("staging", "orders-main", "Drift")
		s.Want("0 drifted, 0 pending, 0 unknown, 2 in sync", "everything that is declared is so")
		s.Press("f")
		s.Want("set back: nothing has drifted")
		s.Press("esc", "esc")
		s.tab("dev", "local", "Drift")
		s.Want("dbops.yaml declares no settings of local")
	})
}

// What no plan could set back is not offered.
func TestWhatStaysIsNotSetBack(t *testing.T) {
	play(t, 200, 60, Options{}, mend, func(s *stage) {
		const why = "without its public address nobody could reach it"
		s.core.EditDrift(func(r *drift.Report) {
			r.Rows = []drift.Row{{
				Environment: "prod", Instance: "orders-main", Setting: "public_access", Status: drift.Drifted, Declared: "false", Live: "true",
				Detail: "dbops has not applied it yet; it is not set back: " + why, Stays: why, Remedy: "give it a private network first",
			}}
		})
		s.tab("prod", "orders-main", "Drift")
		s.Want("x 1 drifted", "it is not set back: "+why, "next         give it a private network first")
		s.WantNot("f set back", "enter set back")
		s.Press("f")
		s.Want("set back: public_access is not set back: " + why)
		s.Press("enter")
		s.Want("set back this: public_access is not set back: " + why)
		if got := s.core.Planned(); len(got) > 0 {
			t.Errorf("planned %+v", got)
		}
		s.core.EditDrift(func(r *drift.Report) { // what can be set back is, though others stay
			for i := range r.Rows {
				if r.Rows[i].Setting == "deletion_protection" {
					r.Rows[i].Stays = why
				}
			}
		})
		s.Press("r")
		s.Want("x 2 drifted")
		s.Press("f")
		s.Want("› plan")
	})
}
