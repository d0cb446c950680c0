package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/pg"
)

// session is a connection to one database on which nothing can be written, made again when it was lost.
type session struct {
	connect  func(ctx context.Context, database string) (*pgx.Conn, error)
	database string
	timeout  time.Duration
	conn     *pgx.Conn
	asked    int
}

// grace is how long past a server's own timeout an answer may take before the network is held to be dead.
const grace = 5 * time.Second

// open connects, unless there is a connection that works.
func (s *session) open(ctx context.Context) error {
	if s.conn != nil && !s.conn.IsClosed() {
		return nil
	}
	conn, err := s.connect(ctx, s.database)
	if err != nil {
		return fmt.Errorf("connect to database %s: %w", s.database, err)
	}
	s.conn = conn
	// Of the session rather than of each transaction, so that each question takes one way to the server and back. A lock is not
	// waited for: sizes queue behind whoever changes a table.
	_, err = conn.Exec(ctx, fmt.Sprintf(`SET default_transaction_read_only = on; SET default_transaction_isolation = 'read committed';
SET search_path = pg_catalog, pg_temp; SET jit = off; SET statement_timeout = '%dms'; SET lock_timeout = '%dms'`,
		max(1, s.timeout.Milliseconds()), max(1, min(s.timeout/2, 2*time.Second).Milliseconds())), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		s.close(ctx)
		return fmt.Errorf("set up the session on database %s: %w", s.database, err)
	}
	return nil
}

func (s *session) close(ctx context.Context) {
	if s.conn != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.conn.Close(ctx)
	}
}

// query asks, within the time of one check.
func query[T any](ctx context.Context, s *session, sql string, target int, scan pgx.RowToFunc[T]) ([]T, error) {
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	s.asked++
	ctx, cancel := context.WithTimeout(ctx, s.timeout+grace)
	defer cancel()
	args := []any{pgx.QueryExecModeExec}
	if strings.Contains(sql, "$1") {
		args = append(args, target)
	}
	rows, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

func scanRow(r pgx.CollectableRow) (out row, err error) {
	err = r.Scan(&out.object, &out.detail, &out.total)
	return out, err
}

// reason says why a question got no answer, and what would help.
func reason(err error, timeout time.Duration, role string) (why, remedy string) {
	var e *pgconn.PgError
	errors.As(err, &e)
	switch {
	case e != nil && e.Code == "42501":
		return e.Message, "GRANT pg_monitor TO " + pgx.Identifier{role}.Sanitize() + "; or the right that is missing"
	case e != nil && e.Code == "57014", errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", timeout), "allow it more time, or look when the server is less busy"
	case e != nil && e.Code == "55P03":
		return "an object is locked by a session that changes it", "look again when that is done"
	case e != nil:
		return e.Message + " (SQLSTATE " + e.Code + ")", ""
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting || pgconn.SafeToRetry(err) {
		return pg.Cause(err), "see whether the server can be reached"
	}
	return err.Error(), ""
}
