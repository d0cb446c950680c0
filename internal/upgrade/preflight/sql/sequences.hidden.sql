SELECT c.oid::regclass::text, 'no USAGE or SELECT'
FROM pg_class c
WHERE c.relpersistence <> 't' AND CASE WHEN c.relkind = 'S' THEN NOT has_sequence_privilege(c.oid, 'SELECT,USAGE') END
