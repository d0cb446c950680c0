package db

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"dbops/internal/fault"
)

//go:embed migrations/*.sql
var files embed.FS

// migrationLock is the advisory lock that one migrating process holds.
const migrationLock = 7283461501

// Migrate brings the store's tables to what this dbops knows, in one transaction: killed at any moment, or started by many at once, it
// has either happened or not. A store that is newer than this dbops is a fault.Config.
func (d *DB) Migrate(ctx context.Context) (from, to int, err error) {
	op := "migrate the state " + d.Name
	entries, err := files.ReadDir("migrations")
	if err != nil {
		return 0, 0, fault.New(fault.Internal, op, err)
	}
	known := len(entries)
	if from, err = d.version(ctx); err == nil && from == known {
		return from, from, nil // the usual case needs no right to create anything
	}
	err = d.Tx(ctx, func(ctx context.Context, q Querier) error {
		if d.Postgres() {
			for _, s := range []string{"select pg_advisory_xact_lock(" + strconv.Itoa(migrationLock) + ")", "create schema if not exists " + Schema} {
				if _, err := q.Exec(ctx, s); err != nil {
					return err
				}
			}
		}
		if _, err := q.Exec(ctx, "create table if not exists state_version (version bigint not null)"); err != nil {
			return err
		}
		if _, err := One(ctx, q, []any{&from}, "select coalesce(max(version), 0) from state_version"); err != nil {
			return err
		}
		for i, e := range entries {
			if i < from {
				continue
			}
			b, err := files.ReadFile("migrations/" + e.Name())
			if err != nil {
				return err
			}
			for _, s := range d.statements(string(b)) {
				if _, err := q.Exec(ctx, s); err != nil {
					return fmt.Errorf("%s: %w", e.Name(), err)
				}
			}
			if _, err := q.Exec(ctx, "insert into state_version values ($1)", i+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return from, from, Fault(op, err)
	}
	if from > known {
		return from, from, fault.Newf(fault.Config, op, "it is of version %d, and this dbops knows %d", from, known).Hint("upgrade dbops")
	}
	return from, known, nil
}

func (d *DB) version(ctx context.Context) (v int, err error) {
	_, err = One(ctx, d.Read(), []any{&v}, "select coalesce(max(version), 0) from state_version")
	return v, err
}

// statements are those of a migration, in the words of this database.
func (d *DB) statements(text string) []string {
	blob := "blob"
	if d.Postgres() {
		blob = "bytea"
	}
	text = strings.ReplaceAll(text, "{blob}", blob)
	parts := strings.Split(text, ";\n")
	return slices.DeleteFunc(parts, func(s string) bool { return strings.TrimSpace(s) == "" })
}
