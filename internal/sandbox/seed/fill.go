package seed

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// makeDatabase creates the database, owned by its group role.
func makeDatabase(ctx context.Context, conn *pgx.Conn, d Database) error {
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, d.Name).Scan(&there); err != nil {
		return err
	}
	statement := "CREATE DATABASE " + name(d.Name) + " OWNER " + name(d.Owner)
	if there {
		statement = "ALTER DATABASE " + name(d.Name) + " OWNER TO " + name(d.Owner)
	}
	_, err := conn.Exec(ctx, statement)
	return err
}

// fill runs the migrations as the owner and puts in the rows, in one transaction, unless that was done before.
func fill(ctx context.Context, conn *pgx.Conn, d Database) error {
	all, err := applied(d.Data)
	if err != nil {
		return err
	}
	data, err := files.ReadFile("data/" + d.Data + ".sql")
	if err != nil {
		return err
	}
	return inTransaction(ctx, conn, func(tx pgx.Tx) error {
		var done bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass('public.schema_migrations') IS NOT NULL`).Scan(&done); err != nil || done {
			return err
		}
		// As since PostgreSQL 15, so that a database of 14 is no different.
		if err := run(ctx, tx, "ALTER SCHEMA public OWNER TO pg_database_owner; REVOKE CREATE ON SCHEMA public FROM PUBLIC"); err != nil {
			return err
		}
		if err := run(ctx, tx, "SET LOCAL ROLE "+name(d.Owner)); err != nil {
			return err
		}
		for _, m := range all {
			if err := run(ctx, tx, m.sql); err != nil {
				return fmt.Errorf("%s: %w", m.file, err)
			}
		}
		if err := run(ctx, tx, "CREATE TABLE public.schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL)"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO public.schema_migrations VALUES ($1, false)", all[len(all)-1].version); err != nil {
			return err
		}
		// The rows fit together by construction; checking each foreign key would double the time.
		if err := run(ctx, tx, "RESET ROLE; SET LOCAL session_replication_role = replica"); err != nil {
			return err
		}
		if err := run(ctx, tx, string(data)); err != nil {
			return fmt.Errorf("%s.sql: %w", d.Data, err)
		}
		return analyze(ctx, tx, d.Owner)
	})
}

// analyze gathers the planner's statistics of the owner's tables.
func analyze(ctx context.Context, tx pgx.Tx, owner string) error {
	var tables string
	err := tx.QueryRow(ctx, `SELECT string_agg(oid::regclass::text, ', ') FROM pg_class WHERE relowner = $1::regrole AND relkind IN ('r', 'm', 'p')`, name(owner)).Scan(&tables)
	if err != nil {
		return err
	}
	return run(ctx, tx, "ANALYZE "+tables)
}

// run executes one or more statements.
func run(ctx context.Context, tx pgx.Tx, sql string) error {
	_, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll()
	return err
}

func inTransaction(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	return tx.Commit(ctx)
}

// name quotes an identifier.
func name(s string) string { return pgx.Identifier{s}.Sanitize() }
