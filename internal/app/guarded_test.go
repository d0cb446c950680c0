package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	goruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/state"
	"dbops/internal/upgrade"
)

// mined is a context that panics in whoever of dbops waits for its end, once it is armed. The database's driver waits, too, in a goroutine of its own.
type mined struct {
	context.Context
	armed *atomic.Bool
}

func (m mined) Done() <-chan struct{} {
	caller, _, _, ok := goruntime.Caller(1)
	if ok && m.armed.Load() && strings.HasPrefix(goruntime.FuncForPC(caller).Name(), "dbops/") {
		panic("a bug on purpose")
	}
	return m.Context.Done()
}

// Whoever begins to follow a run tells by its first view what had happened already.
func TestWhatHappenedBeforeARunIsFollowedStandsBeforeItsFirstView(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	store, err := a.Store(t.Context())
	must(t, err)
	u := upgradesOf{a, store}
	u.plan(t, "run", upgrade.RunKind)
	must(t, store.Tx(t.Context(), "tell", func(ctx context.Context, tx *state.Tx) error {
		return errors.Join(tx.AddEvent(ctx, "run", state.Event{Kind: op.EventDone, Step: "step", Text: "passed"}), tx.AddEvent(ctx, "run", state.Event{Kind: op.EventEnded}))
	}))
	u.set(t, "run", state.Done)
	d := a.Desk(DeskOptions{})
	defer d.Close()
	news, err := d.Follow(t.Context(), "run", 0)
	must(t, err)
	var got []string
	for f := range news {
		switch {
		case f.Err != nil:
			t.Fatal(f.Err)
		case f.Event != nil:
			got = append(got, f.Event.Kind)
		default:
			got = append(got, string(f.View.Run.State))
		}
	}
	if want := []string{op.EventDone, op.EventEnded, string(state.Done)}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A panic beside whoever follows a run is an error for them, and in the log; the process goes on.
func TestAPanicWhileARunIsFollowedEndsOnlyTheFollowing(t *testing.T) {
	t.Parallel()
	a := newMachine(t, "").app(t, file("main", "", ""))
	var log bytes.Buffer
	a.opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	store, err := a.Store(t.Context())
	must(t, err)
	upgradesOf{a, store}.plan(t, "run", upgrade.RunKind)
	d := a.Desk(DeskOptions{})
	defer d.Close()
	armed := &atomic.Bool{}
	news, err := d.Follow(mined{t.Context(), armed}, "run", 0)
	must(t, err)
	if f := <-news; f.View == nil {
		t.Fatalf("%+v", f)
	}
	armed.Store(true)
	var last Followed
	for f := range news {
		last = f
	}
	bug, ok := errors.AsType[*fault.Panic](last.Err)
	if !ok || fault.KindOf(last.Err) != fault.Internal || bug.Value != "a bug on purpose" || !strings.Contains(string(bug.Stack), "follow") {
		t.Errorf("%v", last.Err)
	}
	if !strings.Contains(log.String(), "a bug on purpose") || !strings.Contains(log.String(), "follow run run") {
		t.Errorf("log: %s", log.String())
	}
}
