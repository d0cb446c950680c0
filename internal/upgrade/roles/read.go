package roles

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
	"dbops/internal/secret"
)

// Read reads the roles of a server, and the named databases; of none, all that are not a template or a cloud's own.
func Read(ctx context.Context, connect Connect, databases []string) (*Model, error) {
	const what = "read the roles and databases of the server"
	conn, err := open(ctx, connect, first(databases))
	if err != nil {
		return nil, failed(what, err)
	}
	defer closing(ctx, conn)
	m, err := read(ctx, conn, databases)
	if err != nil {
		return nil, failed(what, err)
	}
	for _, name := range databases {
		if m.database(name) == nil {
			return nil, fault.Newf(fault.NotFound, what, "there is no database %s", quoted(name)).Hint("name one that is there: psql -l lists them")
		}
	}
	return m, nil
}

// maintenance is where one logs in to make other databases.
const maintenance = "postgres"

func first(databases []string) string {
	if len(databases) == 0 {
		return maintenance
	}
	return databases[0]
}

const serverSQL = `select pg_catalog.current_setting('server_version_num')::int / 10000, current_user::text, r.rolsuper,
 (select rolname::text from pg_catalog.pg_roles where oid = 10), pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'select')
 from pg_catalog.pg_roles r where r.rolname = current_user`

// chosen are the databases of those names; of none, all that are not a template or a cloud's own.
const chosen = `case when pg_catalog.cardinality($1::text[]) = 0 then d.datallowconn and not d.datistemplate and d.datname not in ('rdsadmin', 'cloudsqladmin')
 else d.datname = any ($1) end`

const rolesSQL = `select rolname::text, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit,
 coalesce(rolvaliduntil::text, ''), coalesce(pg_catalog.shobj_description(oid, 'pg_authid'), ''),
 exists (select from pg_catalog.pg_shdepend s where s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and s.refobjid = r.oid and s.deptype = 'o'
  and (s.dbid = 0 or s.dbid = any (array(select d.oid from pg_catalog.pg_database d where ` + chosen + `))))
 from pg_catalog.pg_roles r
 where rolname <> '` + noteRole + `' order by rolname collate "C"`

// %s are the grantor, and whether the options are inherit and set.
const membershipsSQL = `select r.rolname::text, u.rolname::text, %s, m.admin_option, %s
 from pg_catalog.pg_auth_members m join pg_catalog.pg_roles r on r.oid = m.roleid join pg_catalog.pg_roles u on u.oid = m.member
 left join pg_catalog.pg_roles g on g.oid = m.grantor
 where r.rolname <> '` + noteRole + `' order by 1, 2, 3`

const settingsSQL = `select coalesce(r.rolname, '')::text, coalesce(d.datname, '')::text, pg_catalog.split_part(s, '=', 1), pg_catalog.substr(s, pg_catalog.strpos(s, '=') + 1)
 from pg_catalog.pg_db_role_setting x left join pg_catalog.pg_roles r on r.oid = x.setrole left join pg_catalog.pg_database d on d.oid = x.setdatabase,
 pg_catalog.unnest(x.setconfig) s
 where x.setdatabase = 0 or ` + chosen + ` order by 1, 2, 3`

// %s are the provider, locale and rules.
const databasesSQL = `select d.datname::text, o.rolname::text, pg_catalog.pg_encoding_to_char(d.encoding), %s, d.datcollate::text, d.datctype::text, %s, %s,
 coalesce(nullif(t.spcname, 'pg_default'), '')::text, d.datconnlimit, d.datistemplate, not d.datallowconn, coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), ''),
 coalesce((select pg_catalog.json_agg(pg_catalog.json_build_object('grantee', case when a.grantee = 0 then '' else pg_catalog.pg_get_userbyid(a.grantee) end,
  'privilege', a.privilege_type, 'grantable', a.is_grantable) order by a.grantee, a.privilege_type)
  from pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a), '[]')::text
 from pg_catalog.pg_database d join pg_catalog.pg_roles o on o.oid = d.datdba join pg_catalog.pg_tablespace t on t.oid = d.dattablespace
 where ` + chosen + ` order by d.datname collate "C"`

