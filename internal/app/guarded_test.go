package app

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"

	"dbops/internal/fault"
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
