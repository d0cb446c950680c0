package lint

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dbops/internal/fault"
)

// Live is a catalog over one connection. It reads in one transaction that may not write, and waits for no lock longer than a second.
type Live struct{ conn *pgx.Conn }

// NewLive returns the catalog of a connection, which stays the caller's.
func NewLive(conn *pgx.Conn) *Live { return &Live{conn} }

const (
	syntaxErrorState = "42601"
	lockNotAvailable = "55P03"
)

// lookRelations takes texts of names, and finds them as the session's search_path does. Sizes are those of the last VACUUM or ANALYZE where
// somebody holds the table: to measure it would wait; -1 if there was none.
const lookRelations = `
with recursive named as (select n, to_regclass(n)::oid as oid from unnest($1::text[]) n),
asked as (select * from named union all select '', x.indrelid from named a join pg_index x on x.indexrelid = a.oid where x.indrelid not in (select oid from named where oid is not null)),
part as (select a.oid as root, a.oid from asked a where a.oid is not null union all select p.root, i.inhrelid from part p join pg_inherits i on i.inhparent = p.oid
  join pg_class c on c.oid = p.oid and c.relkind = 'p'),
held as (select distinct relation from pg_locks where mode = 'AccessExclusiveLock' and relation is not null
  and database = (select oid from pg_database where datname = current_database())),
size as (select p.root, case when bool_or(h.relation is not null and c.reltuples < 0) then -1 else sum(case when c.relkind in ('p', 'v') then 0
    when h.relation is not null then c.relpages::bigint * current_setting('block_size')::bigint
    when pg_relation_size(c.oid) = 0 then 0 else pg_table_size(c.oid) end)::bigint end as bytes,
  sum(case when c.relkind in ('p', 'v') then 0 else c.reltuples end)::float8 as rows, bool_or(c.relkind not in ('p', 'v') and c.reltuples < 0) as guess,
  sum(coalesce(s.seq_scan, 0) + coalesce(s.idx_scan, 0))::bigint as reads,
  sum(coalesce(s.n_tup_ins, 0) + coalesce(s.n_tup_upd, 0) + coalesce(s.n_tup_del, 0))::bigint as writes,
  sum(coalesce(s.n_live_tup, 0))::bigint as live
  from part p join pg_class c on c.oid = p.oid left join held h on h.relation = p.oid left join pg_stat_user_tables s on s.relid = p.oid group by p.root)
select a.n, coalesce(nullif(cn.nspname, 'public'), ''), c.relname, c.relkind::text, coalesce(it.relname, ''), coalesce(nullif(ns.nspname, 'public'), ''), coalesce(z.bytes, 0),
  case when z.guess then coalesce(z.live, -1) else coalesce(z.rows, -1)::bigint end, coalesce(z.reads, 0), coalesce(z.writes, 0),
  coalesce(extract(epoch from now() - coalesce((select stats_reset from pg_stat_database where datname = current_database()), pg_postmaster_start_time())), 0)::float8
from asked a join pg_class c on c.oid = a.oid join pg_namespace cn on cn.oid = c.relnamespace left join size z on z.root = a.oid left join pg_index x on x.indexrelid = a.oid
  left join pg_class it on it.oid = x.indrelid left join pg_namespace ns on ns.oid = it.relnamespace`

const lookColumns = `
select a.n, t.attname, format_type(t.atttypid, t.atttypmod), t.attnotnull
from (select n, to_regclass(n) as oid from unnest($1::text[]) n) a join pg_attribute t on t.attrelid = a.oid and t.attnum > 0 and not t.attisdropped`

const lookConstraints = `
select a.n, k.conname, k.contype::text, k.convalidated, coalesce(o.relname, ''), coalesce(nullif(ns.nspname, 'public'), ''),
  coalesce((select t.attname from pg_attribute t where k.contype = 'c' and t.attrelid = k.conrelid and array_length(k.conkey, 1) = 1 and t.attnum = k.conkey[1]
    and pg_get_constraintdef(k.oid) in ('CHECK ((' || quote_ident(t.attname) || ' IS NOT NULL))', 'CHECK ((' || quote_ident(t.attname) || ' IS NOT NULL)) NOT VALID')), '')
from (select n, to_regclass(n) as oid from unnest($1::text[]) n) a join pg_constraint k on k.conrelid = a.oid
  left join pg_class o on o.oid = k.confrelid left join pg_namespace ns on ns.oid = o.relnamespace`

// Look reads what is asked, in one round trip. Where somebody locks a table just then, it looks again: by then the lock is seen, and the table
// is not measured.
func (l *Live) Look(ctx context.Context, q Question) (*Facts, error) {
	const tries = 3
	for try := 1; ; try++ {
		f, err := l.look(ctx, q)
		if err == nil {
			return f, nil
		}
		if locked, ok := errors.AsType[*pgconn.PgError](err); !ok || locked.Code != lockNotAvailable || try == tries {
			return nil, fault.New(fault.Failed, "read the tables that the migrations name", err).Hint("lint without --connect judges without sizes and traffic")
		}
	}
}

