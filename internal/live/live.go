// Package live reads what a PostgreSQL server does now, and ends what stands in the way.
//
// [ReadFigures], [ReadActivity] and [ReadDetail] read in one short session that cannot change anything; what the login may not see, or the server
// does not have, is missing with a reason, and the rest is there. [CancelKind] and [TerminateKind], made by [New], are operations of package op
// that signal sessions: each is bound to its process and to when that began, so that another process of the same number is never hit.
package live

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// Application is what a session of dbops is called on the server.
const Application = "dbops"

// statementTimeout bounds each statement on the server: reading must never be what stands in the way.
const statementTimeout = "2s"

// Tune makes a session one that changes no data and whose statements are short.
func Tune(cfg *pgx.ConnConfig) {
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec // one round trip, and nothing stays prepared
	cfg.RuntimeParams["application_name"] = Application
	cfg.RuntimeParams["statement_timeout"] = statementTimeout
	cfg.RuntimeParams["default_transaction_read_only"] = "on"
}

// Missing is a part of a reading that could not be read.
type Missing struct {
	Part string `json:"part"`
	Why  string `json:"why"`
	Hint string `json:"hint,omitempty"`
}

// monitor is what to do where a login does not see others.
const monitor = "GRANT pg_monitor to the login that reads"

// missing says why a part was not read. What ends the whole reading is returned as an error: a session that is gone, or the caller's end.
func missing(ctx context.Context, conn *pgx.Conn, part string, err error) (Missing, error) {
	if ctx.Err() != nil || conn.IsClosed() {
		return Missing{}, fault.New(fault.Unavailable, "read "+part, err)
	}
	m := Missing{Part: part, Why: err.Error()}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return m, nil
	}
	m.Why = e.Message
	switch e.Code {
	case "42501": // insufficient_privilege
		m.Hint = monitor
	case "57014": // query_canceled
		m.Why = "no answer within " + statementTimeout
	case "42883", "42P01", "42703", "0A000": // no such function, relation or column; not supported
		m.Hint = "this server does not have it"
	}
	return m, nil
}

// Span is a time that went by, as seconds in JSON.
type Span float64

// Duration is the span as Go has it.
func (s Span) Duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Who is a session in few words.
type Who struct {
	PID         int    `json:"pid"`
	User        string `json:"user,omitempty"`
	Application string `json:"application,omitempty"`
	Age         Span   `json:"age"`
}
