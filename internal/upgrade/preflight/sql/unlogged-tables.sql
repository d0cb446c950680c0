SELECT c.oid::regclass::text, 'unlogged' FROM pg_class c WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'm')
