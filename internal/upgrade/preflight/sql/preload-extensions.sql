SELECT format('%I', extname), 'works only when preloaded' FROM pg_extension
WHERE extname IN ('pg_stat_statements', 'pg_cron', 'pgaudit', 'timescaledb', 'citus', 'pglogical', 'pg_squeeze', 'pg_stat_monitor')
