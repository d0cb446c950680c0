SELECT c.oid::regclass || '.' || quote_ident(a.attname), format_type(a.atttypid, NULL)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_type t ON t.oid = a.atttypid
WHERE t.typnamespace = 'information_schema'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
  AND c.relkind IN ('r', 'p', 'm') AND c.relnamespace <> 'information_schema'::regnamespace
