package tui

import (
	"testing"

	"dbops/internal/availability"
	"dbops/internal/cloud"
)

func TestAvailabilityIsSwitchedThroughAPlan(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("prod", "orders-main", "Availability")
		s.Want("41.2s of downtime measured", "replicas", "orders-dr", "3d ago", "standby in", "eu-west-1b")
		s.Press("Y")
		if want := "dbops availability show -e prod orders-main"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("z", "down", "right")
		s.Want("[in its maintenance window]")
		s.Press("enter")
		s.Want("PROTECTED  prod  orders-main › plan")
		s.Press("y")
		if want := "dbops availability set zonal -e prod orders-main --in-window"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		s.Press("esc", "f")
		s.Want("› plan")
		s.Press("y")
		if want := "dbops failover -e prod orders-main"; s.Clipboard != want {
			t.Errorf("copied %q", s.Clipboard)
		}
		got := s.core.Planned()
		if len(got) != 2 || got[0].Kind != availability.SetKind || got[0].Request != any(availability.SetRequest{Want: cloud.Zonal, InWindow: true}) ||
			got[1].Kind != availability.FailoverKind {
			t.Errorf("planned %+v", got)
		}
	})
}

func TestAvailabilitySaysWhatTheCloudsDoNot(t *testing.T) {
	play(t, 120, 40, Options{}, mend, func(s *stage) {
		s.tab("staging", "billing", "Availability") // Cloud SQL, without backups
		s.Want("zonal: ZONAL on Cloud SQL", "x blocked", "Cloud SQL makes a standby only with", "next         dbops backup configure")
		s.Press("f")
		s.Want("fail over: staging/billing has no standby")
		s.Press("z")
		s.WantNot("in its maintenance window") // which Cloud SQL has not
		s.Press("esc", "esc")
		s.tab("dev", "local", "Availability")
		s.Want("cloud manages its availability", "arranged outside of dbops")
		s.Press("z")
		s.Want("make it regional: dev/local is a plain PostgreSQL server")
		s.Press("enter")
		s.Want("dbops has not switched it")
	})
}
