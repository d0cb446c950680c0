SELECT pg_encoding_to_char(d.encoding)::text,
       CASE to_jsonb(d) ->> 'datlocprovider' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END,
       d.datcollate::text, d.datctype::text, coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', ''),
       CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_database_size(d.oid) END,
       o.rows, o.tables, o.indexes, o.views, o.matviews, o.sequences,
       (SELECT count(*) FROM pg_proc p WHERE p.oid >= 16384 AND NOT EXISTS (
          SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')),
       (SELECT count(*) FROM pg_largeobject_metadata)
FROM pg_database d,
     (SELECT coalesce(sum(CASE WHEN c.reltuples >= 0 THEN c.reltuples::numeric ELSE pg_stat_get_live_tuples(c.oid) END)
                FILTER (WHERE c.relkind = 'r'), 0)::bigint AS rows,
             count(*) FILTER (WHERE c.relkind IN ('r', 'p')) AS tables,
             count(*) FILTER (WHERE c.relkind IN ('i', 'I')) AS indexes,
             count(*) FILTER (WHERE c.relkind = 'v') AS views,
             count(*) FILTER (WHERE c.relkind = 'm') AS matviews,
             count(*) FILTER (WHERE c.relkind = 'S') AS sequences
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') o
WHERE d.datname = current_database()
