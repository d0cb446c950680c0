package follow

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Attach has the target subscribe to the slot that [Begin] made, when the copy of its snapshot is finished. It may be called again: the
// login of the replication then gets a new password, and the subscription goes on with that.
//
// The password is random, and nobody keeps it but the target's server, which needs it in clear: in pg_subscription.subconninfo, which
// nobody but superusers may read, and in its files. It is sent as a parameter to a statement that does not show it, so that neither
// log_statement = ddl nor pg_stat_activity nor the log of an error do; log_statement = all, pgaudit, and pg_stat_statements.track = all may.
// [Detach] drops the login.
func Attach(ctx context.Context, j Job) error {
	w := j.forward()
	from, to, err := w.both(ctx)
	if err != nil {
		return err
	}
	defer shut(ctx, from)
	defer shut(ctx, to)
	if err = j.back().absent(ctx, to, from); err == nil {
		err = w.attach(ctx, from, to)
	}
	return failed("attach the replication", err)
}

func (w *way) attach(ctx context.Context, from, to *pgx.Conn) error {
	if _, err := w.slot(ctx, from); err != nil {
		return err
	}
	st, _, err := noted(ctx, from, "publication", w.name)
	if err != nil {
		return err
	}
	if err := unseen(ctx, to); err != nil {
		return err
	}
	exists, err := subscribed(ctx, to, w.name)
	if err != nil {
		return err
	}
	password, err := w.makeLogin(ctx, from)
	if err != nil {
		return err
	}
	name := ident(w.name)
	conninfo := w.address.conninfo(w.name, password)
	if exists {
		if err := withConninfo(ctx, to, conninfo, "'alter subscription "+name+" connection %L'"); err != nil {
			return hiding(err, password)
		}
		return transaction(ctx, to, "alter subscription "+name+" enable")
	}
	options, err := w.options(ctx, from, to)
	if err != nil {
		return err
	}
	st.Schema = nil
	err = withConninfo(ctx, to, conninfo, "'create subscription "+name+" connection %L publication "+name+" with ("+options+")'", w.comment("subscription", st))
	return hiding(err, password)
}

// options are those of the subscription. The copy is there, and so is the slot.
func (w *way) options(ctx context.Context, from, to *pgx.Conn) (string, error) {
	options := "create_slot = false, copy_data = false, enabled = true"
	for _, c := range []*pgx.Conn{from, to} {
		major, err := majorOf(ctx, c)
		if err != nil {
			return "", err
		}
		if major < 16 {
			return options, nil
		}
	}
	return options + ", origin = none", nil // what was replicated once goes no further
}

// connectingSQL raises an error of its own: the context of the first one is the statement, and goes to the server's log.
const connectingSQL = `do $dbops$ declare m text; d text; s text;
begin execute format($format$, current_setting('dbops.conninfo'));
exception when query_canceled or others then
 get stacked diagnostics m = message_text, d = pg_exception_detail, s = returned_sqlstate;
 raise exception using message = m, detail = d, errcode = s;
end $dbops$`

// withConninfo runs a statement made by format() of the connection string, and others with it in one transaction. The string travels as a parameter.
func withConninfo(ctx context.Context, conn *pgx.Conn, conninfo secret.Value, format string, more ...string) error {
	return patiently(ctx, func() error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "select set_config('dbops.conninfo', $1, true)", conninfo.Reveal()); err != nil {
				return err
			}
			all := append([]string{strings.Replace(connectingSQL, "$format$", format, 1)}, more...)
			_, err := tx.Exec(ctx, strings.Join(all, ";\n"), pgx.QueryExecModeSimpleProtocol)
			return err
		})
	})
}

// conninfo is what the other server connects with.
func (a Address) conninfo(user string, password secret.Value) secret.Value {
	pairs := [][2]string{
		{"host", a.Host},
		{"port", strconv.Itoa(a.Port)},
		{"dbname", a.Database},
		{"user", user},
		{"password", password.Reveal()},
		{"sslmode", a.SSLMode},
		{"sslrootcert", a.RootCert},
		{"connect_timeout", "10"},
	}
	var all []string
	for _, kv := range pairs {
		if kv[1] != "" {
			all = append(all, kv[0]+"='"+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(kv[1])+"'")
		}
	}
	return secret.New(strings.Join(all, " "))
}

// slot is how the replication slot stands.
type slot struct {
	Active    bool
	WAL       string // wal_status
	Confirmed string
	Now       string
	Behind    int64
}

func (w *way) slot(ctx context.Context, conn *pgx.Conn) (s slot, err error) {
	err = conn.QueryRow(ctx, `select active, coalesce(wal_status, ''), confirmed_flush_lsn::text, pg_current_wal_flush_lsn()::text,
 greatest(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), confirmed_flush_lsn), 0)::bigint from pg_replication_slots where slot_name = $1 and confirmed_flush_lsn is not null`, w.name).
		Scan(&s.Active, &s.WAL, &s.Confirmed, &s.Now, &s.Behind)
	op := "look after the replication slot " + w.name
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return s, fault.Newf(fault.NotFound, op, "the %s has none of that name", w.from.what).Hint("%s", beginAnew)
	case err != nil:
		return s, fmt.Errorf("%s: %w", op, err)
	case s.WAL == "lost":
		return s, fault.Newf(fault.Failed, op, "the %s has removed the log that it needs", w.from.what).
			Hint("raise max_slot_wal_keep_size on the %s; then %s", w.from.what, beginAnew)
	}
	return s, nil
}
