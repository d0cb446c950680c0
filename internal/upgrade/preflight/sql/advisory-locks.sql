SELECT 'pid ' || pid, count(*) || ' held' FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid() GROUP BY pid
