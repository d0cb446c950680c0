package state

import (
	"context"
	"errors"

	"dbops/internal/state/audit"
	"dbops/internal/state/db"
)

// Open makes a store of an open database: it migrates the tables, and opens the audit log with keys. The store owns the database from
// then on, also if this fails.
func Open(ctx context.Context, d *db.DB, keys audit.Keys) (*Store, error) {
	if _, _, err := d.Migrate(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	log, err := audit.Open(ctx, d, keys)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return &Store{DB: d, Log: log}, nil
}
