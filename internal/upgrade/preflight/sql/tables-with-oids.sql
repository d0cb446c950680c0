SELECT c.oid::regclass::text, 'WITH OIDS'
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND to_jsonb(c) ->> 'relhasoids' = 'true' -- a column that 12 took away
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
