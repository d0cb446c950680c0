package runbook

import (
	"context"
	"strings"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/sandbox/statetest"
	"dbops/internal/state"
)

func each(t *testing.T, guard Guard, test func(b *bench)) {
	t.Helper()
	t.Parallel()
	statetest.Each(t, func(t *testing.T, p statetest.Place) { //nolint:thelper // it is the test
		test(newBench(t, p, newToy(t.TempDir()), guard))
	})
}

func TestOperationsAreRunInOrderWithGatesBetween(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, `
- operation: write
  args: [a]
- gate: look at a
- operation: write all
  args: b
  gate: look at the plan of b
`))
		b.attach(id, state.Gate)
		wants(b.t, "at the first gate", b.toy.lines(), "begin a", "a")
		b.tell(id, state.Continue)
		run := b.attach(id, state.Gate)
		if run.Problem != "look at the plan of b" || !strings.Contains(b.text(id), "write bone on staging/one; changes: 1; downtime: none; write btwo on staging/two") {
			b.t.Errorf("at the second gate it says %q, and the plan is not told:\n%s", run.Problem, b.text(id))
		}
		b.tell(id, state.Continue)
		b.attach(id, state.Done)
		wants(b.t, "at the end", b.toy.lines(), "begin a", "a", "begin bone", "bone", "begin btwo", "btwo")
		wants(b.t, "its parts", b.parts(id), "write-all.0#1 done", "write-all.1#1 done", "write.0#1 done")
	})
}

func TestWhatIsSoAlreadyIsNoRun(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.add("a")
		id := b.submit(book(b.t, "- {operation: write, args: a}\n- {operation: write, args: b}\n"))
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "a", "begin b", "b")
		wants(b.t, "its parts", b.parts(id), "write-2.0#1 done")
	})
}

func TestABlockedOperationParksAndIsPlannedAgain(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.blocked, "a", true)
		id := b.submit(book(b.t, "- {operation: write, args: a}\n"))
		run := b.attach(id, state.Parked)
		if run.Step != "write.plan" || !strings.Contains(run.Problem, "it must not be written") || !strings.Contains(run.Hint, "allow it") {
			b.t.Errorf("it says %q (%q) at %s", run.Problem, run.Hint, run.Step)
		}
		b.toy.set(b.toy.blocked, "a", false)
		b.tell(id, state.Retry)
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "begin a", "a")
	})
}

func TestAFailedOperationIsTriedAgainWhereItFailed(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.broken, "a", true)
		id := b.submit(book(b.t, "- {operation: write, args: a}\n- {operation: write, args: b}\n"))
		run := b.attach(id, state.Parked)
		if !strings.Contains(run.Problem, "the pen is broken") || !strings.Contains(run.Hint, "retry") {
			b.t.Errorf("it says %q (%q)", run.Problem, run.Hint)
		}
		b.tell(id, state.Retry) // and it fails again
		b.attach(id, state.Parked)
		b.toy.set(b.toy.broken, "a", false)
		b.tell(id, state.Retry)
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "begin a", "a", "begin b", "b")
		wants(b.t, "its parts", b.parts(id), "write-2.0#1 done", "write.0#1 done")
	})
}

func TestAnOperationThatSomebodyEndedIsPlannedAnew(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.broken, "a", true)
		id := b.submit(book(b.t, "- {operation: write, args: a}\n"))
		b.attach(id, state.Parked)
		parts, err := b.Runs(b.t.Context(), state.RunFilter{PartOf: id})
		must(b.t, err)
		b.tell(parts[0].ID, state.Abandon)
		b.attach(parts[0].ID, state.Failed)
		b.toy.set(b.toy.broken, "a", false)
		b.tell(id, state.Retry)
		b.attach(id, state.Done)
		wants(b.t, "its parts", b.parts(id), "write.0#1 failed", "write.0#2 done")
	})
}

func TestAnOperationThatSomebodyFinishedByHandIsDone(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.broken, "a", true)
		id := b.submit(book(b.t, "- {operation: write, args: a}\n"))
		b.attach(id, state.Parked)
		parts, err := b.Runs(b.t.Context(), state.RunFilter{PartOf: id})
		must(b.t, err)
		b.toy.set(b.toy.broken, "a", false)
		b.tell(parts[0].ID, state.Retry)
		b.attach(parts[0].ID, state.Done)
		b.tell(id, state.Retry)
		b.attach(id, state.Done)
		wants(b.t, "its parts", b.parts(id), "write.0#1 done")
	})
}

func TestAWorldThatMovedAtTheGateIsPlannedAgainOnlyWhenSomebodySaysSo(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: write, args: a, gate: look}\n"))
		b.attach(id, state.Gate)
		b.toy.add("a") // by somebody else
		b.tell(id, state.Continue)
		run := b.attach(id, state.Parked)
		if !strings.Contains(run.Problem, "changed since the plan was made") || !strings.Contains(run.Hint, "retry plans it again") {
			b.t.Errorf("it says %q (%q)", run.Problem, run.Hint)
		}
		b.tell(id, state.Retry)
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "a")
	})
}

func TestWhatARunFindsBadStopsTheRunbook(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.judged, "a", true)
		id := b.submit(book(b.t, "- {operation: write, args: a}\n- {operation: write, args: b}\n"))
		run := b.attach(id, state.Parked)
		if !strings.Contains(run.Problem, "it reads badly") {
			b.t.Errorf("it says %q", run.Problem)
		}
		wants(b.t, "lines", b.toy.lines(), "begin a", "a")
		b.tell(id, state.Abandon)
		b.attach(id, state.Failed)
	})
}

