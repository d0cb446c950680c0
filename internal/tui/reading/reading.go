// Package reading asks the providers for the state of instances and hands the answers to a page as they come.
//
// A [Reader] belongs to one page. At most one reading runs at a time; a new one replaces the old, and answers of the old one
// that arrive late are dropped by their generation. A reading that takes longer than [Limit] is given up.
package reading

import (
	"context"
	"errors"
	"slices"
	"time"

	tea "charm.land/bubbletea/v2"

	"dbops/internal/app"
	"dbops/internal/fault"
	"dbops/internal/tui/core"
	"dbops/internal/tui/work"
)

// Limit bounds one reading.
const Limit = 45 * time.Second

// Reader reads the status of an environment, of one instance, or of everything.
type Reader struct {
	core          core.Core
	scope         work.Scope
	env, instance string

	sub     work.Scope
	ch      <-chan app.Status
	gen     int
	loading bool
	began   time.Time
}

type openedMsg struct {
	to  work.ID
	gen int
	ch  <-chan app.Status
	err error
}

// Addressee is the page that reads.
func (m openedMsg) Addressee() work.ID { return m.to }

// Result is what a message told a [Reader].
type Result struct {
	Statuses []app.Status
	Done     bool  // the reading has ended
	Err      error // why nobody could be asked
	Silent   error // why those who have not answered by now will not; nil while they may
}

// New returns a reader that has not begun. Empty env and instance mean all.
func New(c core.Core, scope work.Scope, env, instance string) Reader {
	return Reader{core: c, scope: scope, env: env, instance: instance}
}

// Loading tells that a reading runs.
func (r Reader) Loading() bool { return r.loading }

// Began is when the last reading began; zero before the first.
func (r Reader) Began() time.Time { return r.began }

// Start begins a reading, in place of one that runs.
func (r Reader) Start(now time.Time) (Reader, tea.Cmd) {
	r.sub.Close()
	r.sub = r.scope.Sub(Limit)
	r.gen++
	r.loading, r.began = true, now
	c, env, instance, to, gen := r.core, r.env, r.instance, r.scope.ID, r.gen
	return r, r.sub.Do(func(ctx context.Context) tea.Msg {
		ch, err := c.Status(ctx, env, instance)
		return openedMsg{to: to, gen: gen, ch: ch, err: err}
	})
}

// Cancel gives up the reading that runs.
func (r Reader) Cancel() Reader {
	r.sub.Close()
	r.gen++
	r.loading = false
	return r
}

// Update takes a message of a reading. ok is false when it is another's, or of a reading that was replaced.
func (r Reader) Update(msg tea.Msg) (next Reader, cmd tea.Cmd, res Result, ok bool) {
	switch m := msg.(type) {
	case openedMsg:
		if m.gen != r.gen {
			return r, nil, res, false
		}
		if m.err != nil {
			return r.end(), nil, Result{Done: true, Err: m.err}, true
		}
		r.ch = m.ch
		return r, work.Next(r.sub, r.gen, r.ch), res, true
	case work.Batch[app.Status]:
		if m.Gen != r.gen {
			return r, nil, res, false
		}
		res.Statuses = slices.DeleteFunc(slices.Clone(m.Items), func(st app.Status) bool {
			return errors.Is(st.Err, context.Canceled) // nobody's answer: the reading was given up
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

func (r Reader) end() Reader {
	r.sub.Close()
	r.loading = false
	return r
}
