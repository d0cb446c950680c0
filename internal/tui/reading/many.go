package reading

import (
	"context"
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/fault"
	"dbops/internal/tui/work"
)

// Many reads answers that come one by one, again and again. It is a value; its page keeps what its methods return. At most one reading runs at
// a time, and an answer of one that was replaced is dropped. A page has at most one of each type of answer.
type Many[T any] struct {
	scope work.Scope
	open  func(context.Context) (<-chan T, error)
	fail  func(T) error // why an answer is none

	sub     work.Scope
	ch      <-chan T
	gen     int
	loading bool
	began   time.Time
}

type openedMsg[T any] struct {
	to  work.ID
	gen int
	ch  <-chan T
	err error
}

// Addressee is the page that reads.
func (m openedMsg[T]) Addressee() work.ID { return m.to }

// Got is what a message told a [Many].
type Got[T any] struct {
	Answers []T
	Done    bool  // the reading has ended
	Err     error // why nobody could be asked
	Silent  error // why those who have not answered by now will not; nil while they may
}

// NewMany returns one that has not read. open may block until its ctx ends, which is after [Limit]; fail is why an answer is none.
func NewMany[T any](scope work.Scope, open func(context.Context) (<-chan T, error), fail func(T) error) Many[T] {
	return Many[T]{scope: scope, open: open, fail: fail}
}

// Loading tells that a reading runs.
func (r Many[T]) Loading() bool { return r.loading }

// Began is when the last reading began; zero before the first.
func (r Many[T]) Began() time.Time { return r.began }

// Start begins a reading, in place of one that runs.
func (r Many[T]) Start(now time.Time) (Many[T], tea.Cmd) {
	r.sub.Close()
	r.sub = r.scope.Sub(Limit)
	r.gen++
	r.loading, r.began = true, now
	open, to, gen := r.open, r.scope.ID, r.gen
	return r, r.sub.Do(func(ctx context.Context) tea.Msg {
		ch, err := open(ctx)
		return openedMsg[T]{to: to, gen: gen, ch: ch, err: err}
	})
}

// Cancel gives up the reading that runs.
func (r Many[T]) Cancel() Many[T] {
	r.sub.Close()
	r.gen++
	r.loading = false
	return r
}

// Update takes a message of a reading. ok is false when it is another's, or of a reading that was replaced.
func (r Many[T]) Update(msg tea.Msg) (next Many[T], cmd tea.Cmd, res Got[T], ok bool) {
	switch m := msg.(type) {
	case openedMsg[T]:
		if m.gen != r.gen || m.to != r.scope.ID {
			return r, nil, res, false
		}
		if m.err != nil {
			return r.end(), nil, Got[T]{Done: true, Err: m.err}, true
		}
		r.ch = m.ch
		return r, work.Next(r.sub, r.gen, r.ch), res, true
	case work.Batch[T]:
		if m.Gen != r.gen || m.To != r.scope.ID {
			return r, nil, res, false
		}
		res.Answers = slices.DeleteFunc(slices.Clone(m.Items), func(v T) bool {
			return errors.Is(r.fail(v), context.Canceled) // nobody's answer: the reading was given up
		})
		if !m.Closed {
			return r, work.Next(r.sub, r.gen, r.ch), res, true
		}
		res.Done = true
		if r.sub.Expired() {
			res.Silent = fault.Newf(fault.Unavailable, "read the instance", "no answer within %s", Limit)
		}
		return r.end(), nil, res, true
	}
	return r, nil, res, false
}

func (r Many[T]) end() Many[T] {
	r.sub.Close()
	r.loading = false
	return r
}
