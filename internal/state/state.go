// Package state is where plans, runs, leases, approvals and audit entries live: a SQLite file for one person, PostgreSQL for a team.
//
// A [Tx] reads and writes rows in one transaction, its own ([Store.Tx]) or one that the engine began on the same database
// ([Store.On]), so that a checkpoint, its audit entry and what it used up are one. Leases are judged by the store's clock alone.
package state

import (
	"context"
	"errors"
	"time"

	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// Store is an open store with its audit log.
type Store struct {
	DB  *db.DB
	Log *audit.Log
}

// Close ends all connections.
func (s *Store) Close() error { return s.DB.Close() }

// Team tells whether several people and machines share the store.
func (s *Store) Team() bool { return s.DB.Postgres() }

// Tx runs fn in one transaction, which is committed if fn returns nil; fn may be called again after a conflict. Errors of the store
// are faults that say what to do.
func (s *Store) Tx(ctx context.Context, op string, fn func(context.Context, *Tx) error) error {
	err := s.DB.Tx(ctx, func(ctx context.Context, q db.Querier) error { return fn(ctx, s.On(q)) })
	return db.Fault(op, err)
}

// Read runs fn outside of any transaction.
func (s *Store) Read(ctx context.Context, op string, fn func(context.Context, *Tx) error) error {
	return db.Fault(op, fn(ctx, s.On(s.DB.Read())))
}

// On is the store's rows as somebody else's transaction on the same database sees them.
func (s *Store) On(q db.Querier) *Tx { return &Tx{store: s, q: q} }

// Tx is the store's rows in one transaction.
type Tx struct {
	store *Store
	q     db.Querier
}

// Append adds an entry to the audit log.
func (t *Tx) Append(ctx context.Context, e audit.Entry) error {
	if t.store.Log == nil {
		return errors.New("the audit log is not open: nothing may be changed")
	}
	_, err := t.store.Log.Append(ctx, t.q, e)
	return err
}

// Now is the time by the store's clock.
func (t *Tx) Now(ctx context.Context) (time.Time, error) {
	var ms int64
	_, err := db.One(ctx, t.q, []any{&ms}, "select "+t.now())
	return fromMS(ms), err
}

func (t *Tx) now() string { return t.store.DB.NowMS() }

func (t *Tx) exec(ctx context.Context, query string, args ...any) error {
	_, err := t.q.Exec(ctx, query, args...)
	return err
}

func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMS(v int64) time.Time {
	if v == 0 {
		return time.Time{}
	}
	return time.UnixMilli(v).UTC()
}
