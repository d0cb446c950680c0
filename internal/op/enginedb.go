package op

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/dbos-inc/dbos-transact-golang/dbos"
	"github.com/jackc/pgx/v5"

	"dbops/internal/state/db"
)

// engineLock is the advisory lock of who brings the engine's tables up to date.
const engineLock = 7283461502

// MigrateEngine brings the tables of the durable execution engine to what this dbops knows, in one transaction: left to itself it does so
// in many, and of two processes that begin at once one fails. SQLite needs none of it.
func MigrateEngine(ctx context.Context, d *db.DB) error {
	if !d.Postgres() {
		return nil
	}
	what := "migrate the engine's tables in " + d.Name
	if missing, err := missingMigrations(ctx, d.Pool); err != nil || len(missing) == 0 {
		return db.Fault(what, err)
	}
	err := pgx.BeginFunc(ctx, d.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, fmt.Sprintf("select pg_advisory_xact_lock(%d)", engineLock)); err != nil {
			return err
		}
		missing, err := missingMigrations(ctx, tx)
		if err != nil {
			return err
		}
		for _, s := range missing {
			// Outside of a transaction the index would be built while others write; this transaction keeps them out.
			s = strings.ReplaceAll(s, " CONCURRENTLY", "")
			if _, err := tx.Conn().PgConn().Exec(ctx, s).ReadAll(); err != nil {
				return err
			}
		}
		return nil
	})
	return db.Fault(what, err)
}

type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// missingMigrations are the statements between the engine's tables and this dbops.
func missingMigrations(ctx context.Context, q rowQuerier) ([]string, error) {
	var there bool
	// Not to_regclass: its cache does not see what another session has just committed.
	if err := q.QueryRow(ctx, "select count(*) > 0 from pg_tables where schemaname = $1 and tablename = 'dbos_migrations'", db.EngineSchema).Scan(&there); err != nil {
		return nil, err
	}
	version := 0
	if there {
		err := q.QueryRow(ctx, "select version from "+db.EngineSchema+".dbos_migrations").Scan(&version)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return nil, err
		}
	}
	statements, err := dbos.MigrationStatements(db.EngineSchema, version+1)
	if err != nil {
		return nil, nil //nolint:nilerr // it knows of no such version: nothing is missing
	}
	return statements, nil
}

// engineTx is the engine's transaction as the store needs it.
type engineTx struct{ tx dbos.Tx }

func (t engineTx) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := t.tx.Exec(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t engineTx) Query(ctx context.Context, query string, args ...any) (db.Rows, error) {
	rows, err := t.tx.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return rows, nil
}
