SELECT current_setting('server_version_num')::int, version(),
       CASE WHEN EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version') THEN 'aurora'
            WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser') THEN 'rds'
            WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'cloudsqlsuperuser') THEN 'cloudsql'
            ELSE 'postgres' END,
       pg_is_in_recovery(), r.rolname::text, r.rolsuper, pg_has_role('pg_read_all_stats', 'USAGE'),
       (SELECT coalesce(array_agg(d.datname::text ORDER BY d.datname), '{}') FROM pg_database d
        WHERE d.datallowconn AND NOT d.datistemplate AND d.datconnlimit <> -2 AND d.datname NOT IN ('rdsadmin', 'cloudsqladmin'))
FROM pg_roles r WHERE r.rolname = current_user
