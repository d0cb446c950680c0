package reading

import (
	"context"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/screen"
	"dbops/internal/tui/work"
)

// One reads one value, again and again: what a tab shows. It keeps the last value when a later reading fails, with its age. It is a value; its
// page keeps what its methods return. At most one reading runs at a time, and an answer of one that was replaced is dropped.
type One[T any] struct {
	scope work.Scope
	read  func(context.Context) (T, error)

	sub     work.Scope
	gen     int
	loading bool
	began   time.Time

	value T
	at    time.Time // when the value's reading began
	err   error     // of the last reading
}

type oneMsg[T any] struct {
	to    work.ID
	gen   int
	value T
	err   error
}

// Addressee is the page that reads.
func (m oneMsg[T]) Addressee() work.ID { return m.to }

// NewOne returns one that has not read. read may block until its ctx ends, which is after [Limit].
func NewOne[T any](scope work.Scope, read func(context.Context) (T, error)) One[T] {
	return One[T]{scope: scope, read: read}
}

// Instead reads another value from now on, of which nothing is known. Answers about the one before are dropped.
func (o One[T]) Instead(read func(context.Context) (T, error)) One[T] {
	o = o.Cancel()
	return One[T]{scope: o.scope, read: read, gen: o.gen}
}

// Holding is one that has read a value, as of at.
func (o One[T]) Holding(v T, at time.Time) One[T] {
	o.value, o.at = v, at
	return o
}

// Value is what was read last; ok is false before the first answer.
func (o One[T]) Value() (v T, ok bool) { return o.value, !o.at.IsZero() }

// Err is why the last reading failed; nil if it did not.
func (o One[T]) Err() error { return o.err }

// At is when the value was asked for; zero before the first answer.
func (o One[T]) At() time.Time { return o.at }

// Began is when the last reading began; zero before the first.
func (o One[T]) Began() time.Time { return o.began }

// Loading tells that a reading runs.
func (o One[T]) Loading() bool { return o.loading }

// Due tells that it should be read again by now.
func (o One[T]) Due(s screen.Scene) bool { return !o.loading && s.Now.Sub(o.began) >= s.Refresh }

// Start begins a reading, in place of one that runs.
func (o One[T]) Start(now time.Time) (One[T], tea.Cmd) {
	o.sub.Close()
	o.sub = o.scope.Sub(Limit)
	o.gen++
	o.loading, o.began = true, now
	to, gen, read, sub := o.scope.ID, o.gen, o.read, o.sub
	return o, sub.Do(func(ctx context.Context) tea.Msg {
		v, err := read(ctx)
		if err != nil && sub.Expired() {
			err = fault.New(fault.Unavailable, "read it", err).Hint("no answer within %s", Limit)
		}
		return oneMsg[T]{to, gen, v, err}
	})
}

// Cancel gives up the reading that runs.
func (o One[T]) Cancel() One[T] {
	o.sub.Close()
	o.gen++
	o.loading = false
	return o
}

// Of is one that reads something else from now on: what was read is forgotten, what is being read is given up.
func (o One[T]) Of(read func(context.Context) (T, error)) One[T] {
	o = o.Cancel()
	var none T
	o.read, o.value, o.at, o.err = read, none, time.Time{}, nil
	return o
}

// Update takes an answer. ok is false when the message is another's, or of a reading that was replaced.
func (o One[T]) Update(msg tea.Msg) (next One[T], ok bool) {
	m, is := msg.(oneMsg[T])
	if !is || m.to != o.scope.ID || m.gen != o.gen {
		return o, false
	}
	o.sub.Close()
	o.loading, o.err = false, m.err
	if m.err == nil {
		o.value, o.at = m.value, o.began
	}
	return o, true
}

// Fresh is how old the value is, for the frame.
func (o One[T]) Fresh() screen.Fresh {
	f := screen.Fresh{At: o.at, Loading: o.loading}
	if o.err != nil {
		f.Err = fault.Reason(o.err)
	}
	return f
}
