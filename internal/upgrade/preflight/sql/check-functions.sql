SELECT format('%I ON %s', c.conname, CASE WHEN c.conrelid <> 0 THEN c.conrelid::regclass::text ELSE c.contypid::regtype::text END),
       'calls ' || p.oid::regprocedure
FROM pg_constraint c
JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.refobjid
JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('internal', 'c')
WHERE c.contype = 'c'
