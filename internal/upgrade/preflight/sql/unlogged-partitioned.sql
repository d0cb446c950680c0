SELECT c.oid::regclass::text, 'unlogged and partitioned' FROM pg_class c WHERE c.relpersistence = 'u' AND c.relkind = 'p'
