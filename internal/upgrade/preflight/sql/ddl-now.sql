SELECT 'pid ' || pid,
       format('%I in %I: %s', usename, datname, -- the command, and no more of the statement: it may hold secrets
              upper(substring(query FROM '^\s*(autovacuum:|[[:alpha:]]+(?:\s+[[:alpha:]]+)?)')))
FROM pg_stat_activity
WHERE state = 'active' AND pid <> pg_backend_pid()
  AND query ~* '^\s*(autovacuum:.*wraparound|alter|create|drop|truncate|vacuum\s+full|cluster|refresh|reindex)\M'
