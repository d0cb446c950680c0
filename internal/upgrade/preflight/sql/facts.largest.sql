-- The pages that the catalogue knows of choose the candidates: asking the file system about each of many thousand tables takes long.
SELECT x.oid::regclass::text, pg_total_relation_size(x.oid) AS bytes,
       (CASE WHEN x.reltuples >= 0 THEN x.reltuples::numeric ELSE pg_stat_get_live_tuples(x.oid) END)::bigint
FROM (SELECT c.oid, c.reltuples FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      ORDER BY c.relpages::bigint + coalesce(t.relpages, 0) DESC, pg_stat_get_live_tuples(c.oid) DESC, c.oid LIMIT 50) x
ORDER BY bytes DESC, 1 LIMIT 10
