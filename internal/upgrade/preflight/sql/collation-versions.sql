SELECT format('%I.%I', n.nspname, c.collname),
       format('made with %s, the system has %s', c.collversion, pg_collation_actual_version(c.oid))
FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
WHERE c.collversion <> pg_collation_actual_version(c.oid)
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attcollation = c.oid AND a.attrelid >= 16384)
