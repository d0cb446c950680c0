SELECT p.oid::regprocedure::text, 'LEAKPROOF'
FROM pg_proc p
WHERE p.proleakproof AND p.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
