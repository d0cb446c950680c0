package stream

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What every session is given, where its server knows the setting: as pg_dump and pg_restore do, so that no default of a role, a database or
// an instance changes what is read or written.
var (
	commonSettings = [][2]string{
		{"search_path", ""},
		{"client_encoding", "UTF8"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
		{"datestyle", "ISO, YMD"},
		{"intervalstyle", "postgres"},
		{"extra_float_digits", "3"},
		{"bytea_output", "hex"},
		{"xmloption", "content"},
		{"row_security", "off"},
		{"client_min_messages", "warning"},
		{"standard_conforming_strings", "on"},
		{"quote_all_identifiers", "off"},
		{"jit", "off"}, // it takes longer than what is computed
	}
	sourceSettings = append([][2]string{
		{"synchronize_seqscans", "off"}, {"default_transaction_read_only", "on"}, {"default_transaction_isolation", "repeatable read"},
	}, commonSettings...)
	targetSettings = append([][2]string{
		{"check_function_bodies", "off"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"default_tablespace", ""},
		{"default_table_access_method", "heap"},
		{"synchronous_commit", "off"},
	}, commonSettings...)
)

// ourName is how servers know our sessions.
const ourName = "dbops upgrade"

// endSessions ends those of ours on this database that a killed process or a cut network left: one of them could still commit. pid 0 is all.
func endSessions(ctx context.Context, conn *pgx.Conn, pid uint32) error {
	_, err := conn.Exec(ctx, `select pg_catalog.pg_terminate_backend(pid, 10000) from pg_catalog.pg_stat_activity
 where datname = current_database() and application_name = $1 and usename = current_user and pid <> pg_catalog.pg_backend_pid() and (pid = $2::bigint or $2::bigint = 0)`, ourName, int64(pid))
	return err
}

// open logs in and sets the session up.
func open(ctx context.Context, connect Connect, settings [][2]string) (*pgx.Conn, error) {
	conn, err := connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = ourName
		c.DefaultQueryExecMode = pgx.QueryExecModeExec // pre-data changes the types under prepared statements
	})
	if err != nil {
		return nil, err
	}
	var values []string
	for _, kv := range settings {
		values = append(values, "("+literal(kv[0])+","+literal(kv[1])+")")
	}
	_, err = conn.Exec(ctx, "select pg_catalog.set_config(s.name, v.value, false) from (values "+strings.Join(values, ",")+
		") v(name, value) join pg_catalog.pg_settings s on lower(s.name) = v.name", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		_ = conn.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("set a session up: %w", err)
	}
	return conn, nil
}

// script runs statements without parameters.
func script(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// each scans every row of an answer.
func each(ctx context.Context, conn *pgx.Conn, sql string, args, into []any, do func()) error {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	if _, err := pgx.ForEachRow(rows, into, func() error { do(); return nil }); err != nil {
		return err
	}
	return rows.Err()
}

// transaction runs statements in a transaction of their own.
func transaction(ctx context.Context, conn *pgx.Conn, sql ...string) error {
	err := script(ctx, conn, "begin;\n"+strings.Join(sql, ";\n")+";\ncommit")
	if err != nil && !conn.IsClosed() {
		if rerr := script(ctx, conn, "rollback"); rerr != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
		}
	}
	return err
}

// again tells whether a connection that was lost is worth another, and waits a little.
func again(ctx context.Context, err error, try int) bool {
	if ctx.Err() != nil || try >= tries || !lost(err) {
		return false
	}
	t := time.NewTimer(time.Duration(try*try) * 250 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// lost tells whether a connection ended, rather than a statement.
func lost(err error) bool {
	pe, ok := serverError(err)
	if !ok {
		return err != nil
	}
	return endsSession(pe)
}

func endsSession(pe *pgconn.PgError) bool {
	switch pe.Code {
	case "57P01", "57P02", "57P03", "53300":
		return true
	}
	return strings.HasPrefix(pe.Code, "08")
}
