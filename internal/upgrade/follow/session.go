package follow

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/pg"
)

// settings are given to every session, where its server knows them, so that no default of a role or of a database changes what is done:
// the source may be read-only by then.
var settings = [][2]string{
	{"search_path", ""},
	{"client_encoding", "UTF8"},
	{"statement_timeout", "0"},
	{"lock_timeout", "3s"}, // who waits for a lock holds up all who come after
	{"transaction_timeout", "0"},
	{"idle_in_transaction_session_timeout", "0"},
	{"idle_session_timeout", "0"},
	{"default_transaction_read_only", "off"},
	{"default_transaction_isolation", "read committed"},
	{"synchronous_commit", "on"},
	{"client_min_messages", "warning"},
	{"standard_conforming_strings", "on"},
	{"row_security", "off"},
}

// ourName is how servers know our sessions.
const ourName = "dbops upgrade"

func (s side) open(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = ourName
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
	})
	if err != nil {
		return nil, fault.Newf(fault.Unavailable, "log in to the "+s.what, "%s", pg.Cause(err)).Hint("see whether the %s runs and takes logins, then run it again", s.what)
	}
	var values []string
	for _, kv := range settings {
		values = append(values, "("+literal(kv[0])+","+literal(kv[1])+")")
	}
	err = script(ctx, conn, "select pg_catalog.set_config(s.name, v.value, false) from (values "+strings.Join(values, ",")+
		") v(name, value) join pg_catalog.pg_settings s on lower(s.name) = v.name")
	if err != nil {
		shut(ctx, conn)
		return nil, fault.New(fault.Unavailable, "set up a session on the "+s.what, err).Hint("run it again")
	}
	return conn, nil
}

// unseen keeps what is altered from event triggers, whose rows would be on one side only. Not everybody may.
func unseen(ctx context.Context, conn *pgx.Conn) error {
	for _, set := range []string{"set event_triggers = off", "set session_replication_role = replica"} {
		err := script(ctx, conn, set)
		if _, ok := serverError(err); !ok {
			return err
		}
	}
	return nil
}

// both opens a session on either side.
func (w *way) both(ctx context.Context) (from, to *pgx.Conn, err error) {
	if from, err = w.from.open(ctx); err != nil {
		return nil, nil, err
	}
	if to, err = w.to.open(ctx); err != nil {
		shut(ctx, from)
		return nil, nil, err
	}
	return from, to, nil
}

func shut(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// script runs statements without parameters.
func script(ctx context.Context, conn *pgx.Conn, sql string) error {
	_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// transaction runs statements in a transaction, again when a lock was not to be had.
func transaction(ctx context.Context, conn *pgx.Conn, sql ...string) error {
	return patiently(ctx, func() error {
		err := script(ctx, conn, "begin;\n"+strings.Join(sql, ";\n")+";\ncommit")
		if err != nil && !conn.IsClosed() {
			if rerr := script(ctx, conn, "rollback"); rerr != nil {
				shut(ctx, conn)
			}
		}
		return err
	})
}

const lockTries = 20

// patiently does something again while a lock is in the way.
func patiently(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := do()
		if pe, ok := serverError(err); !ok || pe.Code != "55P03" && pe.Code != "40P01" || try >= lockTries {
			return err
		}
		if err := pause(ctx, time.Duration(try)*50*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// column reads the answers of a query with one column.
func column[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[T])
}

// one reads a single value.
func one[T any](ctx context.Context, conn *pgx.Conn, sql string, args ...any) (v T, err error) {
	err = conn.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}

func ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

func literal(s string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func few(all []string) string {
	const most = 5
	if len(all) <= most {
		return strings.Join(all, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
}
