SELECT 'wal_level', 'is ' || current_setting('wal_level') || ', has to be logical' WHERE current_setting('wal_level') <> 'logical'
UNION ALL
SELECT 'max_replication_slots', 'all ' || current_setting('max_replication_slots') || ' taken'
WHERE (SELECT count(*) FROM pg_replication_slots) >= current_setting('max_replication_slots')::int
UNION ALL
SELECT 'max_wal_senders', 'all ' || current_setting('max_wal_senders') || ' taken'
WHERE (SELECT count(*) FROM pg_stat_replication) >= current_setting('max_wal_senders')::int
UNION ALL
SELECT 'role ' || quote_ident(rolname), 'may not replicate' FROM pg_roles r
WHERE rolname = current_user AND NOT rolsuper AND NOT rolreplication
  AND NOT EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' AND pg_has_role(r.oid, g.oid, 'MEMBER'))
