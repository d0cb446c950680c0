package proxy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

const logWaiting = 1024 // lines

// logQueue keeps a log that does not take its lines (a full disk, a pipe that nobody reads) from holding up sessions: then lines are
// dropped, and how many is said when it takes some again.
type logQueue struct {
	lines   chan logLine
	dropped atomic.Int64
	ended   chan struct{} // closed when all that was queued is written
}

type logLine struct {
	to     slog.Handler
	record slog.Record
}

func newLogQueue() *logQueue {
	return &logQueue{lines: make(chan logLine, logWaiting), ended: make(chan struct{})}
}

// write writes until ctx ends, and then what is left.
func (q *logQueue) write(ctx context.Context) {
	defer close(q.ended)
	for {
		select {
		case l := <-q.lines:
			q.one(context.WithoutCancel(ctx), l)
		case <-ctx.Done():
			for {
				select {
				case l := <-q.lines:
					q.one(context.WithoutCancel(ctx), l)
				default:
					return
				}
			}
		}
	}
}

func (q *logQueue) one(ctx context.Context, l logLine) {
	if n := q.dropped.Swap(0); n > 0 {
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "the log did not take its lines", 0)
		r.AddAttrs(slog.Int64("dropped", n))
		_ = l.to.Handle(ctx, r)
	}
	_ = l.to.Handle(ctx, l.record)
}

// last waits for what is queued to be written, as long as last words may take.
func (q *logQueue) last() {
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-q.ended:
	case <-t.C:
	}
}

// queued is a handler whose lines go through a queue.
type queued struct {
	slog.Handler
	q *logQueue
}

func (h queued) Handle(_ context.Context, r slog.Record) error {
	select {
	case h.q.lines <- logLine{h.Handler, r.Clone()}:
	default:
		h.q.dropped.Add(1)
	}
	return nil
}

func (h queued) WithAttrs(attrs []slog.Attr) slog.Handler {
	return queued{h.Handler.WithAttrs(attrs), h.q}
}

func (h queued) WithGroup(name string) slog.Handler { return queued{h.Handler.WithGroup(name), h.q} }
