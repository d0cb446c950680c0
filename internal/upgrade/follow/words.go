package follow

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// wordsLimit is how many changes are tried; a transaction that has more keeps its secret.
const wordsLimit = 100_000

// words finds out why the follower does not go on, which PostgreSQL says only in its log: it reads the next transaction without taking it, and
// does it in a transaction that is rolled back. nil means that nothing was found: the follower goes on, or this login may not look.
func (w *way) words(ctx context.Context, from, to *pgx.Conn) (why, err error) {
	done, err := w.origin(ctx, to)
	if err != nil || done == "" {
		return nil, err
	}
	next, err := w.peek(ctx, from, done)
	if err != nil || next == nil {
		return nil, err
	}
	if why, err = w.try(ctx, to, next); why == nil || err != nil {
		return nil, err
	}
	// The follower may have come back in between: its own rows would be in the way. It moves its position before it shows them.
	if now, err := w.origin(ctx, to); err != nil || now != done {
		return nil, err
	}
	return why, nil
}

// origin is up to where the follower has applied; empty if that is not to be seen.
func (w *way) origin(ctx context.Context, to *pgx.Conn) (string, error) {
	lsn, err := one[string](ctx, to, `select coalesce(pg_replication_origin_progress('pg_' || oid, true), '0/0')::text from pg_subscription
 where subname = $1 and subdbid = (select oid from pg_database where datname = current_database())`, w.name)
	if errors.Is(err, pgx.ErrNoRows) || refused(err) {
		return "", nil
	}
	if pe, ok := serverError(err); ok && pe.Code == "42704" { // it has not begun
		return "0/0", nil
	}
	return lsn, err
}

// peek reads the first transaction after some position; nil if there is none, or somebody else reads.
func (w *way) peek(ctx context.Context, from *pgx.Conn, after string) ([]change, error) {
	begin, err := one[int64](ctx, from, "select ($1::pg_lsn - '0/0')::bigint", after)
	if err != nil {
		return nil, err
	}
	for _, most := range []int{1, 1000, wordsLimit} { // a server reads to the end of a transaction; the first ones may be done
		next, more, err := w.peekSome(ctx, from, uint64(begin), most)
		if pe, ok := serverError(err); ok && (pe.Code == "55006" || pe.Code == "57014") || refused(err) {
			return nil, nil // the follower is back, or it takes too long, or this login may not
		}
		if err != nil || next != nil || !more {
			return next, err
		}
	}
	return nil, nil
}

func (w *way) peekSome(ctx context.Context, from *pgx.Conn, begin uint64, most int) (next []change, more bool, err error) {
	err = pgx.BeginTxFunc(ctx, from, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "set local statement_timeout = '20s'"); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, "select data from pg_logical_slot_peek_binary_changes($1, null, $2, 'proto_version', '1', 'publication_names', $3)", w.name, most, ident(w.name))
		if err != nil {
			return err
		}
		r := &reading{relations: map[uint32]relation{}}
		var b []byte
		var now []change
		_, err = pgx.ForEachRow(rows, []any{&b}, func() error {
			more = true
			if next != nil || len(now) > wordsLimit {
				return nil
			}
			c, ends, err := r.read(b)
			now = append(now, c...)
			if ends && r.end > begin {
				next = now
			}
			if ends {
				now = nil
			}
			return err
		})
		return errors.Join(err, rows.Err())
	})
	return next, more, err
}

// try does the changes as the follower does, and takes them back.
func (w *way) try(ctx context.Context, to *pgx.Conn, all []change) (why, err error) {
	if err := script(ctx, to, "begin; set local session_replication_role = replica; set local statement_timeout = '20s'; set local lock_timeout = '1s'"); err != nil {
		rerr := script(ctx, to, "rollback")
		if refused(err) {
			return nil, rerr
		}
		return nil, errors.Join(err, rerr)
	}
	var at change
	for _, at = range all {
		if err = script(ctx, to, at.sql); err != nil {
			break
		}
	}
	if rerr := script(ctx, to, "rollback"); rerr != nil {
		return nil, rerr
	}
	pe, ok := serverError(err)
	if err == nil || ok && (pe.Code == "55P03" || pe.Code == "57014") { // a lock may be the follower's own
		return nil, nil
	}
	if !ok {
		return nil, err
	}
	text := pe.Message
	if pe.Detail != "" {
		text += ": " + strings.TrimSuffix(pe.Detail, ".")
	}
	return fmt.Errorf("%s: %s", at.what, text), nil
}
