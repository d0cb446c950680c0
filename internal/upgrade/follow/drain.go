package follow

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

const drainEvery = 50 * time.Millisecond

// Drain waits until all that was ever committed on the source is committed on the target, and returns the position in the source's log up to
// which that is so. The caller has stopped the writers: a transaction that is still open on the source fails it, as it could commit
// afterwards. It may be called again.
func Drain(ctx context.Context, j Job) (lsn string, err error) { return j.forward().drain(ctx) }

func (w *way) drain(ctx context.Context) (string, error) {
	from, to, err := w.both(ctx)
	if err != nil {
		return "", err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	lsn, err := w.drained(ctx, from, to)
	return lsn, failed("wait for the last that was written to the "+w.from.what, err)
}

func (w *way) drained(ctx context.Context, from, to *pgx.Conn) (string, error) {
	if err := w.quiet(ctx, from); err != nil {
		return "", err
	}
	if has, err := subscribed(ctx, to, w.name); err != nil {
		return "", err
	} else if !has {
		return "", fault.Newf(fault.NotFound, "wait for the last that was written to the "+w.from.what, "the %s has no subscription %s", w.to.what, w.name).Hint("attach first")
	}
	// All that was committed is before this record; and as its transaction waits for the log to be written, those that did not wait are written, too.
	lsn, err := one[string](ctx, from, "select pg_logical_emit_message(true, 'dbops', 'drain')::text")
	if err != nil {
		return "", err
	}
	var done bool
	var derr error
	_, err = w.watch(ctx, from, to, func(l Lag) bool {
		// The slot's position is what the target has committed and written to its disk.
		done, derr = one[bool](ctx, from, "select $1::pg_lsn >= $2::pg_lsn", l.Applied, lsn)
		return derr != nil || done && len(l.NotReady) == 0
	}, drainEvery)
	if err == nil {
		err = derr
	}
	if err == nil {
		err = w.unaltered(ctx, from)
	}
	if err == nil {
		err = w.quiet(ctx, from)
	}
	if err != nil {
		return "", err
	}
	return lsn, nil
}

// quiet fails while a transaction of this database is open that has written, or one that is prepared.
func (w *way) quiet(ctx context.Context, conn *pgx.Conn) error {
	who, err := column[string](ctx, conn, `select format('session %s of %s', a.pid, coalesce(a.usename, 'nobody')) from pg_stat_activity a
 where exists (select from pg_locks l where l.pid = a.pid and l.locktype = 'transactionid' and l.mode = 'ExclusiveLock' and l.granted)
 and a.datname = current_database() and a.pid <> pg_backend_pid() and coalesce(a.backend_type, 'client backend') = 'client backend'
 union all select format('prepared transaction %L of %s', gid, owner) from pg_prepared_xacts where database = current_database()`)
	if err != nil {
		return err
	}
	if len(who) > 0 {
		return fault.Newf(fault.Busy, "wait for the last that was written to the "+w.from.what, "it is still being written: %s", few(who)).
			Hint("stop the writers, or end their sessions with pg_terminate_backend and prepared transactions with ROLLBACK PREPARED, then run it again")
	}
	return nil
}
