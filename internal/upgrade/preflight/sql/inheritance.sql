SELECT i.inhparent::regclass::text, count(*) || ' children'
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent WHERE c.relkind = 'r' GROUP BY i.inhparent
