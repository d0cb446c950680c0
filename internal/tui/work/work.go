// Package work owns everything the terminal UI does outside its event loop.
//
// A command is a function that runs in a goroutine of its own. [Pool] gives each a context, waits for all of them at the end,
// and lets none start after that; a [Scope] is the part of a pool that belongs to one page and ends with it. Answers come back
// as messages that name their scope, so that one which arrives late finds nobody to disturb.
package work

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
)

// ID names a scope, and with it the page that waits for its messages. The zero ID names none.
type ID uint64

// Addressed is a message for the page of one scope.
type Addressed interface{ Addressee() ID }

// Pool starts commands and waits for them. Use [New].
type Pool struct {
	ctx    context.Context // the pool is the lifetime of what runs in it
	cancel context.CancelFunc

	mu     sync.Mutex
	closed bool
	last   ID
	crash  *Crash
	wg     sync.WaitGroup
}

// Crash is the message of a command that panicked, which it sends in place of its answer.
type Crash struct {
	Value any
	Stack []byte
}

// New returns a pool whose commands end with ctx, or with [Pool.Close].
func New(ctx context.Context) *Pool {
	p := &Pool{}
	p.ctx, p.cancel = context.WithCancel(ctx)
	return p
}

// Close cancels every command and waits until the last has returned. It may be called twice.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
}

// Do is a command that runs f. After [Pool.Close] it does nothing.
func (p *Pool) Do(f func(ctx context.Context) tea.Msg) tea.Cmd {
	return p.do(p.ctx, f)
}

func (p *Pool) do(ctx context.Context, f func(ctx context.Context) tea.Msg) tea.Cmd {
	return func() tea.Msg {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil
		}
		p.wg.Add(1)
		p.mu.Unlock()
		defer p.wg.Done()
		return p.guard(ctx, f)
	}
}

// guard turns a panic into a message: the program must end in order, so that the terminal is given back before anybody reads
// the stack.
func (p *Pool) guard(ctx context.Context, f func(ctx context.Context) tea.Msg) (msg tea.Msg) {
	defer func() {
		if v := recover(); v != nil {
			msg = p.Caught(v)
		}
	}()
	return f(ctx)
}

// Caught keeps a panic that was recovered, with the stack of its goroutine.
func (p *Pool) Caught(v any) Crash { return p.keep(Crash{Value: v, Stack: debug.Stack()}) }

func (p *Pool) keep(c Crash) Crash {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.crash == nil {
		p.crash = &c
	}
	return c
}

// Crashed is the first panic that was caught; nil without one.
func (p *Pool) Crashed() *Crash {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crash
}

// Crash is a command that reports a panic which was recovered elsewhere.
func (p *Pool) Crash(value any, stack []byte) tea.Cmd {
	return func() tea.Msg { return p.keep(Crash{Value: value, Stack: stack}) }
}

// After is a command that waits for d and returns what f makes of the time it is then. It returns nothing when the pool ends
// first.
func (p *Pool) After(d time.Duration, f func(time.Time) tea.Msg) tea.Cmd {
	return p.Do(func(ctx context.Context) tea.Msg {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case at := <-t.C:
			return f(at)
		case <-ctx.Done():
			return nil
		}
	})
}

// Scope is the part of a pool that belongs to one page.
type Scope struct {
	ID     ID
	pool   *Pool
	ctx    context.Context // the scope is the lifetime of what runs in it
	cancel context.CancelFunc
}

// Scope makes a scope with an ID of its own.
func (p *Pool) Scope() Scope {
	p.mu.Lock()
	p.last++
	id := p.last
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(p.ctx)
	return Scope{ID: id, pool: p, ctx: ctx, cancel: cancel}
}

// Sub is a part of s for one request, which ends after limit, or before that when it is closed. Its messages go to the page
// of s.
func (s Scope) Sub(limit time.Duration) Scope {
	ctx, cancel := context.WithTimeout(s.ctx, limit)
	return Scope{ID: s.ID, pool: s.pool, ctx: ctx, cancel: cancel}
}

// Expired tells that the limit of a [Scope.Sub] has passed.
func (s Scope) Expired() bool { return errors.Is(s.ctx.Err(), context.DeadlineExceeded) }

// Do is a command that runs f with the context of the scope.
func (s Scope) Do(f func(ctx context.Context) tea.Msg) tea.Cmd { return s.pool.do(s.ctx, f) }

// Close cancels what runs in the scope. It may be called twice, and on the zero Scope.
func (s Scope) Close() {
	if s.cancel != nil {
		s.cancel()
	}
}
