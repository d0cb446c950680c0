package op

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

// The names and the order of a run's checkpoints are an interface to the runs that other versions began: a run whose checkpoints are called
// otherwise cannot be resumed. Whoever changes them here strands those runs.
func TestCheckpointsAreCalledAsOtherVersionsCallThem(t *testing.T) {
	t.Parallel()
	b := newBench(t, statetest.New(t, "sqlite"))
	run := func(r toyRequest, told ...state.Verb) (checkpoints string) {
		t.Helper()
		id := b.submit(t, b.plan(t, r)).ID
		last := b.attach(t, id)
		for _, v := range told {
			b.tell(t, id, v)
			last = b.attach(t, id)
		}
		if !last.State.Ended() {
			t.Fatalf("it has not ended: %+v", last)
		}
		rows, err := b.store.DB.SQL.QueryContext(t.Context(), "select function_name from operation_outputs where workflow_uuid = $1 order by function_id", id)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var names []string
		for rows.Next() {
			var name string
			if err := rows.Scan(&name); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, ", ")
	}
	const check = "begin do 0 check #1, end do 0 check #1, "
	wants(t, "done", run(toyRequest{Settings: []string{"a"}, Value: "1"}), check+"begin do 1 a #1, end do 1 a #1, finish done")
	wants(t, "a gate, and on", run(toyRequest{Settings: []string{"a", "b"}, Value: "2", Gate: true}, state.Continue),
		check+"begin do 1 a #1, end do 1 a #1, gate do 2 ask #1, decide do 2 ask #1, begin do 3 b #1, end do 3 b #1, finish done")
	wants(t, "a gate, and back", run(toyRequest{Settings: []string{"a", "b"}, Value: "3", Gate: true}, state.UndoRun),
		check+"begin do 1 a #1, end do 1 a #1, gate do 2 ask #1, decide do 2 ask #1, begin undo 1 a #1, end undo 1 a #1, finish undone")
	wants(t, "a gate, and no further", run(toyRequest{Settings: []string{"a", "b"}, Value: "4", Gate: true}, state.Abandon),
		check+"begin do 1 a #1, end do 1 a #1, gate do 2 ask #1, decide do 2 ask #1, finish failed")
	wants(t, "retried, undone", run(toyRequest{Settings: []string{"a", "fail"}, Value: "5"}, state.Retry, state.UndoRun),
		check+"begin do 1 a #1, end do 1 a #1, begin do 2 fail #1, end do 2 fail #1, parked do 2 fail #1, decide do 2 fail #1, "+
			"begin do 2 fail #2, end do 2 fail #2, parked do 2 fail #2, decide do 2 fail #2, "+
			"begin undo 2 fail #1, end undo 2 fail #1, begin undo 1 a #1, end undo 1 a #1, finish undone")
	wants(t, "abandoned", run(toyRequest{Settings: []string{"fail"}, Value: "6"}, state.Abandon),
		check+"begin do 1 fail #1, end do 1 fail #1, parked do 1 fail #1, decide do 1 fail #1, finish failed")
	var busy, stuck atomic.Bool
	b.toys.on("a", func(context.Context, *Session) error {
		switch {
		case busy.CompareAndSwap(true, false):
			return fault.Newf(fault.Busy, "set a", "it is being changed")
		case stuck.CompareAndSwap(true, false):
			return fault.Newf(fault.Denied, "set a", "no")
		}
		return nil
	})
	busy.Store(true)
	wants(t, "tried again", run(toyRequest{Settings: []string{"a"}, Value: "7"}),
		check+"begin do 1 a #1, end do 1 a #1, again do 1 a #1, begin do 1 a #2, end do 1 a #2, finish done")
	b.toys.on("fail", func(context.Context, *Session) error { // on the way back
		if stuck.CompareAndSwap(true, false) {
			return fault.Newf(fault.Denied, "set fail", "no")
		}
		return nil
	})
	stuck.Store(true)
	wants(t, "an undo that is stuck", run(toyRequest{Settings: []string{"fail"}, Value: "8"}, state.UndoRun, state.Retry),
		check+"begin do 1 fail #1, end do 1 fail #1, parked do 1 fail #1, decide do 1 fail #1, "+
			"begin undo 1 fail #1, end undo 1 fail #1, parked undo 1 fail #1, decide undo 1 fail #1, begin undo 1 fail #2, end undo 1 fail #2, finish undone")
	plan := b.plan(t, toyRequest{Settings: []string{"z"}, Value: "9"})
	b.toys.world.set("z", "8")
	id := b.submit(t, plan).ID
	wants(t, "state", b.attach(t, id).State, state.Failed)
}
