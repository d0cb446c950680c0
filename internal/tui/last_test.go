package tui

import (
	"errors"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
	"dbops/internal/tui/internal/fake"
)

func TestTheOverviewSaysWhatWasRunLast(t *testing.T) {
	setup := func(c *fake.Core) {
		mend(c)
		for i, st := range []state.RunState{state.Done, state.Parked} {
			v := c.UpgradeAt([]string{"rold", "rnew"}[i], "backup.create", "backup")
			v.Run.Title, v.Run.State, v.Run.Alive = []string{"back up orders-main", "back up orders-main again"}[i], st, false
			v.Run.Created = night.Add(time.Duration(i-2) * time.Hour)
			if st == state.Parked {
				v.Run.Problem, v.Run.Ended = "the snapshot failed", time.Time{}
			}
			c.Put(v)
		}
	}
	play(t, 120, 60, Options{}, setup, func(s *stage) {
		s.tab("staging", "orders-main", "Overview")
		s.Want("LAST RUN", "! parked", "back up orders-main again", "backup.create", "rnew", "1h00 ago", "the snapshot failed")
		s.WantNot("rold")
		s.Press("enter")
		s.Want("run rnew")
		s.Press("esc")
		s.core.FailRuns(fault.New(fault.Unavailable, "open the state", errors.New("nobody answers")).Hint("dbops state status"))
		s.Press("r")
		s.Want("LAST RUN", "! nobody answers", "dbops state status", "as it was", "rnew")
	})
	play(t, 120, 60, Options{}, mend, func(s *stage) {
		s.tab("staging", "orders-main", "Overview")
		s.Want("dbops has changed nothing here")
		s.Press("enter")
		s.Want("no run of it is known")
	})
}
