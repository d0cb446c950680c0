SELECT c.oid::regclass::text, 'about ' || pg_size_pretty((t.relpages::numeric * current_setting('block_size')::int / c.reltuples::numeric)::bigint) || ' a row'
FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.oid >= 16384 AND c.reltuples > 0
  AND t.relpages::numeric * current_setting('block_size')::int / c.reltuples::numeric > 16 * 1024 * 1024
