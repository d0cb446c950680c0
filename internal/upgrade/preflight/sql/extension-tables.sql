SELECT c.oid::regclass::text, 'of extension ' || quote_ident(e.extname)
FROM pg_extension e, unnest(e.extconfig) x JOIN pg_class c ON c.oid = x