// read reads everything in one session.
func read(ctx context.Context, conn *pgx.Conn, databases []string) (*Model, error) {
	m := &Model{}
	if err := conn.QueryRow(ctx, serverSQL).Scan(&m.Major, &m.Login, &m.Superuser, &m.Bootstrap, &m.Passwords); err != nil {
		return nil, err
	}
	if databases == nil {
		databases = []string{}
	}
	b := &pgx.Batch{}
	queue(b, &m.Databases, m.databasesSQL(), scanDatabase, databases)
	queue(b, &m.Roles, rolesSQL, pgx.RowToStructByPos[Role], databases)
	queue(b, &m.Memberships, m.membershipsSQL(), pgx.RowToStructByPos[Membership])
	queue(b, &m.Settings, settingsSQL, pgx.RowToStructByPos[Setting], databases)
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return m, m.readVerifiers(ctx, conn)
}

func (m *Model) membershipsSQL() string {
	if m.Major >= 16 {
		return fmt.Sprintf(membershipsSQL, "case when m.grantor = 10 then '' else coalesce(g.rolname, '') end::text", "m.inherit_option, m.set_option")
	}
	return fmt.Sprintf(membershipsSQL, "''", "u.rolinherit, true")
}

func (m *Model) databasesSQL() string {
	provider, locale, rules := "'libc'", "''", "''"
	if m.Major >= 15 {
		provider, locale = "case d.datlocprovider when 'i' then 'icu' when 'b' then 'builtin' else 'libc' end", "coalesce(d.daticulocale, '')"
	}
	if m.Major >= 16 {
		rules = "coalesce(d.daticurules, '')"
	}
	if m.Major >= 17 {
		locale = "coalesce(d.datlocale, '')"
	}
	return fmt.Sprintf(databasesSQL, provider, locale, rules)
}

func scanDatabase(r pgx.CollectableRow) (d Database, err error) {
	var acl string
	err = r.Scan(&d.Name, &d.Owner, &d.Encoding, &d.Provider, &d.Collate, &d.CType, &d.Locale, &d.ICURules, &d.Tablespace, &d.Limit, &d.Template,
		&d.Closed, &d.Comment, &acl)
	if err == nil {
		err = json.Unmarshal([]byte(acl), &d.ACL)
	}
	return d, err
}

// names are the databases'.
func (m *Model) names() []string {
	out := []string{}
	for _, d := range m.Databases {
		out = append(out, d.Name)
	}
	return out
}

// readVerifiers reads those that the server shows. A cloud's may refuse what the catalogue says is allowed.
func (m *Model) readVerifiers(ctx context.Context, conn *pgx.Conn) error {
	m.verifiers = map[string]secret.Value{}
	if !m.Passwords {
		return nil
	}
	within := conn.PgConn().TxStatus() == 'T' // which a refusal must not end
	run := func(sql string) error {
		if !within {
			return nil
		}
		_, err := conn.Exec(ctx, sql)
		return err
	}
	if err := run("savepoint verifiers"); err != nil {
		return err
	}
	err := m.collectVerifiers(ctx, conn)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42501" {
		m.Passwords = false
		return run("rollback to savepoint verifiers")
	}
	if err != nil {
		return err
	}
	return run("release savepoint verifiers")
}

func (m *Model) collectVerifiers(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "select rolname::text, rolpassword from pg_catalog.pg_authid where rolpassword is not null")
	if err != nil {
		return err
	}
	var name, verifier string
	if _, err = pgx.ForEachRow(rows, []any{&name, &verifier}, func() error {
		m.verifiers[name] = secret.New(strings.Clone(verifier))
		return nil
	}); err != nil {
		return err
	}
	return rows.Err()
}

func collect[T any](ctx context.Context, conn *pgx.Conn, sql string, row pgx.RowToFunc[T], args ...any) ([]T, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, row)
	return slices.Clip(all), err
}

func queue[T any](b *pgx.Batch, into *[]T, sql string, row pgx.RowToFunc[T], args ...any) {
	b.Queue(sql, args...).Query(func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, row)
		return err
	})
}
