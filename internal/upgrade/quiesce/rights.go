package quiesce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"dbops/internal/fault"
)

// connectRight is the privilege that a login needs.
const connectRight = "CONNECT"

// database reads one as it is.
func (s *session) database(ctx context.Context, name string) (Database, error) {
	d := Database{Name: name}
	err := s.conn.QueryRow(ctx, "select datdba, datacl::text from pg_catalog.pg_database where datname = $1", name).Scan(&d.OwnerOID, &d.ACL)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fault.Newf(fault.NotFound, "look at database "+name, "the server has none of that name").Hint("name a database of this server")
	}
	if err != nil {
		return d, err
	}
	var acts, sets bool
	if d.Owner, acts, sets, err = s.member(ctx, d.OwnerOID); err != nil {
		return d, err
	}
	if !acts && !sets {
		return d, fault.Newf(fault.Denied, "look at database "+name, "it belongs to the role %s, and %s is no member of it", d.Owner, s.login).
			Hint("GRANT %s TO %s", ident(d.Owner), ident(s.login))
	}
	if d.Grants, err = s.grants(ctx, name); err != nil {
		return d, err
	}
	if err := s.canRegrant(ctx, d, sets); err != nil {
		return d, err
	}
	if d.Settings, err = s.settings(ctx, name); err != nil {
		return d, err
	}
	d.MayConnect, err = texts(ctx, s.conn, `select rolname::text from pg_catalog.pg_roles where rolcanlogin and pg_catalog.has_database_privilege(oid, $1, 'CONNECT') order by 1`, name)
	return d, err
}

// grants are the rights on a database in the order in which the server keeps them.
func (s *session) grants(ctx context.Context, database string) ([]Grant, error) {
	rows, err := s.conn.Query(ctx, `select a.privilege_type, case when a.grantee = 0 then 'public' else pg_catalog.pg_get_userbyid(a.grantee)::text end, a.grantee, pg_catalog.pg_get_userbyid(a.grantor)::text, a.grantor, a.is_grantable
 from pg_catalog.pg_database d, pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) with ordinality a(grantor, grantee, privilege_type, is_grantable, n) where d.datname = $1 order by a.n`, database)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[Grant])
}

// canRegrant fails if a right was given by a role that we cannot become, for nobody can give it in another's name; or if we would give the
// owner's rights in our own name, because we have them with grant option and cannot become the owner.
func (s *session) canRegrant(ctx context.Context, d Database, owns bool) error {
	for _, g := range d.Grants {
		if g.GrantorOID != d.OwnerOID {
			_, _, sets, err := s.member(ctx, g.GrantorOID)
			if err != nil {
				return err
			}
			if !sets {
				return fault.Newf(fault.Blocked, "look at the rights on database "+d.Name, "%s was granted to %s by %s, and %s could not grant that again in its name", g.Privilege, g.Role, g.Grantor, s.login).
					Hint("GRANT %s TO %s; or revoke that right and grant it as the owner of the database", ident(g.Grantor), ident(s.login))
			}
		}
		if g.Option && !owns && g.RoleOID != d.OwnerOID {
			_, acts, _, err := s.member(ctx, g.RoleOID)
			if err != nil {
				return err
			}
			if acts {
				return fault.Newf(fault.Blocked, "look at the rights on database "+d.Name, "%s has %s with grant option, and cannot become the owner: it could not grant in the owner's name", s.login, g.Privilege).
					Hint("GRANT %s TO %s WITH SET TRUE", ident(d.Owner), ident(s.login))
			}
		}
	}
	return nil
}

// shut takes the right to connect from everybody but us and the kept roles. It returns what was not there at the look.
func (s *session) shut(ctx context.Context, d Database, keep []uint32) (since []string, err error) {
	on := " on database " + ident(d.Name)
	err = s.transaction(ctx, func() error {
		since = nil
		owner, err := s.owner(ctx, d)
		if err != nil {
			return err
		}
		if err := s.actAs(ctx, owner); err != nil {
			return err
		}
		names, err := s.names(ctx, keep)
		if err != nil {
			return err
		}
		var sql []string
		for _, oid := range keep {
			sql = append(sql, "grant connect"+on+" to "+ident(names[oid]))
		}
		now, err := s.grants(ctx, d.Name)
		if err != nil {
			return err
		}
		for _, g := range now {
			if g.Privilege != connectRight {
				continue
			}
			kept := slices.Contains(keep, g.RoleOID)
			if !kept && !slices.ContainsFunc(d.Grants, func(w Grant) bool { return w.Privilege == g.Privilege && w.RoleOID == g.RoleOID }) {
				since = append(since, g.Role)
			}
			switch {
			case g.GrantorOID != owner: // goes with the option of who gave it
			case !kept:
				sql = append(sql, "revoke connect"+on+" from "+grantee(g.RoleOID, g.Role)+" cascade")
			case g.RoleOID != owner:
				sql = append(sql, "revoke grant option for connect"+on+" from "+ident(g.Role)+" cascade")
			}
		}
		return s.exec(ctx, strings.Join(sql, ";\n"))
	})
	return since, err
}

