SELECT quote_ident(l.lanname), (SELECT count(*) FROM pg_proc p WHERE p.prolang = l.oid) || ' functions'
FROM pg_language l WHERE NOT l.lanpltrusted AND l.lanname NOT IN ('internal', 'c', 'plpythonu', 'plpython2u')
