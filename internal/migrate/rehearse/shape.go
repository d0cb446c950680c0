package rehearse

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// shape is what can fail because of rows, by the identities that tables and columns keep when they are renamed.
type shape struct {
	tables map[uint32]string
	cols   map[colID]column
	keys   map[uint32]key // unique indexes
	cons   map[uint32]constraint
}

type colID struct {
	table uint32
	num   int16
}

type column struct {
	name, typ  string
	notNull    bool
	hasDefault bool // or is made by the server
}

type key struct {
	table    uint32
	name     string
	nums     []int16 // empty: not of plain columns only
	where    string
	nullsToo bool // NULLS NOT DISTINCT
}

type constraint struct {
	table, other uint32
	name         string
	kind         string // c, f, x
	nums, others []int16
	expr         string
	valid        bool
}

const userTables = `from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and c.relkind in ('r', 'p', 'm')`

// readShape reads that of the copy. Names are written with their schemas.
func readShape(ctx context.Context, conn *pgx.Conn) (s *shape, err error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if rerr := tx.Rollback(context.WithoutCancel(ctx)); err == nil {
			err = rerr
		}
	}()
	if _, err := tx.Exec(ctx, "set local search_path = ''"); err != nil {
		return nil, err
	}
	s = &shape{tables: map[uint32]string{}, cols: map[colID]column{}, keys: map[uint32]key{}, cons: map[uint32]constraint{}}
	note := func(sql string, into []any, do func()) {
		if err == nil {
			err = each(ctx, tx, sql, into, do)
		}
	}
	var oid uint32
	var name string
	note(`select c.oid, quote_ident(n.nspname) || '.' || quote_ident(c.relname) `+userTables, []any{&oid, &name}, func() { s.tables[oid] = name })
	var id colID
	var col column
	note(`select a.attrelid, a.attnum, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull, a.atthasdef or a.attidentity <> '' or a.attgenerated <> ''
		from pg_catalog.pg_attribute a where a.attnum > 0 and not a.attisdropped and a.attrelid in (select c.oid `+userTables+`)`,
		[]any{&id.table, &id.num, &col.name, &col.typ, &col.notNull, &col.hasDefault}, func() { s.cols[id] = col })
	var k key
	note(`select i.indexrelid, i.indrelid, quote_ident(c.relname), case when i.indexprs is null and not i.indisexclusion then (select array_agg(x order by o) from unnest(i.indkey::int2[]) with ordinality u(x, o) where o <= i.indnkeyatts) else '{}' end,
		coalesce(pg_get_expr(i.indpred, i.indrelid), ''), pg_get_indexdef(i.indexrelid) like '%NULLS NOT DISTINCT%'
		from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid where i.indisunique and i.indrelid in (select c.oid `+userTables+`)`,
		[]any{&oid, &k.table, &k.name, &k.nums, &k.where, &k.nullsToo}, func() { s.keys[oid] = k })
	var con constraint
	note(`select k.oid, k.conrelid, k.confrelid, quote_ident(k.conname), k.contype::text, coalesce(k.conkey, '{}'), coalesce(k.confkey, '{}'), case when k.contype = 'c' then pg_get_expr(k.conbin, k.conrelid) else '' end, k.convalidated
		from pg_catalog.pg_constraint k where k.contype in ('c', 'f', 'x') and k.conparentid = 0 and k.conrelid in (select c.oid `+userTables+`)`,
		[]any{&oid, &con.table, &con.other, &con.name, &con.kind, &con.nums, &con.others, &con.expr, &con.valid}, func() { s.cons[oid] = con })
	return s, err
}

// names are those of columns, false if one of them is not there.
func (s *shape) names(table uint32, nums []int16) (out []string, ok bool) {
	for _, n := range nums {
		c, ok := s.cols[colID{table, n}]
		if !ok {
			return nil, false
		}
		out = append(out, c.name)
	}
	return out, len(out) > 0
}
