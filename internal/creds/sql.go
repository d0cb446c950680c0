package creds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/op"
	"dbops/internal/pg"
	"dbops/internal/secret"
)

func quoted(role string) string { return pgx.Identifier{role}.Sanitize() }

// literal quotes a text for SQL.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// admin is a session of dbops's admin login on an instance.
type admin struct {
	conn *pgx.Conn
	what string
}

// admin logs in; the caller closes it.
func (d Deps) admin(ctx context.Context, t op.Target, database, what string) (*admin, error) {
	conn, err := d.Connect(ctx, t, database)
	if err != nil {
		return nil, err
	}
	return &admin{conn, what}, nil
}

func (a *admin) close(ctx context.Context) { _ = a.conn.Close(context.WithoutCancel(ctx)) }

// locked is the key of the advisory lock under which a container's roles are changed, one at a time: two at once would fail each other.
const locked = `SELECT pg_advisory_xact_lock(hashtextextended('dbops creds ' || $1, 0))`

// change runs statements in one transaction, and again when somebody else changed the same roles at the same moment.
func (a *admin) change(ctx context.Context, container string, do func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, a.conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, locked, container); err != nil {
				return err
			}
			return do(tx)
		})
		if err == nil {
			return nil
		}
		if !collided(err) || try == 8 {
			return sqlFault(a.what, err)
		}
		if err := op.Sleep(ctx, time.Duration(try)*50*time.Millisecond); err != nil {
			return err
		}
	}
}

// collided tells whether the error is of two who changed one role at once.
func collided(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "40001" || e.Code == "40P01" || e.Code == "XX000" && strings.Contains(e.Message, "concurrently"))
}

// sqlFault maps what PostgreSQL says. Its texts hold no secret: only verifiers are sent.
func sqlFault(what string, err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return fault.New(fault.Unavailable, what, err)
	case e.Code == "42501":
		return fault.New(fault.Denied, what, err).Hint("the admin login of dbops.yaml needs CREATEROLE, and on PostgreSQL 16 and later ADMIN OPTION on the container's roles")
	case e.Code == "42704":
		return fault.New(fault.Stale, what, err).Hint("somebody dropped the role: make the plan again")
	case e.Code == "25006":
		return fault.New(fault.Busy, what, err).Hint("the server takes no writes now: is it a replica, or failing over?")
	case e.Code == "2BP01":
		return fault.New(fault.Blocked, what, err)
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "57"), strings.HasPrefix(e.Code, "53"):
		return fault.New(fault.Unavailable, what, err)
	default:
		return fault.New(fault.Failed, what, err)
	}
}

// arm lets a slot log in with a password, as the group. The server is told a verifier, never the password.
func arm(ctx context.Context, tx pgx.Tx, slot, group string, password secret.Value) error {
	v, err := pg.Verifier(password)
	if err != nil {
		return err
	}
	return statements(ctx, tx,
		fmt.Sprintf("ALTER ROLE %s LOGIN PASSWORD %s VALID UNTIL 'infinity'", quoted(slot), literal(v)),
		fmt.Sprintf("GRANT %s TO %s", quoted(group), quoted(slot)),
		fmt.Sprintf("ALTER ROLE %s SET role = %s", quoted(slot), literal(group)),
	)
}

func statements(ctx context.Context, tx pgx.Tx, all ...string) error {
	for _, s := range all {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// sessions are those of a role.
type sessions struct {
	Count int
	Who   string // the clients that are visible, for a person
}

func (a *admin) sessions(ctx context.Context, role string) (s sessions, err error) {
	err = a.conn.QueryRow(ctx, `
		SELECT coalesce(sum(n), 0), coalesce(string_agg(format('%s× %s', n, who), ', ' ORDER BY n DESC, who), '')
		  FROM (SELECT count(*)::int AS n, concat_ws(' from ', nullif(application_name, ''), host(client_addr)) AS who
		          FROM pg_stat_activity WHERE usename = $1 GROUP BY 2) AS each`, role).Scan(&s.Count, &s.Who)
	if err != nil {
		return s, sqlFault(a.what, err)
	}
	return s, nil
}

// end ends the sessions of a role, and returns how many there were.
func (a *admin) end(ctx context.Context, role string) (n int, err error) {
	err = a.conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1 AND pid <> pg_backend_pid()`, role).Scan(&n)
	if err != nil {
		return 0, sqlFault(a.what, err)
	}
	return n, nil
}
