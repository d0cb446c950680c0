package stream

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// table is one whose rows are copied: a plain table, a leaf of a partitioned one, a parent in an inheritance.
type table struct {
	Schema, Name string
	oid          uint32
	size         int64 // bytes, without indexes
	pages        int64
	node         string // of its file: another one means that it was truncated or rewritten
	cols         string // as SQL, in order; "" is all that can be copied
	binary       bool   // its values' binary format is the same everywhere
	heap         bool
	where        string // of an extension's own table: which rows are the user's
	extension    bool

	id    int // of its entry in the archive
	rows  int64
	bytes int64
	left  int // ranges
}

func (t *table) name() string { return t.Schema + "." + t.Name }
func (t *table) sql() string  { return ident(t.Schema, t.Name) }
func (t *table) key() string  { return t.sql() }

// small tables are copied many at once.
func (t *table) small() bool { return t.size <= smallTable }

const smallTable = 128 << 10

// Types whose binary format is the same in all majors, and names no object by its number.
const binaryTypes = `bool,int2,int4,int8,float4,float8,numeric,text,varchar,bpchar,bytea,date,time,timetz,timestamp,timestamptz,interval,uuid,json,jsonb,inet,cidr,macaddr,macaddr8,char,name,oid,bit,varbit,money,point,lseg,box,path,polygon,circle,line`

const tablesSQL = `with recursive plain as (
 select t.oid from pg_catalog.pg_type t where t.oid < 16384 and t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any (pg_catalog.string_to_array('` + binaryTypes + `', ','))
 union all select t.oid from pg_catalog.pg_type t where t.typtype = 'e'
), good as (
 select oid from plain
 union select t.oid from pg_catalog.pg_type t join pg_catalog.pg_type e on e.oid = t.typelem where t.typcategory = 'A' and t.oid < 16384 and e.oid in (select oid from plain)
 union select t.oid from pg_catalog.pg_type t join good g on g.oid = t.typbasetype where t.typtype = 'd'
)
select c.oid, n.nspname as schema, c.relname as name, pg_catalog.pg_table_size(c.oid), pg_catalog.pg_relation_size(c.oid) / current_setting('block_size')::int,
 c.relfilenode::text, coalesce(cols, ''), coalesce(good, true), am.amname = 'heap', coalesce(x.cond, ''), x.ext is not null
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace join pg_catalog.pg_am am on am.oid = c.relam
left join lateral (
 select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum) as cols, bool_and(a.atttypid in (select oid from good)) as good
 from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
) a on true
left join lateral (
 select e.extname as ext, u.cond from pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) u(rel, cond) where u.rel = c.oid limit 1
) x on true
where c.relkind = 'r' and c.relpersistence <> 't' and (c.oid = any ($1) or x.ext is not null)
order by 4 desc, 2, 3`

// tables are those that the archive makes, and those of extensions that hold a user's rows, the largest first.
func (s *snapshot) tables(ctx context.Context, c *toc) ([]*table, error) {
	conn, err := s.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := weigh(ctx, conn, c); err != nil {
		return nil, err
	}
	var oids []uint32
	ids := map[uint32]int{}
	for _, it := range c.items {
		if it.desc == "TABLE" {
			oids = append(oids, it.oid)
			ids[it.oid] = it.id
		}
	}
	rows, err := conn.Query(ctx, tablesSQL, oids)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*table, error) {
		t := &table{}
		err := row.Scan(&t.oid, &t.Schema, &t.Name, &t.size, &t.pages, &t.node, &t.cols, &t.binary, &t.heap, &t.where, &t.extension)
		t.id = ids[t.oid]
		return t, err
	})
}

// weigh notes how large the source's indexes are: the largest are made first, so that the last ones do not leave all but one job idle.
func weigh(ctx context.Context, conn *pgx.Conn, c *toc) error {
	pages := map[uint32]int64{} // by index, or by the constraint that it is for
	var oid uint32
	var n int64
	err := each(ctx, conn, `select coalesce(k.oid, i.indexrelid), c.relpages::bigint from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
 left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x') where c.relpages > 1`, nil, []any{&oid, &n}, func() { pages[oid] = n })
	for _, it := range c.items {
		if it.desc == "INDEX" || it.desc == "CONSTRAINT" {
			it.weight = pages[it.oid]
		}
	}
	return err
}

