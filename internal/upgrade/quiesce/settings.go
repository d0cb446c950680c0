package quiesce

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const readOnly = "default_transaction_read_only"

// valueOf is the setting's value among those of a row of pg_db_role_setting.
const valueOf = `(select pg_catalog.substr(c, 31) from unnest(s.setconfig) c where pg_catalog.starts_with(c, 'default_transaction_read_only='))`

// settings are the database's own, and those of roles other than ours for whom it is off: a role's setting outweighs the database's, and a
// role's in the database outweighs both.
func (s *session) settings(ctx context.Context, database string) ([]Setting, error) {
	rows, err := s.conn.Query(ctx, `with v as (select s.setrole, s.setdatabase, `+valueOf+` as value from pg_catalog.pg_db_role_setting s)
select '' as role, 0::oid as oid, (select value from v where setrole = 0 and setdatabase = d.oid) as value from pg_catalog.pg_database d where datname = $1
union all
select r.rolname::text, r.oid, i.value from pg_catalog.pg_database d, pg_catalog.pg_roles r
 left join v w on w.setrole = r.oid and w.setdatabase = 0
 left join v i on i.setrole = r.oid and i.setdatabase = (select oid from pg_catalog.pg_database where datname = $1)
 where d.datname = $1 and r.oid <> $2 and not coalesce(i.value, w.value)::boolean
order by 2`, database, s.oid)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Setting])
}

// value is what is set for a role in a database now.
func (s *session) value(ctx context.Context, database string, role uint32) (value *string, err error) {
	err = s.conn.QueryRow(ctx, "select "+valueOf+" from pg_catalog.pg_db_role_setting s where s.setrole = $2 and s.setdatabase = (select oid from pg_catalog.pg_database where datname = $1)", database, role).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return value, err
}

// set sets it, or takes it away.
func (s *session) set(ctx context.Context, database string, role uint32, name string, value *string) error {
	sql := "alter database " + ident(database)
	if role != 0 {
		sql = "alter role " + ident(name) + " in database " + ident(database)
	}
	if value == nil {
		return s.exec(ctx, sql+" reset "+readOnly)
	}
	return s.exec(ctx, sql+" set "+readOnly+" = "+literal(*value))
}

// settle makes new sessions read-only unless they ask for something else. It returns the roles whose own setting we may not change: the right
// to connect stops them.
func (s *session) settle(ctx context.Context, d Database) (denied []string, err error) {
	on := "on"
	err = s.transaction(ctx, func() error {
		owner, err := s.owner(ctx, d)
		if err != nil {
			return err
		}
		if err := s.actAs(ctx, owner); err != nil {
			return err
		}
		return s.set(ctx, d.Name, 0, "", &on)
	})
	if err != nil {
		return nil, err
	}
	var oids []uint32
	for _, v := range d.Settings {
		oids = append(oids, v.RoleOID)
	}
	names, err := s.names(ctx, oids)
	if err != nil {
		return nil, err
	}
	for _, v := range d.Settings {
		name, there := names[v.RoleOID]
		if !there {
			continue
		}
		err := s.transaction(ctx, func() error { return s.set(ctx, d.Name, v.RoleOID, name, &on) })
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == insufficientPrivilege {
			denied = append(denied, name)
		} else if err != nil {
			return nil, err
		}
	}
	return denied, nil
}

// restoreSettings sets what is not as it was, and nothing else: what we may not set, we have not changed.
func (s *session) restoreSettings(ctx context.Context, d Database, owner uint32) error {
	var oids []uint32
	for _, v := range d.Settings {
		oids = append(oids, v.RoleOID)
	}
	names, err := s.names(ctx, oids)
	if err != nil {
		return err
	}
	for i := len(d.Settings) - 1; i >= 0; i-- { // the database's own last: for that we become its owner
		v := d.Settings[i]
		name, there := names[v.RoleOID]
		if v.RoleOID != 0 && !there {
			continue
		}
		now, err := s.value(ctx, d.Name, v.RoleOID)
		if err != nil {
			return err
		}
		if now == nil && v.Value == nil || now != nil && v.Value != nil && *now == *v.Value {
			continue
		}
		if v.RoleOID == 0 {
			if err := s.actAs(ctx, owner); err != nil {
				return err
			}
		}
		if err := s.set(ctx, d.Name, v.RoleOID, name, v.Value); err != nil {
			return fmt.Errorf("set %s as it was: %w", readOnly, err)
		}
	}
	return nil
}

// denied says that in words.
func deniedNote(database string, roles []string) string {
	return fmt.Sprintf("%s is off for %s, and this login may not set it in database %s: only the right to connect holds them back", readOnly, strings.Join(roles, ", "), database)
}
