package op

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"dbops/internal/fault"
	"dbops/internal/state"
)

// toyLocker tells what it was asked for.
type toyLocker struct {
	mu    sync.Mutex
	calls []string
	err   error // of the next Lock
	until time.Time
}

func (l *toyLocker) Lock(ctx context.Context, s *Session, until time.Time, _ func(string) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, "lock "+s.Plan.Target.String()+" "+s.Run)
	l.until = until
	s.Progress(ctx, "the mark is being set")
	s.Progress(ctx, "half of it is there") // too soon after the first, and not the last
	s.Milestone(ctx, nil, "all of it is there")
	s.Progress(ctx, "it is looked at")
	err := l.err
	l.err = nil
	return err
}

func (l *toyLocker) Unlock(_ context.Context, t Target, run string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, "unlock "+t.String()+" "+run)
	return nil
}

func (l *toyLocker) asked() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

func locked(l Locker) func(*Options) { return func(o *Options) { o.Locker = l } }

// A process that takes a run up looks whether the target still has its mark: the run may have waited for days.
func TestAMarkIsKeptByWhoeverTakesARunUp(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		l := &toyLocker{}
		locked(l)(&b.o)
		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
		wants(t, "state", b.attach(t, id).State, state.Gate)
		wants(t, "asked", l.asked(), []string{"lock prod/main " + id})
		if left := time.Until(l.until); left < lockTTL-time.Hour || left > lockTTL {
			t.Errorf("the mark is good for %s", left)
		}
		b.tell(t, id, state.Continue)
		wants(t, "state", b.attach(t, id).State, state.Done)
		wants(t, "asked", l.asked(), []string{"lock prod/main " + id, "lock prod/main " + id, "unlock prod/main " + id})
		events, err := b.Events(t.Context(), id, 0)
		var told []string
		for _, e := range events {
			if e.Kind == EventProgress {
				told = append(told, e.Text)
			}
		}
		if err != nil || !slices.Contains(told, "the mark is being set") || !slices.Contains(told, "all of it is there") {
			t.Errorf("what is waited for is told as %q, %v", told, err)
		}
	})
}

// Without its mark a run changes nothing: not at its beginning, and not when somebody took it while the run waited.
func TestARunWithoutItsMarkChangesNothing(t *testing.T) {
	each(t, func(b *bench) {
		t := b.T
		l := &toyLocker{err: fault.Newf(fault.Denied, "mark prod/main", "not allowed")}
		locked(l)(&b.o)
		first := b.attach(t, b.submit(t, b.plan(t, toyRequest{Settings: []string{"a"}, Value: "1"})).ID)
		wants(t, "state", first.State, state.Failed)
		wants(t, "effects", b.toys.world.effects(), []string{})

		id := b.submit(t, b.plan(t, toyRequest{Settings: []string{"a", "b"}, Value: "1", Gate: true})).ID
		wants(t, "state", b.attach(t, id).State, state.Gate)
		b.tell(t, id, state.Continue)
		l.err = fault.Newf(fault.Denied, "mark prod/main", "it is somebody else's")
		wants(t, "state", b.attach(t, id).State, state.Parked)
		wants(t, "effects", b.toys.world.effects(), []string{"a=1"})

		b.tell(t, id, state.Retry)
		l.err = fault.Newf(fault.NotFound, "mark prod/main", "it has another name now") // which the run itself gave it
		wants(t, "state", b.attach(t, id).State, state.Done)
	})
}
