package op

import (
	"testing"

	"dbops/internal/fault"
	"dbops/internal/state"
)

func TestATargetOfARunThatWaitsIsRefused(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		waiting := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "fail"}, Value: "1"})).ID
		wants(t, "state", b.attach(t, waiting).State, state.Parked)
		next := b.plan(t, toyRequest{Settings: []string{"b"}, Value: "1"})
		_, _, err := b.Submit(t.Context(), next, SubmitOptions{Actor: robot})
		failed(t, err, fault.Busy, "prod/main has an unfinished run, "+waiting)
		b.tell(t, waiting, state.Abandon)
		wants(t, "state", b.attach(t, waiting).State, state.Failed)
		wants(t, "state", b.attach(t, b.submit(t, next).ID).State, state.Done)
	})
}
