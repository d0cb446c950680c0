SELECT 'temporary tables', count(*) || ' of sessions that are open' FROM pg_class
WHERE relpersistence = 't' AND relkind = 'r' HAVING count(*) > 0
