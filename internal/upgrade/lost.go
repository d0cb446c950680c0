package upgrade

import (
	"context"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/quiesce"
)

// calls is how often a target that does not answer is called before it is given up.
const calls = 3

// goBackWithout makes clients use the source again when the target is lost, and what was written there may be: nobody can close it.
func (m *moving) goBackWithout(ctx context.Context, s *op.Session, b *quiesce.Before, reversed bool, why error) (op.Result, error) {
	s.Progress(ctx, "going back without %s: %s", m.to.Name, oneLine(why))
	if reversed { // on this side: should the target come back, what it still holds must not follow
		if _, err := m.endReverse(ctx, s); err != nil && !is(err, fault.Unavailable, fault.NotFound) {
			return op.Result{}, err
		}
	}
	if err := s.Fence(); err != nil {
		return op.Result{}, err
	}
	if err := quiesce.Open(ctx, m.at(m.from), b); err != nil {
		return op.Result{}, err
	}
	return m.serveAgain(ctx, s, m.to.Name+" could not be reached, and is not closed: see that nobody writes to it should it come back; what was written to it is lost, as asked")
}

// unreached says what can be done when the target does not answer.
func (m *moving) unreached(s *op.Session, err error) error {
	return fault.New(fault.KindOf(err), "keep writers out of "+m.to.Name, err).
		Hint("see that %s can be reached, then dbops runs decide %s retry; if it is lost, dbops runs decide %s abandon, then dbops upgrade rollback -e %s %s --lose-writes goes back without it",
			m.to.Name, s.Run, s.Run, m.t.Environment, m.t.Instance)
}
