package stats

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// table is one to be analysed.
type table struct {
	schema, name string
	partitioned  bool
	bytes        int64 // with all partitions
	missing      bool  // it has rows, and a column, an index's expression or an extended statistic has nothing
}

func (t table) String() string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

// statement analyses it. Up to 17 a partitioned table is analysed together with its partitions, from 18 on alone if so asked.
func (t table) statement(major int) string {
	if t.partitioned && major >= carryFrom {
		return "analyze only " + t.String()
	}
	return "analyze " + t.String()
}

// tablesSQL are the tables that should have statistics, the largest first. What has some is read from the views that show a table's own
// statistics to whoever may read it: a table that may not be read seems to have none, and is analysed, which does no harm.
const tablesSQL = `with st as materialized (select schemaname, tablename, attname, inherited from pg_catalog.pg_stats),
rel as materialized (select c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relkind = 'r' and c.relhassubclass and exists (select from pg_catalog.pg_inherits h where h.inhparent = c.oid) as parent
 from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't' and n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast') and ($1 or not c.relispartition)),
-- which rows of pg_stats there should be
wanted as (
 select r.oid, r.nspname, r.relname, a.attname, i.inherited from rel r join pg_catalog.pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated <> 'v' and a.attstattarget is distinct from 0,
  lateral (select r.relkind = 'p' as inherited where r.reltuples <> 0 union all select true where r.parent) i
 union all
 select r.oid, r.nspname, x.relname, a.attname, false from rel r join pg_catalog.pg_index i on i.indrelid = r.oid and i.indexprs is not null and i.indisvalid join pg_catalog.pg_class x on x.oid = i.indexrelid
  join pg_catalog.pg_attribute a on a.attrelid = x.oid and a.attnum between 1 and i.indnkeyatts and i.indkey[a.attnum - 1] = 0 and a.attstattarget is distinct from 0 where r.relkind <> 'p' and r.reltuples <> 0),
-- grouped rather than joined: nobody has told the planner yet how many there are
missing as (
 select max(k.oid) from (select oid, nspname, relname, attname, inherited, false as there from wanted union all select null, schemaname, tablename, attname, inherited, true from st) k
  group by k.nspname, k.relname, k.attname, k.inherited having not bool_or(k.there)
 union
 select r.oid from rel r join pg_catalog.pg_statistic_ext e on e.stxrelid = r.oid and e.stxstattarget is distinct from 0 join pg_catalog.pg_namespace n on n.oid = e.stxnamespace
  where r.reltuples <> 0 and not exists (select from pg_catalog.pg_stats_ext x where x.statistics_schemaname = n.nspname and x.statistics_name = e.stxname))
select nspname::text, relname::text, relkind = 'p', coalesce(case when relkind = 'p' then (select sum(pg_catalog.pg_relation_size(p.relid)) from pg_catalog.pg_partition_tree(rel.oid) p where p.isleaf)
 else pg_catalog.pg_relation_size(rel.oid) end, 0)::bigint as bytes, rel.oid in (select * from missing) from rel order by bytes desc, 1, 2`

func (r *run) tables(ctx context.Context) ([]table, error) {
	rows, err := r.target.Query(ctx, tablesSQL, r.major >= carryFrom)
	if err != nil {
		return nil, fmt.Errorf("read what tables there are: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		err = row.Scan(&t.schema, &t.name, &t.partitioned, &t.bytes, &t.missing)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what tables there are: %w", err)
	}
	return all, nil
}
