SELECT c.oid::regclass || '.' || quote_ident(a.attname), format_type(a.atttypid, a.atttypmod)
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type b ON b.oid = coalesce(nullif(t.typbasetype, 0), nullif(t.typelem, 0))
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'm', 'v', 'f', 'c')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (t.typname IN ('abstime', 'reltime', 'tinterval', 'unknown') AND t.typnamespace = 'pg_catalog'::regnamespace
    OR b.typname IN ('abstime', 'reltime', 'tinterval') AND b.typnamespace = 'pg_catalog'::regnamespace)
