package sandbox

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/sandbox/world"
)

// benchName is the database of an instance that pgbench may be run on as it is, at scale 1.
func benchName(i instance) string { return "pgbench_" + i.name }

// benchTables are those that pgbench -i makes.
var benchTables = []string{
	`CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))`,
	`CREATE TABLE pgbench_tellers (tid int NOT NULL PRIMARY KEY, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100)`,
	`CREATE TABLE pgbench_accounts (aid int NOT NULL PRIMARY KEY, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)`,
	`CREATE TABLE pgbench_branches (bid int NOT NULL PRIMARY KEY, bbalance int, filler char(88)) WITH (fillfactor = 100)`,
	`INSERT INTO pgbench_branches VALUES (1, 0)`,
	`INSERT INTO pgbench_tellers SELECT n, 1, 0 FROM generate_series(1, 10) n`,
	`INSERT INTO pgbench_accounts SELECT n, 1, 0, '' FROM generate_series(1, 100000) n`,
}

// fillBench makes the database of pgbench, unless a whole one is there.
func fillBench(ctx context.Context, srv *world.Server, i instance) error {
	name := benchName(i)
	owner := i.database + "_owner"
	whole, err := benchFilled(ctx, srv, name)
	if err != nil || whole {
		return err
	}
	for _, step := range []struct {
		database   string
		statements []string
	}{
		{"postgres", []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name + " OWNER " + owner}},
		{name, append([]string{"SET ROLE " + owner, "BEGIN"}, append(benchTables, "COMMIT", "RESET ROLE", "VACUUM ANALYZE")...)},
	} {
		if err := onDatabase(ctx, srv, step.database, func(c *pgx.Conn) error {
			for _, q := range step.statements {
				if _, err := c.Exec(ctx, q); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("fill %s: %w", name, err)
		}
	}
	return nil
}

// benchFilled tells whether the database is there with its rows: an interrupted filling left either nothing or no tables.
func benchFilled(ctx context.Context, srv *world.Server, name string) (filled bool, err error) {
	err = onDatabase(ctx, srv, "postgres", func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&filled)
	})
	if err != nil || !filled {
		return false, err
	}
	err = onDatabase(ctx, srv, name, func(c *pgx.Conn) error {
		return c.QueryRow(ctx, "SELECT to_regclass('public.pgbench_accounts') IS NOT NULL").Scan(&filled)
	})
	return filled, err
}

func onDatabase(ctx context.Context, srv *world.Server, database string, do func(*pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := srv.DB(ctx, database)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return do(c)
}
