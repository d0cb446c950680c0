SELECT a.attrelid::regclass || '.' || quote_ident(a.attname), CASE a.attgenerated WHEN 's' THEN 'stored' ELSE 'virtual' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attgenerated <> '' AND NOT a.attisdropped AND c.oid >= 16384 AND NOT c.relispartition
