package app

import (
	"context"
	"sync"

	"dbops/internal/op"
	"dbops/internal/telemetry"
)

// telemetryRoom is what the variables of OpenTelemetry ask for, made when there is the first thing to tell of.
type telemetryRoom struct {
	mu   sync.Mutex
	made bool
	t    *telemetry.Telemetry // nil: they ask for nothing
	ctx  context.Context      // that of the end, after all else has ended
}

func (a *App) telemetry(ctx context.Context) *telemetry.Telemetry {
	r := &a.tells
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.made {
		r.made = true
		notice := a.opts.Notice
		if notice == nil {
			notice = func(text string) { a.opts.Log.WarnContext(ctx, "a variable cannot be used", "text", text) }
		}
		r.t = telemetry.Start(ctx, telemetry.Options{Version: a.opts.Version, Getenv: a.opts.Getenv, Log: a.opts.Log, Notice: notice})
	}
	return r.t
}

// tellRuns is where the engine tells of its runs.
func (a *App) tellRuns(ctx context.Context) op.Telemetry {
	t := a.telemetry(ctx)
	return op.Telemetry{Tracer: t.Tracer(), Meter: t.Meter(), Parent: t.Parent()}
}

// close sends what was not sent yet.
func (r *telemetryRoom) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.t.Shutdown(r.ctx)
	r.made, r.t = true, nil
}
