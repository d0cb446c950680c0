package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// side is a database at one moment.
type side struct {
	Side
	what    string
	connect Connect
	keep    *pgx.Conn // exports the snapshot, and asks what one session can ask
	name    string    // of the snapshot
}

// What decides how a value is written as text.
const settings = `select pg_catalog.set_config(s.name, v.value, false) from (values ('search_path', ''), ('client_encoding', 'UTF8'), ('statement_timeout', '0'), ('lock_timeout', '0'),
 ('transaction_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'postgres'),
 ('extra_float_digits', '1'), ('bytea_output', 'hex'), ('xmloption', 'content'), ('lc_monetary', 'C'), ('row_security', 'off'), ('quote_all_identifiers', 'off'),
 ('synchronize_seqscans', 'off')) v(name, value) join pg_catalog.pg_settings s on lower(s.name) = v.name`

func openSide(ctx context.Context, what string, connect Connect, snapshot string) (*side, error) {
	s := &side{what: what, connect: connect, name: snapshot}
	var err error
	if s.keep, err = s.session(ctx); err != nil {
		return nil, err
	}
	err = s.keep.QueryRow(ctx, `select pg_catalog.pg_export_snapshot(), current_database(), current_setting('server_version_num')::int / 10000, pg_catalog.pg_current_snapshot()::text, now(),
 current_setting('server_encoding')`).Scan(&s.name, &s.Database, &s.Major, &s.Snapshot, &s.At, &s.Encoding)
	if err != nil {
		s.close(ctx)
		return nil, fmt.Errorf("take a snapshot of the %s: %w", what, err)
	}
	return s, nil
}

func (s *side) close(ctx context.Context) { _ = s.keep.Close(context.WithoutCancel(ctx)) }

// session opens one that sees the snapshot.
func (s *side) session(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx, func(c *pgx.ConnConfig) {
		c.RuntimeParams["application_name"] = "dbops verify"
		c.DefaultQueryExecMode = pgx.QueryExecModeExec
	})
	if err != nil {
		return nil, fmt.Errorf("log in to the %s: %w", s.what, err)
	}
	begin := "begin isolation level repeatable read read only"
	if s.name != "" {
		begin += "; set transaction snapshot '" + strings.ReplaceAll(s.name, "'", "''") + "'"
	}
	for _, sql := range []string{settings, begin} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, fmt.Errorf("read the %s as its snapshot shows it: %w", s.what, err)
		}
	}
	return conn, nil
}

// pairs are the two texts of each row.
func (s *side) pairs(ctx context.Context, sql string) (map[string]string, error) {
	rows, err := s.keep.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", s.what, err)
	}
	type pair struct{ Name, Value string }
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		return nil, fmt.Errorf("read the %s: %w", s.what, err)
	}
	out := make(map[string]string, len(all))
	for _, p := range all {
		out[p.Name] = p.Value
	}
	return out, nil
}

// differ is what is not the same in both, by name.
func differ(a, b map[string]string) (out []Difference) {
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if a[n] != b[n] {
			out = append(out, Difference{Name: n, Source: a[n], Target: b[n]})
		}
	}
	return out
}

// refused says what can be done about a server's refusal.
func refused(err error) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	pe, ok := errors.AsType[*pgconn.PgError](err)
	const op = "compare the databases"
	switch {
	case !ok, strings.HasPrefix(pe.Code, "57P"), strings.HasPrefix(pe.Code, "08"): // the server restarts
		return fault.New(fault.Unavailable, op, err).Hint("run it again: it only reads")
	case pe.Code == "42501" && strings.Contains(pe.Message, "row-level security"):
		return fault.New(fault.Denied, op, err).Hint("row security hides rows from this login: compare as a role with BYPASSRLS")
	case pe.Code == "42501":
		return fault.New(fault.Denied, op, err).Hint("compare with a login that may read everything, such as a member of pg_read_all_data")
	}
	return fault.New(fault.Failed, op, err).Hint("mend that, and run it again: it only reads")
}
