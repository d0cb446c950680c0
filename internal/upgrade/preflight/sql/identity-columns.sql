SELECT a.attrelid::regclass || '.' || quote_ident(a.attname), CASE a.attidentity WHEN 'a' THEN 'always' ELSE 'by default' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attidentity <> '' AND NOT a.attisdropped AND c.oid >= 16384 AND NOT c.relispartition
