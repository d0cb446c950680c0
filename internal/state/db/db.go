// Package db opens the database that holds dbops's state, SQLite or PostgreSQL, and hides what differs between the two.
//
// Queries are written once, with $1 to $n in the order of their first use, and run on a [Querier]: a transaction of this package's own,
// or one that somebody else began on the same database. Tables are found without a schema's name in both.
package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Schema holds dbops's own tables in PostgreSQL, EngineSchema those of the durable execution engine.
const (
	Schema       = "dbops"
	EngineSchema = "dbops_engine"
)

// Querier runs statements: a transaction, or a pool of connections.
type Querier interface {
	// Exec returns the number of rows that changed.
	Exec(ctx context.Context, query string, args ...any) (int64, error)
	Query(ctx context.Context, query string, args ...any) (Rows, error)
}

// Rows are the rows of an answer. They must be closed.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close() error
}

// DB is an open store.
type DB struct {
	SQL  *sql.DB       // either database
	Pool *pgxpool.Pool // PostgreSQL; nil for SQLite
	// Path of the SQLite file; empty for PostgreSQL.
	Path string
	// Name is where it is, for messages, without credentials.
	Name string

	again func(context.Context) (*DB, error)
}

// Again opens the same database once more, for who closes what it is given.
func (d *DB) Again(ctx context.Context) (*DB, error) { return d.again(ctx) }

// Postgres tells which of the two it is.
func (d *DB) Postgres() bool { return d.Pool != nil }

// Close ends all connections.
func (d *DB) Close() error {
	err := d.SQL.Close()
	if d.Pool != nil {
		d.Pool.Close()
	}
	return err
}

// NowMS is an SQL expression: the milliseconds since 1970 by the clock of the store, the only clock that leases are judged by.
func (d *DB) NowMS() string {
	if d.Postgres() {
		return "(extract(epoch from clock_timestamp()) * 1000)::bigint"
	}
	return "cast((julianday('now') - 2440587.5) * 86400000 as integer)"
}

// ForUpdate is the end of a SELECT whose rows nobody else may change before the transaction ends. SQLite's transactions exclude
// each other anyway.
func (d *DB) ForUpdate() string {
	if d.Postgres() {
		return " for update"
	}
	return ""
}

// Tx runs fn in one transaction, which is committed if fn returns nil. fn may be called again after a conflict with another
// transaction, so it must have no effect but through its Querier.
func (d *DB) Tx(ctx context.Context, fn func(context.Context, Querier) error) error {
	for attempt := 1; ; attempt++ {
		err := d.tx(ctx, fn)
		if err == nil || attempt == maxAttempts || !conflicts(err) || ctx.Err() != nil {
			return err
		}
	}
}

const maxAttempts = 5

func (d *DB) tx(ctx context.Context, fn func(context.Context, Querier) error) error {
	tx, err := d.SQL.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if err := fn(ctx, stdQuerier{tx}); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Read runs statements outside of any transaction.
func (d *DB) Read() Querier { return stdQuerier{d.SQL} }

// std is what *sql.DB and *sql.Tx share.
type std interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

type stdQuerier struct{ std }

func (q stdQuerier) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (q stdQuerier) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	rows, err := q.QueryContext(ctx, query, args...) //nolint:rowserrcheck // the caller's
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Each calls scan for every row of an answer.
func Each(ctx context.Context, q Querier, scan func(Rows) error, query string, args ...any) (err error) {
	rows, err := q.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// One scans the first row of an answer into dest; found is false if there is none.
func One(ctx context.Context, q Querier, dest []any, query string, args ...any) (found bool, err error) {
	err = Each(ctx, q, func(r Rows) error {
		if found {
			return nil
		}
		found = true
		return r.Scan(dest...)
	}, query, args...)
	return found && err == nil, err
}
