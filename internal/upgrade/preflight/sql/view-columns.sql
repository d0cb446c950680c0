SELECT DISTINCT v.oid::regclass::text, format('%s.%s went with %s', gone.rel, gone.col, gone.major)
FROM (VALUES
  ('pg_stat_bgwriter', 'checkpoints_timed', 17), ('pg_stat_bgwriter', 'checkpoints_req', 17),
  ('pg_stat_bgwriter', 'checkpoint_write_time', 17), ('pg_stat_bgwriter', 'checkpoint_sync_time', 17),
  ('pg_stat_bgwriter', 'buffers_checkpoint', 17), ('pg_stat_bgwriter', 'buffers_backend', 17),
  ('pg_stat_bgwriter', 'buffers_backend_fsync', 17), ('pg_stat_progress_vacuum', 'max_dead_tuples', 17),
  ('pg_stat_progress_vacuum', 'num_dead_tuples', 17), ('pg_stat_statements', 'blk_read_time', 17),
  ('pg_stat_statements', 'blk_write_time', 17), ('pg_backend_memory_contexts', 'parent', 18),
  ('pg_stat_io', 'op_bytes', 18), ('pg_stat_wal', 'wal_write', 18), ('pg_stat_wal', 'wal_sync', 18),
  ('pg_stat_wal', 'wal_write_time', 18), ('pg_stat_wal', 'wal_sync_time', 18)
) AS gone(rel, col, major)
JOIN pg_class c ON c.relname = gone.rel AND (c.relnamespace = 'pg_catalog'::regnamespace OR gone.rel = 'pg_stat_statements')
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = gone.col
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
  AND d.classid = 'pg_rewrite'::regclass
JOIN pg_rewrite r ON r.oid = d.objid
JOIN pg_class v ON v.oid = r.ev_class AND v.oid >= 16384
WHERE gone.major <= $1::int
  AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = v.oid AND e.deptype = 'e')
