SELECT 'free connections', free || ' of ' || current_setting('max_connections')
FROM (SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0)
               - (SELECT sum(numbackends) FROM pg_stat_database)::int AS free) f
WHERE free < 10
UNION ALL
SELECT 'role ' || quote_ident(rolname), 'CONNECTION LIMIT ' || rolconnlimit FROM pg_roles
WHERE rolname = current_user AND rolconnlimit BETWEEN 0 AND 9
UNION ALL
SELECT 'database ' || quote_ident(datname), 'CONNECTION LIMIT ' || datconnlimit FROM pg_database
WHERE NOT datistemplate AND datconnlimit BETWEEN 0 AND 9
