SELECT format('%I ON %s', k.conname, k.conrelid::regclass), format('%I and %I', a.attname, b.attname)
FROM pg_constraint k
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS u(here, there)
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.here
JOIN pg_attribute b ON b.attrelid = k.confrelid AND b.attnum = u.there
WHERE k.contype = 'f' AND a.attcollation <> b.attcollation
  AND EXISTS (SELECT FROM pg_collation c WHERE c.oid IN (a.attcollation, b.attcollation) AND NOT c.collisdeterministic)
