package follow

import (
	"context"
	_ "embed"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
)

//go:embed sql/uncomparable.sql
var uncomparableSQL string

// The user's tables, as the FROM of a query about them.
const (
	tablesFrom  = ` from pg_class c join pg_namespace n on n.oid = c.relnamespace `
	tablesWhere = ` where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'dbops_upgrade') and c.relkind = 'r'
 and not exists (select from pg_depend e where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e') and `
	tableName = `select format('%I.%I', n.nspname, c.relname)`
)

// query is a check that names objects.
type query struct {
	severity                 op.Severity
	check, sql, remedy, text string
}

var contentQueries = []query{
	{
		op.Block, "generated-identity",
		tableName + tablesFrom + tablesWhere + `exists (select from pg_index i join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey) and a.attgenerated <> ''
 where i.indrelid = c.oid and (c.relreplident = 'd' and i.indisprimary or c.relreplident = 'i' and i.indisreplident))`,
		"set REPLICA IDENTITY USING INDEX with an index that has no generated column, or REPLICA IDENTITY FULL",
		"tables whose rows are told apart by generated columns, which are not replicated",
	},
	{
		op.Block, "always-triggers",
		`select format('%I on %I.%I', t.tgname, n.nspname, c.relname)` + tablesFrom + `join pg_trigger t on t.tgrelid = c.oid and t.tgenabled in ('A', 'R')` + tablesWhere + `not t.tgisinternal`,
		"ALTER TABLE ... ENABLE TRIGGER, without ALWAYS or REPLICA, until the upgrade is over",
		"triggers that run where rows are replicated to: what they write would be there twice",
	},
	{
		op.Block, "forced-row-security",
		tableName + tablesFrom + `join pg_roles o on o.oid = c.relowner` + tablesWhere + `c.relrowsecurity and c.relforcerowsecurity and not o.rolsuper and not o.rolbypassrls`,
		"ALTER TABLE ... NO FORCE ROW LEVEL SECURITY until the upgrade is over, or give the owner BYPASSRLS",
		"tables whose row security holds for their owner, as whom rows are written",
	},
	{
		op.Block, "large-objects", `select 'large object ' || oid from pg_largeobject_metadata order by oid limit 1`,
		"copy while writers are stopped, or move them into a bytea column",
		"there are large objects, and those are not replicated",
	},
	{
		op.Warn, "extension-tables",
		`select format('%I.%I of %I', n.nspname, c.relname, x.extname)` + tablesFrom + `join pg_depend e on e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype = 'e' join pg_extension x on x.oid = e.refobjid
 where c.relkind = 'r' and not coalesce(c.oid = any (x.extconfig), false) and n.nspname !~ '^pg_'`,
		"", "tables of extensions that are neither copied nor followed: the extension fills them",
	},
	{
		op.Warn, "partition-maintenance", `select extname::text from pg_extension where extname in ('pg_partman', 'timescaledb')`,
		"make the partitions that will be needed before it begins, and let nobody make any meanwhile",
		"an extension makes tables: one that is made meanwhile is not followed",
	},
	{
		op.Warn, "open-transactions", openSQL,
		"let them end before it begins", "transactions that are open: the slot waits for their end",
	},
}

// contents are about rows that would not arrive as they are.
func (l *looking) contents(ctx context.Context, conn *pgx.Conn) error {
	for _, q := range contentQueries {
		var args []any
		if q.check == "open-transactions" {
			args = append(args, "1 min")
		}
		if err := l.found(ctx, conn, q, args...); err != nil {
			return err
		}
	}
	return l.unlogged(ctx, conn)
}

// found adds a problem if a query names objects.
func (l *looking) found(ctx context.Context, conn *pgx.Conn, q query, args ...any) error {
	all, err := column[string](ctx, conn, q.sql, args...)
	if err == nil && len(all) > 0 {
		l.add(q.severity, q.check, q.remedy, few(all), "%s", q.text)
	}
	return err
}

// unlogged are tables of which no log tells.
func (l *looking) unlogged(ctx context.Context, conn *pgx.Conn) error {
	all, err := column[string](ctx, conn, tableName+tablesFrom+tablesWhere+`c.relpersistence = 'u' order by 1`)
	if err != nil {
		return err
	}
	var filled, empty []string
	for _, name := range all {
		has, err := one[bool](ctx, conn, "select exists (select from "+name+")")
		if _, ok := serverError(err); err != nil && !ok {
			return err
		}
		if has || err != nil { // what cannot be read may be anything
			filled = append(filled, name)
		} else {
			empty = append(empty, name)
		}
	}
	if len(filled) > 0 {
		l.add(op.Block, "unlogged-tables", "ALTER TABLE ... SET LOGGED, or empty them", few(filled), "unlogged tables with rows, which are not replicated")
	}
	if len(empty) > 0 {
		l.add(op.Warn, "empty-unlogged-tables", "ALTER TABLE ... SET LOGGED if their rows matter", few(empty), "unlogged tables, empty now: what is written to them is not replicated")
	}
	return nil
}
