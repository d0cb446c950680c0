package follow

import (
	"context"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// Reverse has the source follow the target, for going back without loss. It is called when [Drain] and [Detach] are done and before anybody
// writes to the target. It may be called again, also when writers are there: a slot that is there is kept.
func Reverse(ctx context.Context, j Job) error {
	w := j.back()
	from, to, err := w.both(ctx)
	if err != nil {
		return err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	if err = j.forward().gone(ctx, to, from); err == nil {
		err = w.reverse(ctx, from, to)
	}
	return failed("let the source follow the target", err)
}

// gone fails while anything of this direction is left.
func (w *way) gone(ctx context.Context, from, to *pgx.Conn) error {
	if err := w.absent(ctx, from, to); err != nil {
		return err
	}
	_, found, err := noted(ctx, from, "publication", w.name)
	if err == nil && found {
		err = fault.Newf(fault.Blocked, "replicate in one direction only", "the %s still has the publication %s", w.from.what, w.name).Hint("%s", beginAnew)
	}
	return err
}

// ReverseSlot has the target keep what is written to it for the source, and is all of [Reverse] that has to be done before anybody writes to the
// target: [Detach] and [Reverse] may follow when clients are served. Not with Job.FullIdentity, where Detach gives tables their identity back.
// It may be called again.
func ReverseSlot(ctx context.Context, j Job) error {
	w := j.back()
	from, err := w.from.open(ctx)
	if err != nil {
		return err
	}
	defer shut(ctx, from)
	return failed("keep what is written to the target", w.keepFrom(ctx, from))
}

func (w *way) reverse(ctx context.Context, from, to *pgx.Conn) error {
	if err := w.keepFrom(ctx, from); err != nil {
		return err
	}
	return w.attach(ctx, from, to)
}

// keepFrom publishes and makes the slot, unless it is there.
func (w *way) keepFrom(ctx context.Context, from *pgx.Conn) error {
	has, err := one[bool](ctx, from, "select exists (select from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn is not null)", w.name)
	if err != nil {
		return err
	}
	if !has {
		if err := w.dropSlot(ctx, from); err != nil { // half of one
			return err
		}
		if _, err := w.publish(ctx, from); err != nil {
			return err
		}
		if _, err := from.Exec(ctx, "select pg_create_logical_replication_slot($1, 'pgoutput')", w.name); err != nil {
			if ctx.Err() != nil {
				return w.waitedForAnew(ctx, err)
			}
			return err
		}
	}
	return nil
}

// waitedForAnew is for a session that was lost by waiting.
func (w *way) waitedForAnew(ctx context.Context, err error) error {
	conn, oerr := w.from.open(context.WithoutCancel(ctx))
	if oerr != nil {
		return err
	}
	defer shut(ctx, conn)
	return w.waitedFor(ctx, conn, err)
}

// ReverseLag is [Look] for the way back.
func ReverseLag(ctx context.Context, j Job) (Lag, error) { return j.back().look(ctx) }

// ReverseDrain is [Drain] for the way back: when writers on the target have stopped, it waits until the source has everything.
func ReverseDrain(ctx context.Context, j Job) (lsn string, err error) { return j.back().drain(ctx) }

// ReverseSequences sets the sequences of the source to where those of the target stand.
func ReverseSequences(ctx context.Context, j Job) error { return j.back().sequences(ctx) }

// ReverseEnd is [Detach] for the way back.
func ReverseEnd(ctx context.Context, j Job) error { return j.back().end(ctx) }
