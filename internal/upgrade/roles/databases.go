package roles

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// CreateDatabases makes the databases of the model on the target, empty, with the same encoding, locale and owner; the rest of them comes with
// [Model.ApplySettings]. One that is there must be alike, and empty unless an earlier try made it: else it is fault.Blocked. It may be called
// again.
func (m *Model) CreateDatabases(ctx context.Context, target Connect) error {
	const what = "make the databases on the target"
	conn, err := open(ctx, target, maintenance)
	if err != nil {
		return failed(what, err)
	}
	defer closing(ctx, conn)
	if _, err := conn.Exec(ctx, strings.ReplaceAll(lock, "_xact_", "_")); err != nil { // one that was cut off may still be at it
		return failed(what, err)
	}
	for i := range m.Databases {
		d := &m.Databases[i]
		if err := m.createDatabase(ctx, conn, target, d); err != nil {
			return failed("make the database "+quoted(d.Name)+" on the target", err)
		}
	}
	return nil
}

func (m *Model) createDatabase(ctx context.Context, conn *pgx.Conn, target Connect, d *Database) error {
	t, err := read(ctx, conn, []string{d.Name})
	if err != nil {
		return err
	}
	if t.Major < m.Major {
		return older(m.Major, t.Major)
	}
	owner, err := m.owner(t, d)
	if err != nil {
		return err
	}
	if len(t.Databases) == 0 {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return noteDatabase(ctx, tx, d.Name, true) })
		if err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, d.create(t.Major)); err != nil {
			return unmade(d, err)
		}
		return give(ctx, conn, t, d.Name, t.Login, owner)
	}
	is := t.Databases[0]
	var known bool
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		n, err := readNote(ctx, tx)
		known = err == nil && n.knows(d.Name)
		return err
	})
	if err != nil {
		return err
	}
	if err := d.fits(&is, owner, known || is.Owner == t.Login); err != nil {
		return err
	}
	if !known {
		if err := empty(ctx, target, d.Name); err != nil {
			return err
		}
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return noteDatabase(ctx, tx, d.Name, false) })
		if err != nil {
			return err
		}
	}
	return give(ctx, conn, t, d.Name, is.Owner, owner)
}

func noteDatabase(ctx context.Context, tx pgx.Tx, name string, made bool) error {
	n, err := readNote(ctx, tx)
	if err != nil || n.knows(name) {
		return err
	}
	if made {
		n.Databases = append(n.Databases, name)
	} else {
		n.Found = append(n.Found, name)
	}
	return n.write(ctx, tx)
}

// owner is who owns the database on the target: the login, if the source's owner is the server's or a cloud's and has no counterpart.
func (m *Model) owner(t *Model, d *Database) (string, error) {
	switch {
	case t.role(d.Owner) != nil && (t.Superuser || d.Owner != t.Bootstrap && !strings.HasPrefix(d.Owner, "rds")):
		return d.Owner, nil
	case d.Owner == m.Bootstrap && t.Superuser:
		return t.Bootstrap, nil
	case m.provided(d.Owner):
		return t.Login, nil
	}
	return "", fault.Newf(fault.Blocked, "make the database "+quoted(d.Name)+" on the target", "its owner %s is not there", quoted(d.Owner)).
		Hint("make the roles first: what was left out of them says why this one is missing")
}

func (d *Database) create(major int) string {
	sql := "create database " + quoted(d.Name) + " template template0 encoding " + literal(d.Encoding) + " lc_collate " + literal(d.Collate) + " lc_ctype " + literal(d.CType)
	if major >= 15 {
		sql += " locale_provider " + d.Provider
	}
	switch d.Provider {
	case "icu":
		sql += " icu_locale " + literal(d.Locale)
		if d.ICURules != "" {
			sql += " icu_rules " + literal(d.ICURules)
		}
	case "builtin":
		sql += " builtin_locale " + literal(d.Locale)
	}
	return sql
}

func unmade(d *Database, err error) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if ok && slices.Contains([]string{"22023", "42809", "42602", "42704", "0A000", "42P17"}, e.Code) {
		return fault.New(fault.Blocked, "make the database "+quoted(d.Name)+" on the target", err).
			Hint("the target's system must know the locale of the source: %s", d.locale())
	}
	return err
}