// unit is what one COPY copies: a table, or a range of its pages.
type unit struct {
	t      *table
	lo, hi int64 // pages; hi 0 is up to the end
	whole  bool
}

func (u unit) kind() string {
	if u.whole {
		return kindTable
	}
	return kindRange
}

func (u unit) key() string {
	if u.whole {
		return u.t.key()
	}
	return fmt.Sprintf("%s %d", u.t.key(), u.lo)
}

func (u unit) with(more ...string) string {
	if u.t.binary {
		more = append(more, "format binary")
	}
	if len(more) == 0 {
		return ""
	}
	return " with (" + strings.Join(more, ", ") + ")"
}

// out reads the rows, of the table alone without those that inherit from it.
func (u unit) out() string {
	list := u.t.cols
	if list != "" {
		list = " (" + list + ")"
	}
	from := "only " + u.t.sql()
	switch {
	case u.t.where != "":
		from += " " + u.t.where
	case u.whole:
		return "copy " + u.t.sql() + list + " to stdout" + u.with()
	default:
		from += fmt.Sprintf(" where ctid >= '(%d,0)'::tid", u.lo)
		if u.hi > 0 {
			from += fmt.Sprintf(" and ctid < '(%d,0)'::tid", u.hi)
		}
	}
	return "copy (select " + u.t.cols + " from " + from + ") to stdout" + u.with()
}

// in writes them.
func (u unit) in() string {
	list := u.t.cols
	if list != "" {
		list = " (" + list + ")"
	}
	if u.whole && !u.t.extension && !u.t.small() {
		return "copy " + u.t.sql() + list + " from stdin" + u.with("freeze")
	}
	return "copy " + u.t.sql() + list + " from stdin" + u.with()
}

// before empties the table in the transaction that fills it, which takes what a killed try left. Truncating makes FREEZE possible, and new files:
// of a small table that is most of the work.
func (u unit) before() string {
	switch {
	case u.t.extension:
		return "delete from only " + u.t.sql() + " " + u.t.where
	case u.whole && u.t.small():
		return "delete from only " + u.t.sql()
	case u.whole:
		return "truncate only " + u.t.sql()
	}
	return ""
}

// mostWhole times the size from which a table may be split is the size from which it is in any case: nobody wants to copy more than that again.
const mostWhole = 64

// step is how many pages a range has, 0 for a table that is copied whole. Rows of a table that is copied whole come frozen, which saves each
// index and foreign key from looking which rows are visible, and a later vacuum all its work: about a seventh of the processor time. So a
// table is only split if the others would leave all but one job idle for long, indexes apart. total is the size of all.
func (t *table) step(split, total int64, jobs int) int64 {
	if t.size <= split || !t.heap || t.cols == "" || t.extension || t.pages < 2 {
		return 0
	}
	if t.size <= split*mostWhole && t.size*int64(jobs-1) <= 2*(total-t.size) {
		return 0
	}
	return max(1, split*t.pages/t.size)
}

// units are the ranges that a table is copied in. The last one has no end.
func (t *table) units(step int64) []unit {
	if step == 0 {
		return []unit{{t: t, whole: true}}
	}
	var out []unit
	for lo := int64(0); lo < max(1, t.pages); lo += step {
		out = append(out, unit{t: t, lo: lo, hi: lo + step})
	}
	out[len(out)-1].hi = 0
	return out
}

// altered compares what tables are now with what the snapshot shows.
func (s *snapshot) altered(ctx context.Context, conn *pgx.Conn, all []*table) ([]string, error) {
	oids := make([]uint32, len(all))
	for i, t := range all {
		oids[i] = t.oid
	}
	now := map[uint32]string{}
	var oid uint32
	var node string
	err := each(ctx, conn, "select oid, relfilenode::text from pg_catalog.pg_class where oid = any ($1)", []any{oids}, []any{&oid, &node}, func() { now[oid] = node })
	if err != nil {
		return nil, err
	}
	var out []string
	for _, t := range all {
		switch node, ok := now[t.oid]; {
		case !ok:
			out = append(out, "table "+t.name()+" was dropped")
		case node != t.node:
			out = append(out, "table "+t.name()+" was truncated or rewritten")
		}
	}
	slices.Sort(out)
	return out, nil
}
