package backup

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"dbops/internal/op"
)

// firstDatabase is there on every server.
const firstDatabase = "postgres"

// reading is what was found on a server: never contents, only shapes and numbers.
type reading struct {
	Begun     time.Time             `json:"begun"` // by the server's clock
	At        time.Time             `json:"at"`    // when it was complete: everything in it had happened
	Databases map[string]*dbReading `json:"databases"`
	LSN       string                `json:"lsn,omitempty"` // where the log was written to
}

type dbReading struct {
	Bytes   int64             `json:"bytes"`
	Objects map[string]string `json:"objects"` // fingerprints, by kind and name
	Tables  map[string]*count `json:"tables"`
	Problem string            `json:"problem,omitempty"` // why it could not be read
}

// count is how many rows a table has.
type count struct {
	Rows     int64  `json:"rows"`
	Exact    bool   `json:"exact"`  // counted; else estimated from its size
	Writes   int64  `json:"writes"` // rows ever inserted and deleted, as far as the statistics know
	Unlogged bool   `json:"unlogged,omitempty"`
	Problem  string `json:"problem,omitempty"` // why it could not be counted
}

// dial logs in to a database of an instance.
type dial func(ctx context.Context, database string) (*pgx.Conn, error)

// listDatabases are those of a server that are somebody's.
func listDatabases(ctx context.Context, to dial) ([]string, error) {
	c, err := to(ctx, firstDatabase)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	rows, err := c.Query(ctx, `select datname::text from pg_database
		where datallowconn and not datistemplate and datname not in ('rdsadmin', 'cloudsqladmin') and has_database_privilege(oid, 'connect') order by 1`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// read reads databases of a server. It writes nothing. A database that cannot be read is said to be so; err is that nothing can.
func read(ctx context.Context, s *op.Session, to dial, databases []string, exact int64) (*reading, error) {
	r := &reading{Databases: map[string]*dbReading{}}
	var last error
	for _, name := range databases {
		s.Progress(ctx, "reading database %s", name)
		d, err := r.database(ctx, to, name, exact)
		if err != nil && ctx.Err() == nil { // an object may have been dropped under it
			d, err = r.database(ctx, to, name, exact)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			last, d = err, &dbReading{Problem: oneLine(err)}
		}
		r.Databases[name] = d
	}
	if r.At.IsZero() {
		return nil, cmp.Or(last, fmt.Errorf("there is no database to read"))
	}
	return r, nil
}

func (r *reading) database(ctx context.Context, to dial, name string, exact int64) (d *dbReading, err error) {
	c, err := to(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	tx, err := c.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	d = &dbReading{}
	var begun time.Time
	// Full names in definitions, and no rows that a policy hides.
	err = tx.QueryRow(ctx, `select clock_timestamp(), pg_database_size(current_database()),
		set_config('search_path', '', true), set_config('row_security', 'off', true), set_config('lock_timeout', '10s', true), set_config('statement_timeout', '5min', true)`).
		Scan(&begun, &d.Bytes, nil, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	if d.Objects, err = objects(ctx, tx); err != nil {
		return nil, fmt.Errorf("read the catalogs of %s: %w", name, err)
	}
	if d.Tables, err = counts(ctx, tx, exact); err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", name, err)
	}
	var at time.Time
	var lsn string
	if err := tx.QueryRow(ctx, `select clock_timestamp(), case when pg_is_in_recovery() then '' else pg_current_wal_insert_lsn()::text end`).Scan(&at, &lsn); err != nil {
		return nil, err
	}
	if r.Begun.IsZero() {
		r.Begun = begun.UTC()
	}
	r.At, r.LSN = at.UTC(), lsn
	return d, nil
}

// catalogs is every object of a database that somebody made, with its definition.
const catalogs = `
with spaces as (select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema')
select 'schema ' || nspname, pg_get_userbyid(n.nspowner) || coalesce(n.nspacl::text, '') from spaces join pg_namespace n using (oid, nspname)
union all
select 'relation ' || nspname || '.' || relname, concat_ws(' ', relkind, relpersistence, pg_get_userbyid(relowner), relacl::text, relrowsecurity, relforcerowsecurity,
	case when relkind in ('v', 'm') then pg_get_viewdef(c.oid) end, case when relispartition then pg_get_expr(relpartbound, c.oid) end,
	(select string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attacl::text, pg_get_expr(adbin, adrelid)), E'\n' order by attnum)
		from pg_attribute a left join pg_attrdef d on adrelid = attrelid and adnum = attnum where attrelid = c.oid and attnum > 0 and not attisdropped))
	from pg_class c join spaces s on s.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f', 'S', 'c')
union all
select 'constraint ' || nspname || '.' || coalesce(conrelid::regclass::text, '') || '.' || conname, pg_get_constraintdef(c.oid) || convalidated
	from pg_constraint c join spaces s on s.oid = connamespace
union all
select 'index ' || nspname || '.' || relname, pg_get_indexdef(c.oid) || indisvalid
	from pg_class c join pg_index i on indexrelid = c.oid join spaces s on s.oid = relnamespace
union all
select 'trigger ' || tgrelid::regclass || '.' || tgname, pg_get_triggerdef(t.oid) || tgenabled::text
	from pg_trigger t join pg_class c on c.oid = tgrelid join spaces s on s.oid = relnamespace where not tgisinternal
union all
select 'function ' || nspname || '.' || proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
	concat_ws(' ', prokind, pg_get_userbyid(proowner), proacl::text, pg_get_function_result(p.oid), provolatile, prosecdef, prolang, prosrc)
	from pg_proc p join spaces s on s.oid = pronamespace
union all
select 'type ' || nspname || '.' || typname, concat_ws(' ', typtype, format_type(typbasetype, typtypmod), typdefault,
	(select string_agg(enumlabel, ',' order by enumsortorder) from pg_enum where enumtypid = t.oid))
	from pg_type t join spaces s on s.oid = typnamespace where typtype in ('e', 'd', 'r')
union all
select 'policy ' || polrelid::regclass || '.' || polname, concat_ws(' ', polcmd, polpermissive, polroles::regrole[]::text, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
	from pg_policy
union all
select 'extension ' || extname, extversion from pg_extension`

func objects(ctx context.Context, tx pgx.Tx) (map[string]string, error) {
	rows, err := tx.Query(ctx, catalogs) //nolint:rowserrcheck // ForEachRow does
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	var name, definition string
	_, err = pgx.ForEachRow(rows, []any{&name, &definition}, func() error {
		sum := sha256.Sum256([]byte(definition))
		out[name] = hex.EncodeToString(sum[:6])
		return nil
	})
	return out, err
}

// relation is a table to count.
type relation struct {
	name                         string
	oid                          uint32
	bytes                        int64
	estimate                     int64
	readable, policies, unlogged bool
	writes                       int64
}

func counts(ctx context.Context, tx pgx.Tx, exact int64) (map[string]*count, error) {
	rows, err := tx.Query(ctx, `select format('%I.%I', nspname, relname), c.oid, pg_relation_size(c.oid),
			case when relpages > 0 and reltuples >= 0
				then (reltuples / relpages * (pg_relation_size(c.oid) / current_setting('block_size')::int))::bigint else -1 end,
			has_table_privilege(c.oid, 'select'), row_security_active(c.oid), relpersistence = 'u',
			pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_deleted(c.oid)
		from pg_class c join pg_namespace n on n.oid = relnamespace
		where relkind in ('r', 'm') and (relkind = 'r' or relispopulated) and nspname !~ '^pg_' and nspname <> 'information_schema'`)
	if err != nil {
		return nil, err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t relation, err error) {
		err = row.Scan(&t.name, &t.oid, &t.bytes, &t.estimate, &t.readable, &t.policies, &t.unlogged, &t.writes)
		return t, err
	})
	if err != nil {
		return nil, err
	}
	out := map[string]*count{}
	for _, t := range all {
		out[t.name] = t.count(ctx, tx, exact)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

func (t relation) count(ctx context.Context, tx pgx.Tx, exact int64) *count {
	n := &count{Rows: t.estimate, Writes: t.writes, Unlogged: t.unlogged}
	switch {
	case t.bytes > exact && t.estimate < 0:
		n.Problem = "it is too large to be counted, and was never analyzed"
	case t.bytes > exact:
	case !t.readable:
		n.Problem = "the login may not read it"
	case t.policies:
		n.Problem = "row security hides rows from the login"
	default:
		one, err := tx.Begin(ctx) // so that one table that cannot be read does not end the reading
		if err == nil {
			if err = one.QueryRow(ctx, `select count(*) from only `+t.name).Scan(&n.Rows); err == nil {
				n.Exact = true
				err = one.Commit(ctx)
			} else {
				_ = one.Rollback(ctx)
			}
		}
		if err != nil {
			n.Problem = oneLine(err)
		}
	}
	return n
}
