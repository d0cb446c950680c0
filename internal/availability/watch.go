package availability

import (
	"context"
	"time"

	"dbops/internal/op"
	"dbops/internal/pg"
)

// first is how long the probe may take to be served before something is asked for.
const first = 3 * time.Second

// watch is the probe of one step. Without a login to probe with it does nothing.
type watch struct {
	probe  *pg.Probe
	answer time.Duration
}

func (d Deps) watch(ctx context.Context, t op.Target) *watch {
	w := &watch{answer: d.Answer}
	if d.Probe == nil {
		return w
	}
	if try := d.Probe(t); try != nil {
		w.probe = pg.StartProbe(ctx, pg.ProbeOptions{Try: try, Interval: d.Interval})
	}
	return w
}

// before tells why the database does not answer before anything was asked for; empty if it does, or nobody can tell.
func (w *watch) before(ctx context.Context) string {
	if w.probe == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, first)
	defer cancel()
	if w.probe.Served(ctx, time.Time{}) {
		return ""
	}
	if cause := w.probe.Measured().Cause; cause != "" {
		return cause
	}
	return "no answer in time"
}

// settle waits until the database answers again, for a while, so that an outage is seen to its end. One that did not answer before the
// change (asked says why) is not waited for long.
func (w *watch) settle(ctx context.Context, asked Asked) {
	if w.probe == nil {
		return
	}
	patience := w.answer
	if asked.Before != "" {
		patience = min(patience, first)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	w.probe.Served(ctx, time.Now())
}

// stop ends the probe. It may be called twice.
func (w *watch) stop() *Watched {
	if w.probe == nil {
		return nil
	}
	m := watchedOf(w.probe.Stop())
	return &m
}