func TestTheGateOfAnUpgradeIsPassedByItsOwnStep(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, `
- {operation: upgrade run, args: a}
- {operation: upgrade cutover}
`))
		run := b.attach(id, state.Gate)
		if run.Step != "upgrade-cutover.gate" || !strings.Contains(run.Problem, "clients are shut out") {
			b.t.Errorf("it waits at %s: %s", run.Step, run.Problem)
		}
		wants(b.t, "lines", b.toy.lines(), "begin a")
		b.tell(id, state.Continue)
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "begin a", "a")
	})
}

func TestAGateThatNobodyPassesInTheRunbookStopsIt(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: upgrade run, args: a, with: {unattended: true}}\n"))
		run := b.attach(id, state.Parked)
		if !strings.Contains(run.Problem, "waits for a person: look at it") || !strings.Contains(run.Hint, "continue") {
			b.t.Errorf("it says %q (%q)", run.Problem, run.Hint)
		}
	})
}

func TestEachOperationWaitsForItsOwnApproval(t *testing.T) {
	each(t, Guard{Protected: true, Approvals: 1}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: write, args: a}\n"))
		run := b.attach(id, state.Gate)
		if run.Step != "write.gate" || !strings.Contains(run.Problem, "dbops approvals list") {
			b.t.Errorf("it waits at %s: %s", run.Step, run.Problem)
		}
		alice := op.Actor{Name: "alice", Via: op.ViaGoogle}
		if err := b.Tell(b.t.Context(), id, state.Continue, alice, ""); fault.KindOf(err) != fault.Unapproved || !strings.Contains(fault.HintOf(err), "dbops runs decide "+id+" continue") {
			b.t.Errorf("it may go on without an approval: %v (%s)", err, fault.HintOf(err))
		}
		b.attach(id, state.Gate)
		if b.toy.has("a") {
			b.t.Error("it was done without an approval")
		}
		all, err := b.Approvals(b.t.Context(), "")
		must(b.t, err)
		if len(all) != 1 || all[0].Requester != robot.Name {
			b.t.Fatalf("approvals: %+v", all)
		}
		_, err = b.Vote(b.t.Context(), all[0].ID, op.Vote{Approve: true, By: robot})
		if fault.KindOf(err) != fault.Unapproved {
			b.t.Errorf("who asked approved it: %v", err)
		}
		_, err = b.Vote(b.t.Context(), all[0].ID, op.Vote{Approve: true, By: op.Actor{Name: "carol", Via: op.ViaGoogle}})
		must(b.t, err)
		b.tell(id, state.Continue)
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "begin a", "a")
	})
}

func TestARefusedOperationStaysAtItsGate(t *testing.T) {
	each(t, Guard{Protected: true, Approvals: 1}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: write, args: a}\n"))
		b.attach(id, state.Gate)
		all, err := b.Approvals(b.t.Context(), "")
		must(b.t, err)
		_, err = b.Vote(b.t.Context(), all[0].ID, op.Vote{By: op.Actor{Name: "carol", Via: op.ViaGoogle}, Reason: "not today"})
		must(b.t, err)
		if err := b.Tell(b.t.Context(), id, state.Continue, robot, ""); fault.KindOf(err) != fault.Unapproved || !strings.Contains(err.Error(), "was refused") {
			b.t.Errorf("it may go on though it was refused: %v", err)
		}
		b.tell(id, state.Abandon)
		b.attach(id, state.Failed)
		wants(b.t, "lines", b.toy.lines(), "")
	})
}

func TestAnInstanceThatIsBusyIsWaitedFor(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		b.toy.set(b.toy.blocked, "busy", true)
		b.toy.onPlan = func(n int) { // it passes when it was looked at three times
			if n == 3 {
				b.toy.set(b.toy.blocked, "busy", false)
			}
		}
		id := b.submit(book(b.t, "- {operation: write, args: busy}\n"))
		b.attach(id, state.Done)
		wants(b.t, "lines", b.toy.lines(), "begin busy", "busy")
	})
}

func TestAMistakeInTheFileSaysHowToMendIt(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: write, args: mistake}\n"))
		run := b.attach(id, state.Parked)
		if !strings.Contains(run.Hint, "abandon it, mend the file, then dbops runbook run FILE --from write") {
			b.t.Errorf("it says %q (%q)", run.Problem, run.Hint)
		}
	})
}

func TestACancelStopsTheOperation(t *testing.T) {
	each(t, Guard{}, func(b *bench) {
		id := b.submit(book(b.t, "- {operation: write, args: wait}\n- {operation: write, args: b}\n"))
		ended := make(chan state.Run, 1)
		go func() {
			ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
			defer cancel()
			r, _ := b.Attach(ctx, id, 0, nil)
			ended <- r
		}()
		<-b.toy.wait
		b.tell(id, state.Cancel)
		if r := <-ended; r.State != state.Parked || !strings.Contains(r.Problem, "cancelled by alice") {
			b.t.Errorf("it is %s: %s", r.State, r.Problem)
		}
		wants(b.t, "its parts", b.parts(id), "write.0#1 parked")
		wants(b.t, "lines", b.toy.lines(), "begin wait")
	})
}

func TestARunbookIsPlannedWithoutAskingAnybody(t *testing.T) {
	b := newBench(t, statetest.New(t, "sqlite"), newToy(t.TempDir()), Guard{})
	b.submit(book(t, "- {operation: write, args: a}\n"))
	if b.toy.plans != 0 {
		t.Errorf("%d operations were planned with it", b.toy.plans)
	}
}