func (l *Live) look(ctx context.Context, q Question) (*Facts, error) {
	f := &Facts{Connected: true, Relations: map[Name]Relation{}, Volatile: map[string]bool{}, Extensions: map[string]bool{}}
	names := map[string]Name{}
	asked := make([]string, 0, len(q.Relations))
	for _, n := range q.Relations {
		names[n.String()] = n.key()
		asked = append(asked, n.String())
	}
	tx, err := l.conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	b := &pgx.Batch{}
	b.Queue("set local lock_timeout = '1s'").Exec(func(pgconn.CommandTag) error { return nil })
	b.Queue(`select current_setting('server_version_num')::int / 10000, case when exists (select from pg_roles where rolname = 'rds_superuser') then 'rds'
		when exists (select from pg_roles where rolname = 'cloudsqlsuperuser') then 'cloudsql' else 'postgres' end`).QueryRow(func(r pgx.Row) error {
		return r.Scan(&f.Major, &f.Provider)
	})
	b.Queue(lookRelations, asked).Query(func(rows pgx.Rows) error { return readRelations(rows, f, names) })
	b.Queue(lookColumns, asked).Query(func(rows pgx.Rows) error {
		var n, column, typ string
		var notNull bool
		_, err := pgx.ForEachRow(rows, []any{&n, &column, &typ, &notNull}, func() error {
			f.Relations[names[n]].Columns[column] = Column{Type: typ, NotNull: notNull}
			return nil
		})
		return err
	})
	b.Queue(lookConstraints, asked).Query(func(rows pgx.Rows) error {
		var n, name, kind, other, schema, proves string
		var valid bool
		_, err := pgx.ForEachRow(rows, []any{&n, &name, &kind, &valid, &other, &schema, &proves}, func() error {
			f.Relations[names[n]].Constraints[name] = Constraint{Kind: kind, Valid: valid, Other: Name{schema, other}, Proves: proves}
			return nil
		})
		return err
	})
	b.Queue("select proname::text, bool_or(provolatile = 'v') from pg_proc where proname = any($1) group by proname", q.Functions).Query(func(rows pgx.Rows) error {
		var name string
		var volatile bool
		_, err := pgx.ForEachRow(rows, []any{&name, &volatile}, func() error {
			f.Volatile[name] = volatile
			return nil
		})
		return err
	})
	b.Queue("select name::text from pg_available_extensions").Query(func(rows pgx.Rows) error {
		var name string
		_, err := pgx.ForEachRow(rows, []any{&name}, func() error {
			f.Extensions[name] = true
			return nil
		})
		return err
	})
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, err
	}
	return f, nil
}

func readRelations(rows pgx.Rows, f *Facts, names map[string]Name) error {
	var n, ownSchema, own, table, schema string
	var r Relation
	_, err := pgx.ForEachRow(rows, []any{&n, &ownSchema, &own, &r.Kind, &table, &schema, &r.Bytes, &r.Rows, &r.Reads, &r.Writes, &r.Seconds}, func() error {
		r.Columns, r.Constraints, r.Table = map[string]Column{}, map[string]Constraint{}, Name{schema, table}
		if r.Kind == "I" {
			r.Kind = "i"
		}
		name, ok := names[n]
		if !ok { // the table of an index that was asked for
			name = Name{ownSchema, own}
		}
		f.Relations[name] = r
		return nil
	})
	return err
}

// syntaxBatch bounds what is under way at once: a server that waits for its answers to be read would not read on.
const syntaxBatch = 50

// Syntax lets the server parse each statement, and run none.
func (l *Live) Syntax(ctx context.Context, statements []string) ([]*SyntaxError, error) {
	out := make([]*SyntaxError, len(statements))
	for from := 0; from < len(statements); from += syntaxBatch {
		to := min(from+syntaxBatch, len(statements))
		if err := l.parse(ctx, statements[from:to], out[from:to]); err != nil {
			return nil, fault.New(fault.Unavailable, "let the server parse the statements", err)
		}
	}
	return out, nil
}

func (l *Live) parse(ctx context.Context, statements []string, out []*SyntaxError) error {
	p := l.conn.PgConn().StartPipeline(ctx)
	for _, s := range statements {
		p.SendPrepare("", s, nil)
		if err := p.Sync(); err != nil {
			_ = p.Close()
			return err
		}
	}
	for i := 0; i < len(statements); {
		result, err := p.GetResults()
		if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
			if refused.Code == syntaxErrorState {
				out[i] = &SyntaxError{Message: refused.Message, Offset: characterOffset(statements[i], int(refused.Position))}
			}
			continue
		}
		if err != nil {
			_ = p.Close()
			return err
		}
		switch result.(type) {
		case *pgconn.PipelineSync:
			i++
		case *pgconn.StatementDescription:
		default:
			_ = p.Close()
			return fmt.Errorf("an answer of type %T", result)
		}
	}
	return p.Close()
}

// characterOffset is the byte of the nth character, from 1; -1 for none.
func characterOffset(s string, n int) int {
	if n <= 0 {
		return -1
	}
	i := 0
	for at := range s {
		if i++; i == n {
			return at
		}
	}
	return len(strings.TrimRight(s, " \n"))
}
