SELECT 'pid ' || pid,
       format('%I in %I, open for %s, %s', usename, datname, date_trunc('second', now() - xact_start), state)
FROM pg_stat_activity
WHERE xact_start < now() - interval '5 minutes' AND pid <> pg_backend_pid() AND backend_type = 'client backend'
