SELECT t.oid::regtype::text, 'base type'
FROM pg_type t
WHERE t.typtype = 'b' AND t.typelem = 0 AND t.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT format('%I.%I', n.nspname, c.opcname), 'operator class'
FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace
WHERE c.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_opclass'::regclass AND d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT format('%I.%I', n.nspname, t.tmplname), 'text search template'
FROM pg_ts_template t JOIN pg_namespace n ON n.oid = t.tmplnamespace
WHERE t.oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_ts_template'::regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT format('%s AS %s', castsource::regtype, casttarget::regtype), 'binary cast'
FROM pg_cast
WHERE oid >= 16384 AND castmethod = 'b'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = pg_cast.oid AND d.deptype = 'e')
