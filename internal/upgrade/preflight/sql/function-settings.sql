SELECT p.oid::regprocedure::text, split_part(s, '=', 1)
FROM pg_proc p, unnest(p.proconfig) s
WHERE p.oid >= 16384 AND EXISTS (SELECT FROM pg_settings x WHERE x.name = split_part(s, '=', 1))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
