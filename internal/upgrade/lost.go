package upgrade

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/upgrade/follow"
	"dbops/internal/upgrade/quiesce"
)

// calls is how often a target that does not answer is called before it is given up.
const calls = 3

// goBackWithout makes clients use the source again when the target is lost, and what was written there may be: nobody can close it.
func (m *moving) goBackWithout(ctx context.Context, s *op.Session, b *quiesce.Before, why error) (op.Result, error) {
	s.Progress(ctx, "going back without %s: %s", m.to.Name, oneLine(why))
	if m.q.CatchUp { // on this side: should the target come back, what it still holds must not follow
		if err := m.endBoth(ctx, s); err != nil {
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

// The directions of a replication, as [follow.Names] has them.
const (
	forth = iota
	back
)

// endBoth ends the replication in both directions, for who goes back without what the target has; the first is there still if the run did not come
// to let the source follow.
func (m *moving) endBoth(ctx context.Context, s *op.Session) error {
	return m.each(func(name string) error {
		if err := m.ended(ctx, s, name, forth, true); err != nil {
			return err
		}
		return m.ended(ctx, s, name, back, true)
	})
}

// ended ends a direction of the replication of a database. A target that is gone has taken its half along, and with lose one that does not answer
// keeps it; what the source has of it ends in any case.
func (m *moving) ended(ctx context.Context, s *op.Session, database string, way int, lose bool) error {
	j, err := m.follow(ctx, database)
	gone := is(err, fault.NotFound)
	if err != nil && !gone {
		return err
	}
	if err := s.Fence(); err != nil {
		return err
	}
	end := follow.Detach
	if way == back {
		end = follow.ReverseEnd
	}
	if err = end(ctx, j); err == nil {
		return nil
	}
	if !gone && !m.to.Declared {
		c, cerr := m.cloud(ctx)
		if cerr != nil {
			return errors.Join(err, cerr)
		}
		if c != nil {
			_, gerr := c.Get(ctx, m.to.Name)
			gone = is(gerr, fault.NotFound)
		}
	}
	if !gone && !(lose && is(err, fault.Unavailable)) {
		return err
	}
	if left, lerr := m.leftOnSource(ctx, database, follow.Names(m.run, database)[way]); lerr != nil || left != "" {
		return errors.Join(err, lerr)
	}
	return nil
}

// leftOnSource names what of a replication is left on the source. The publication, which is kept for the other half of the work, has no other half
// any more.
func (m *moving) leftOnSource(ctx context.Context, database, name string) (string, error) {
	conn, err := m.r.d.Connect(ctx, m.t, m.from, database, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "begin read write; drop publication if exists "+ident(name)+"; commit", pgx.QueryExecModeSimpleProtocol); err != nil {
		return "", err
	}
	var left *string
	err = conn.QueryRow(ctx, `select string_agg(x, ', ') from (select 'slot ' || slot_name from pg_catalog.pg_replication_slots where slot_name = $1
 union all select 'subscription ' || subname from pg_catalog.pg_subscription where subname = $1 union all select 'role ' || rolname from pg_catalog.pg_roles where rolname = $1) y(x)`,
		name).Scan(&left)
	if err != nil || left == nil {
		return "", err
	}
	return *left, nil
}
