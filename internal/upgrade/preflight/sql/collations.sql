SELECT DISTINCT format('%I.%I', n.nspname, c.collname), CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'c' THEN 'libc' ELSE 'builtin' END
FROM pg_collation c
JOIN pg_namespace n ON n.oid = c.collnamespace
JOIN pg_attribute a ON a.attcollation = c.oid
JOIN pg_class k ON k.oid = a.attrelid
WHERE k.oid >= 16384 AND k.relkind <> 't' AND NOT a.attisdropped
  AND c.collname NOT IN ('default', 'C', 'POSIX', 'ucs_basic', 'unicode', 'pg_c_utf8', 'pg_unicode_fast')
