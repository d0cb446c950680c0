package roles

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// What a session is given where its server knows it, so that no default of a role, a database or an instance is in the way.
const settings = `select pg_catalog.set_config(s.name, v.value, false) from (values ('search_path', ''), ('client_encoding', 'UTF8'), ('statement_timeout', '0'),
 ('lock_timeout', '0'), ('transaction_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('timezone', 'UTC'),
 ('datestyle', 'ISO, YMD'), ('default_transaction_read_only', 'off'), ('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'),
 ('client_min_messages', 'error'), ('standard_conforming_strings', 'on'), ('createrole_self_grant', ''), ('row_security', 'off'))
 v(name, value) join pg_catalog.pg_settings s on pg_catalog.lower(s.name) = v.name`

// What keeps verifiers out of the server's log and statistics, as far as the login may say so.
var discreet = [][2]string{
	{"log_statement", "none"},
	{"log_min_duration_statement", "-1"},
	{"log_min_duration_sample", "-1"},
	{"log_transaction_sample_rate", "0"},
	{"log_min_error_statement", "panic"},
	{"log_parameter_max_length", "0"},
	{"pgaudit.log", "none"},
	{"pg_stat_statements.track", "none"},
	{"auto_explain.log_min_duration", "-1"},
	{"log_error_verbosity", "terse"},
}

func open(ctx context.Context, connect Connect, database string) (*pgx.Conn, error) {
	conn, err := connect(ctx, database)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol); err != nil {
		closing(ctx, conn)
		return nil, err
	}
	return conn, nil
}

func closing(ctx context.Context, conn *pgx.Conn) { _ = conn.Close(context.WithoutCancel(ctx)) }

// lock lets one at a time change a server's roles in this way.
const lock = `select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('dbops upgrade roles', 0))`

const tries = 6

// change logs in to the maintenance database and runs do in one transaction, and again when somebody else changed the same at the same moment.
func change(ctx context.Context, connect Connect, what string, do func(context.Context, pgx.Tx) error) error {
	conn, err := open(ctx, connect, maintenance)
	if err != nil {
		return failed(what, err)
	}
	defer closing(ctx, conn)
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, lock); err != nil {
				return err
			}
			return do(ctx, tx)
		})
		if err == nil || !collided(err) || try == tries {
			return failed(what, err)
		}
		t := time.NewTimer(time.Duration(try*try) * 20 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return failed(what, ctx.Err())
		case <-t.C:
		}
	}
}

// quiet keeps the rest of the transaction out of the log.
func quiet(ctx context.Context, tx pgx.Tx, m *Model) error {
	may := "true"
	if !m.Superuser {
		if m.Major < 15 {
			return nil
		}
		may = "pg_catalog.has_parameter_privilege(s.name, 'set')"
	}
	var values []string
	for _, kv := range discreet {
		values = append(values, "("+literal(kv[0])+","+literal(kv[1])+")")
	}
	_, err := tx.Exec(ctx, "select pg_catalog.set_config(s.name, v.value, true) from (values "+strings.Join(values, ",")+
		") v(name, value) join pg_catalog.pg_settings s on s.name = v.name where "+may)
	return err
}

// collided tells whether the error is of two who changed one thing at once.
func collided(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && collision(e.Code, e.Message)
}

func collision(code, message string) bool {
	return strings.HasPrefix(code, "40") || code == "XX000" && strings.Contains(message, "concurrently")
}

// failed says what was being done, why the server refused, and what to do. None of its texts holds a verifier: no error of PostgreSQL quotes one.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return fault.New(fault.Interrupted, what, err).Hint("run it again: it goes on")
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fault.New(fault.Unavailable, what, err).Hint("run it again: it goes on")
	}
	if e.Detail != "" {
		err = fmt.Errorf("%w: %s", err, strings.ReplaceAll(e.Detail, "\n", ", "))
	}
	switch {
	case e.Code == "42501":
		return fault.New(fault.Denied, what, err).Hint("log in to the target as its administrator: it needs CREATEROLE and CREATEDB, and on PostgreSQL 16 and later ADMIN OPTION on the roles")
	case e.Code == "25006":
		return fault.New(fault.Busy, what, err).Hint("the server takes no writes now: is it a replica, or failing over?")
	case e.Code == "2BP01":
		return fault.New(fault.Blocked, what, err).Hint("drop what depends on it, or give it to another role, then run it again")
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "57"), strings.HasPrefix(e.Code, "53"), collision(e.Code, e.Message):
		return fault.New(fault.Unavailable, what, err).Hint("run it again: it goes on")
	default:
		return fault.New(fault.Failed, what, err).Hint("mend that, then run it again: it goes on")
	}
}
