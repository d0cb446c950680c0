package quiesce

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// session is the one connection that everything is done on: rights, settings and sessions of all databases can be had from any.
type session struct {
	conn  *pgx.Conn
	major int
	login string // the role that logged in: rights to connect are the login's, whatever role it takes on later
	oid   uint32
	super bool
}

// What no default of a role or a database may decide; the databases' default is to be read-only before long.
const settings = `select pg_catalog.set_config(s.name, v.value, false) from (values ('search_path', ''), ('default_transaction_read_only', 'off'),
 ('default_transaction_isolation', 'read committed'), ('default_transaction_deferrable', 'off'), ('statement_timeout', '60s'), ('lock_timeout', '30s'), ('transaction_timeout', '0'),
 ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('quote_all_identifiers', 'off')) v(name, value) join pg_catalog.pg_settings s on s.name = v.name`

func open(ctx context.Context, connect Connect, databases []string, op string) (*session, error) {
	if len(databases) == 0 {
		return nil, fault.Newf(fault.Usage, op, "no database is named").Hint("name at least one database")
	}
	conn, err := connect(ctx, databases[0])
	if err != nil {
		if _, ok := errors.AsType[*fault.Error](err); ok {
			return nil, err
		}
		return nil, fault.New(fault.Unavailable, op+": log in to database "+databases[0], err).Hint("run it again once the server can be reached")
	}
	s := &session{conn: conn}
	if _, err = conn.PgConn().Exec(ctx, settings).ReadAll(); err == nil {
		err = conn.QueryRow(ctx, `select rolname::text, oid, rolsuper, current_setting('server_version_num')::int / 10000 from pg_catalog.pg_roles where rolname = session_user`).
			Scan(&s.login, &s.oid, &s.super, &s.major)
	}
	if err != nil {
		err = s.failed(ctx, op, err)
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}

// retries is how often a transaction is tried that met another one which changed the same rows of the catalogue, as a vacuum does.
const retries = 5

// transaction runs do in a transaction, and again if somebody changed the same thing meanwhile.
func (s *session) transaction(ctx context.Context, do func() error) error {
	for try := 1; ; try++ {
		err := s.exec(ctx, "begin")
		if err == nil {
			if err = do(); err == nil {
				err = s.exec(ctx, "commit")
			}
		}
		if err == nil {
			return nil
		}
		if s.conn.IsClosed() {
			return err
		}
		if rerr := s.exec(context.WithoutCancel(ctx), "rollback"); rerr != nil {
			return errors.Join(err, rerr)
		}
		pe, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || try == retries || pe.Code != "XX000" && pe.Code != "40001" && pe.Code != "40P01" {
			return err
		}
	}
}

func (s *session) exec(ctx context.Context, sql string) error {
	_, err := s.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// actAs becomes the owner of a database until the transaction ends: as ourselves we might give rights in our own name, if we have them with
// grant option. A member that may not become the owner acts for it.
func (s *session) actAs(ctx context.Context, role uint32) error {
	name, acts, sets, err := s.member(ctx, role)
	switch {
	case err != nil:
		return err
	case sets:
		return s.exec(ctx, "set local role "+ident(name))
	case acts:
		return nil
	}
	return fault.Newf(fault.Denied, "change what the role "+name+" owns", "the role %s is no member of it", s.login).Hint("GRANT %s TO %s", ident(name), ident(s.login))
}

// member tells whether we act for a role, and whether we can become it.
func (s *session) member(ctx context.Context, role uint32) (name string, acts, sets bool, err error) {
	err = s.conn.QueryRow(ctx, `select rolname::text, pg_catalog.pg_has_role(current_user, oid, 'USAGE'), pg_catalog.pg_has_role(session_user, oid, $2) from pg_catalog.pg_roles where oid = $1`, role, s.setRole()).
		Scan(&name, &acts, &sets)
	return name, acts, sets, err
}

// setRole is the kind of membership that SET ROLE asks for.
func (s *session) setRole() string {
	if s.major < 16 {
		return "MEMBER"
	}
	return "SET"
}

func ident(name string) string { return pgx.Identifier{name}.Sanitize() }

func literal(s string) string {
	if strings.Contains(s, `\`) {
		return " E'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}

// grantee is a role's name in GRANT and REVOKE.
func grantee(oid uint32, name string) string {
	if oid == 0 {
		return "public"
	}
	return ident(name)
}
