SELECT t.spcname::text, count(*) || ' objects'
FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace
WHERE t.spcname <> 'pg_global' AND c.oid >= 16384 GROUP BY t.spcname
UNION ALL
SELECT t.spcname::text, 'default of the database'
FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
WHERE d.datname = current_database() AND t.spcname <> 'pg_default'
