package op

import (
	"context"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/state"
)

func TestAFinalStepThatFailsEndsTheRun(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		run := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "final"}, Value: "1"})).ID)
		wants(t, "state", run.State, state.Failed)
		wants(t, "problem", run.Problem, "set fail: it never works")
		next := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})).ID) // the target is free
		wants(t, "state of the next", next.State, state.Done)
	})
}

func TestAFinalStepThatIsCancelledEndsTheRun(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		b.toys.on("final", func(ctx context.Context, s *Session) error {
			if err := b.Tell(context.WithoutCancel(ctx), s.Run, state.Cancel, robot, ""); err != nil {
				return err
			}
			<-ctx.Done()
			return context.Cause(ctx)
		})
		run := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "final"}, Value: "1"})).ID)
		wants(t, "state", run.State, state.Failed)
	})
}

func TestARunOfWhichNothingCanBeUndoneSaysSo(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		b.toys.oneWay = true
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID
		failed(t, b.Tell(t.Context(), id, state.UndoRun, robot, ""), fault.Usage, "none of its steps can be undone")
		wants(t, "state", b.attach(t, id).State, state.Done)
	})
}
