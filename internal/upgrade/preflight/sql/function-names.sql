-- One pattern of all names finds the few functions that are then asked about each: bodies are long, and many.
WITH gone(name, major) AS (VALUES
  ('relhasoids', 12), ('consrc', 12), ('adsrc', 12), ('datlastsysoid', 15), ('pg_start_backup', 15),
  ('pg_stop_backup', 15), ('pg_is_in_backup', 15), ('pg_backup_start_time', 15), ('daticulocale', 17),
  ('colliculocale', 17), ('attcacheoff', 18), ('checkpoints_timed', 17), ('checkpoints_req', 17),
  ('buffers_checkpoint', 17), ('buffers_backend', 17), ('max_dead_tuples', 17), ('num_dead_tuples', 17),
  ('wal_write_time', 18), ('wal_sync_time', 18)
)
SELECT f.object, format('mentions %s, which went with %s', gone.name, gone.major)
FROM (SELECT p.oid::regprocedure::text AS object, p.prosrc AS body
      FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
      WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
        AND p.prosrc ~* (SELECT string_agg(name, '|') FROM gone)
      OFFSET 0) f
JOIN gone ON f.body ~* ('\m' || gone.name || '\M')
WHERE gone.major <= $1::int AND gone.major > current_setting('server_version_num')::int / 10000
