package state_test

import (
	"context"
	"path/filepath"
	"testing"

	"dbops/internal/state"
	"dbops/internal/state/db"
)

func aMove(from, to, run string) state.Move {
	return state.Move{Environment: "prod", Instance: "main", From: "eu/" + from, To: to, ToAt: "eu/" + to, Run: run}
}

// live are the moves that hold, as FROM>TO by RUN.
func (s suite) live() (out []string) {
	s.Helper()
	all, err := state.ReadMoves(s.Context(), s.s.DB)
	if err != nil {
		s.Fatal(err)
	}
	for _, m := range all {
		if m.Live() {
			out = append(out, m.From+">"+m.To+" by "+m.Run)
		}
	}
	return out
}

func TestAMoveHoldsUntilItIsTakenBack(t *testing.T) {
	each(t, func(s suite) {
		put := func(from, to, run string) {
			s.Helper()
			s.tx(func(ctx context.Context, tx *state.Tx) error { return tx.PutMove(ctx, aMove(from, to, run)) })
		}
		undo := func(run string) {
			s.Helper()
			s.tx(func(ctx context.Context, tx *state.Tx) error { return tx.UndoMoves(ctx, "prod", "main", run) })
		}
		s.wants("nothing was moved", s.live(), nil)
		put("a", "b", "r1")
		put("a", "b", "r1")
		s.wants("moved, twice by the same run", s.live(), []string{"eu/a>b by r1"})
		all, err := state.ReadMoves(s.Context(), s.s.DB)
		if err != nil || len(all) != 1 {
			s.Fatal(all, err)
		}
		since := all[0].Since
		s.recent(&all[0].Since)
		put("b", "c", "r2")
		s.wants("moved on", s.live(), []string{"eu/a>b by r1", "eu/b>c by r2"})
		put("a", "b", "r1")
		if all, err := state.ReadMoves(s.Context(), s.s.DB); err != nil || !all[0].Since.Equal(since) {
			s.Errorf("a repetition changed it: %+v, %v", all, err)
		}
		put("c", "b", "r3")
		s.wants("moved back", s.live(), []string{"eu/a>b by r1", "eu/c>b by r3"})
		undo("r3")
		undo("r3")
		s.wants("moved back, and that taken back", s.live(), []string{"eu/a>b by r1", "eu/b>c by r2"})
		undo("r2")
		undo("r1")
		s.wants("all taken back", s.live(), nil)
		put("a", "b", "r1")
		s.wants("moved again", s.live(), []string{"eu/a>b by r1"})
	})
}

func TestAnEmptyStateHasNoMoves(t *testing.T) {
	t.Parallel()
	d, err := db.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := state.ReadMoves(t.Context(), d); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
