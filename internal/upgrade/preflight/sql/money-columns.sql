SELECT c.oid::regclass || '.' || quote_ident(a.attname), 'lc_monetary is ' || current_setting('lc_monetary')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE a.atttypid IN ('money'::regtype, 'money[]'::regtype) AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'm')
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
