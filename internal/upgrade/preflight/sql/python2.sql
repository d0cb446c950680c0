SELECT quote_ident(l.lanname), (SELECT count(*) FROM pg_proc p WHERE p.prolang = l.oid) || ' functions'
FROM pg_language l WHERE l.lanname IN ('plpythonu', 'plpython2u')