func (d *Database) locale() string {
	text := fmt.Sprintf("%s, provider %s, collate %s, ctype %s", d.Encoding, d.Provider, d.Collate, d.CType)
	if d.Locale != "" {
		text += ", locale " + d.Locale
	}
	if d.ICURules != "" {
		text += ", rules " + d.ICURules
	}
	return text
}

// alike tells whether strings sort and compare alike in both.
func (d *Database) alike(is *Database) bool {
	return d.Encoding == is.Encoding && d.Provider == is.Provider && sameLocale(d.Collate, is.Collate) && sameLocale(d.CType, is.CType) &&
		d.ICURules == is.ICURules && sameTag(d.Locale, is.Locale)
}

// sameTag compares locales of ICU, which 16 and later write as language tags.
func sameTag(a, b string) bool {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "-")) }
	return plain(a) == plain(b)
}

// fits refuses a database that is there and is another than the source's. movable tells that its owner may be changed.
func (d *Database) fits(is *Database, owner string, movable bool) error {
	what := "use the database " + quoted(d.Name) + " of the target"
	switch {
	case is.Limit == -2:
		return fault.Newf(fault.Blocked, what, "somebody began to drop it").Hint("drop it in full: DROP DATABASE %s", quoted(d.Name))
	case !d.alike(is) && !(movable && strings.ContainsAny(d.Locale, "@")): // an old name of a locale, which the target wrote in the new way
		return fault.Newf(fault.Blocked, what, "it has %s, and the source %s", is.locale(), d.locale()).
			Hint("drop it on the target, so that it is made like the source's, or give that another name")
	case is.Owner != owner && !movable:
		return fault.Newf(fault.Blocked, what, "it belongs to %s, and on the source to %s", quoted(is.Owner), quoted(d.Owner)).
			Hint("drop it on the target, or: ALTER DATABASE %s OWNER TO %s", quoted(d.Name), quoted(owner))
	}
	return nil
}

// What somebody put into a database, beside extensions.
const holdsSQL = `select (array_agg(what order by what))[1:3], count(*) from (
 select 'schema ' || pg_catalog.quote_ident(nspname) from pg_catalog.pg_namespace o where o.oid >= 16384 and nspname !~ '^pg_' and not exists
  (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.objid = o.oid and d.deptype = 'e')
 union all select 'relation ' || o.oid::pg_catalog.regclass from pg_catalog.pg_class o join pg_catalog.pg_namespace n on n.oid = o.relnamespace
  where o.oid >= 16384 and n.nspname !~ '^pg_' and o.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not exists
  (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = o.oid and d.deptype = 'e')
 union all select 'function ' || o.oid::pg_catalog.regprocedure from pg_catalog.pg_proc o join pg_catalog.pg_namespace n on n.oid = o.pronamespace
  where o.oid >= 16384 and n.nspname !~ '^pg_' and not exists
  (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = o.oid and d.deptype = 'e')
 union all select 'type ' || o.oid::pg_catalog.regtype from pg_catalog.pg_type o join pg_catalog.pg_namespace n on n.oid = o.typnamespace
  where o.oid >= 16384 and n.nspname !~ '^pg_' and o.typtype in ('d', 'e', 'r') and not exists
  (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.objid = o.oid and d.deptype = 'e')
 union all select 'large object ' || oid::text from pg_catalog.pg_largeobject_metadata) x(what)`

func empty(ctx context.Context, target Connect, name string) error {
	conn, err := open(ctx, target, name)
	if err != nil {
		return err
	}
	defer closing(ctx, conn)
	var some []string
	var n int
	if err := conn.QueryRow(ctx, holdsSQL).Scan(&some, &n); err != nil || n == 0 {
		return err
	}
	text := strings.Join(some, ", ")
	if n > len(some) {
		text += fmt.Sprintf(" and %d more", n-len(some))
	}
	return fault.Newf(fault.Blocked, "use the database "+quoted(name)+" of the target", "it is not empty, and not made by this upgrade: it holds %s", text).
		Hint("drop it on the target if nobody needs it, or upgrade to another target")
}