// may are the roles beside superusers and the kept ones that have the right to connect.
func (s *session) may(ctx context.Context, database string, keep []uint32) ([]string, error) {
	return texts(ctx, s.conn, `select rolname::text from pg_catalog.pg_roles where rolcanlogin and not rolsuper and not oid = any($2) and pg_catalog.has_database_privilege(oid, $1, 'CONNECT') order by 1`, database, keep)
}

// restore puts a database's settings and rights back, in one transaction.
func (s *session) restore(ctx context.Context, d Database) error {
	return s.transaction(ctx, func() error {
		owner, err := s.owner(ctx, d)
		if err != nil {
			return err
		}
		if err := s.restoreSettings(ctx, d, owner); err != nil {
			return err
		}
		want, err := s.wanted(ctx, d, owner)
		if err != nil {
			return err
		}
		return s.restoreGrants(ctx, d.Name, owner, want)
	})
}

// owner is who owns the database now.
func (s *session) owner(ctx context.Context, d Database) (oid uint32, err error) {
	err = s.conn.QueryRow(ctx, "select datdba from pg_catalog.pg_database where datname = $1", d.Name).Scan(&oid)
	if errors.Is(err, pgx.ErrNoRows) {
		err = fault.Newf(fault.Stale, "look at database "+d.Name, "it is not there any more").Hint("see who dropped or renamed it")
	}
	return oid, err
}

// wanted are the rights as they were, of the roles that still are, under their present names.
func (s *session) wanted(ctx context.Context, d Database, owner uint32) ([]Grant, error) {
	var oids []uint32
	now := func(oid uint32) uint32 { // as the server does when the owner changes
		if oid == d.OwnerOID {
			return owner
		}
		return oid
	}
	for _, g := range d.Grants {
		oids = append(oids, now(g.RoleOID), now(g.GrantorOID))
	}
	names, err := s.names(ctx, oids)
	if err != nil {
		return nil, err
	}
	names[0] = "public"
	var out []Grant
	for _, g := range d.Grants {
		g.RoleOID, g.GrantorOID = now(g.RoleOID), now(g.GrantorOID)
		g.Role, g.Grantor = names[g.RoleOID], names[g.GrantorOID]
		if g.Role != "" && g.Grantor != "" {
			out = append(out, g)
		}
	}
	return out, nil
}

// restoreGrants takes all rights and gives the wanted ones in their order, for the server appends what is new.
func (s *session) restoreGrants(ctx context.Context, database string, owner uint32, want []Grant) error {
	now, err := s.grants(ctx, database)
	if err != nil || slices.Equal(now, want) {
		return err
	}
	if err := s.actAs(ctx, owner); err != nil {
		return err
	}
	on := " on database " + ident(database)
	var sql []string
	for _, g := range now {
		if g.GrantorOID == owner {
			sql = append(sql, "revoke all"+on+" from "+grantee(g.RoleOID, g.Role)+" cascade")
		}
	}
	sql = slices.Compact(sql)
	var as string
	if err := s.conn.QueryRow(ctx, "select current_user::text").Scan(&as); err != nil {
		return err
	}
	for _, g := range want {
		give := "grant " + g.Privilege + on + " to " + grantee(g.RoleOID, g.Role)
		if g.Option {
			give += " with grant option"
		}
		if g.GrantorOID != owner {
			give = "set local role " + ident(g.Grantor) + ";\n" + give + ";\nset local role " + ident(as)
		}
		sql = append(sql, give)
	}
	if err := s.exec(ctx, strings.Join(sql, ";\n")); err != nil {
		return err
	}
	got, err := s.grants(ctx, database)
	if err != nil {
		return err
	}
	for _, list := range [][]Grant{got, want} { // an order that came about in ways that cannot be gone again is no right
		slices.SortFunc(list, func(a, b Grant) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	if !slices.Equal(got, want) {
		return fault.Newf(fault.Failed, "restore the rights on database "+database, "they are %v, and were %v", got, want).Hint("grant by hand what is missing, as the owner of the database")
	}
	return nil
}

// names are the present names of roles.
func (s *session) names(ctx context.Context, oids []uint32) (map[uint32]string, error) {
	rows, err := s.conn.Query(ctx, "select oid, rolname::text from pg_catalog.pg_roles where oid = any($1)", oids)
	if err != nil {
		return nil, err
	}
	out := map[uint32]string{}
	var oid uint32
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&oid, &name}, func() error { out[oid] = name; return nil }); err != nil {
		return nil, err
	}
	return out, rows.Err()
}

func texts(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
