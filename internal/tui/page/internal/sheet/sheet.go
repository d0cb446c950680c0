// Package sheet is what tabs share that show one value of an instance: reading it again and again, its age, why it could not be read, moving about in
// it, and asking for the plan of a change.
package sheet

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/tui/component"
	"dbops/internal/tui/reading"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// OnDemand is the pace of what is read when the tab is opened, come back to, or asked to; never by itself.
const OnDemand = time.Duration(1<<63 - 1)

// Sheet reads one value of an instance. It is a value; its page keeps what its methods return.
type Sheet[T any] struct {
	At   app.Instance
	What string // it shows: "the availability"

	scope   work.Scope
	one     reading.One[T]
	every   time.Duration
	began   time.Time
	covered bool
	scroll  component.Scroll
}

// New returns a sheet that has read nothing. Every is how often it reads while it is in front; 0: as often as the scene says.
func New[T any](pool *work.Pool, at app.Instance, what string, every time.Duration, read func(context.Context) (T, error)) Sheet[T] {
	scope := pool.Scope()
	return Sheet[T]{At: at, What: what, scope: scope, one: reading.NewOne(scope, read), every: every}
}

// ID is the scope of its page.
func (p Sheet[T]) ID() work.ID { return p.scope.ID }

// Scope is that of its page, for what the page does besides.
func (p Sheet[T]) Scope() work.Scope { return p.scope }

// Close cancels what it reads.
func (p Sheet[T]) Close() { p.scope.Close() }

// Value is what was read last; ok is false before that.
func (p Sheet[T]) Value() (v T, ok bool) { return p.one.Value() }

// Read reads it now.
func (p Sheet[T]) Read(s screen.Scene) (Sheet[T], screen.Out) {
	var cmd tea.Cmd
	p.began = s.Now
	p.one, cmd = p.one.Start(s.Now)
	return p, screen.Run(cmd)
}

func (p Sheet[T]) due(s screen.Scene, after time.Duration) bool {
	return !p.covered && !p.one.Loading() && s.Now.Sub(p.began) >= after
}

// Update takes ticks, covering and uncovering, cancelling, and the answers of its readings; read tells that the value may be another one.
func (p Sheet[T]) Update(msg tea.Msg, s screen.Scene) (next Sheet[T], out screen.Out, read bool) {
	switch msg.(type) {
	case screen.Tick:
		if p.due(s, max(s.Refresh, p.every)) {
			p, out = p.Read(s)
		}
		return p, out, false
	case screen.Covered:
		p.covered = true
		return p, out, false
	case screen.Resumed:
		if p.covered = false; p.due(s, s.Refresh) {
			p, out = p.Read(s)
		}
		return p, out, false
	case screen.Cancel:
		if p.one.Loading() {
			p.one = p.one.Cancel()
			out = screen.Say(screen.Notice{Text: "reading cancelled"})
		}
		return p, out, false
	}
	one, ok := p.one.Update(msg)
	if ok {
		p.one = one
	}
	return p, out, ok
}

// Header is what the frame shows: the age of the value.
func (p Sheet[T]) Header() screen.Header {
	h := screen.Header{
		Environment: p.At.Environment, Title: []string{p.At.Name}, Facts: string(p.At.Provider) + " " + p.At.Coordinates, Cursor: -1,
		Fresh: p.one.Fresh(),
	}
	h.Fresh.Still = p.every > 0
	return h
}
