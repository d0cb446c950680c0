SELECT c.oid::regclass::text, CASE WHEN c.relispopulated THEN 'filled again by its query' ELSE 'empty: not populated' END
FROM pg_class c WHERE c.relkind = 'm'
