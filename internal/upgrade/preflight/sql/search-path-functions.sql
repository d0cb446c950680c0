-- Names a function as its body names it: without a schema, and found on the caller's search_path only.
SELECT DISTINCT f.object, format('names %s, used by %s', found.name, f.used)
FROM (SELECT p.oid::regprocedure::text AS object, p.prosrc AS body, pg_describe_object(d.classid, d.objid, 0) AS used
      FROM pg_depend d
      JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
      JOIN pg_language l ON l.oid = p.prolang AND l.lanname NOT IN ('c', 'internal')
      LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
      LEFT JOIN pg_class v ON v.oid = w.ev_class
      WHERE p.oid >= 16384
        AND NOT coalesce(array_to_string(p.proconfig, ',') ~ 'search_path=', false)
        AND (d.classid IN ('pg_class'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass) OR v.relkind = 'm')
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
     ) f
CROSS JOIN LATERAL (
  SELECT o.name
  FROM (SELECT c.relname, c.relnamespace FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        UNION ALL SELECT p.proname, p.pronamespace FROM pg_proc p
        UNION ALL SELECT t.typname, t.typnamespace FROM pg_type t WHERE t.typtype IN ('e', 'd', 'r', 'b') AND t.typelem = 0
       ) AS o(name, namespace)
  JOIN pg_namespace n ON n.oid = o.namespace
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND position(lower(o.name) IN lower(f.body)) > 0 -- cheap, before the pattern
    AND f.body ~* ('(^|[^.[:alnum:]_])"?' || regexp_replace(o.name, '([^[:alnum:]_])', '\\\1', 'g') || '"?($|[^[:alnum:]_])')
  ORDER BY o.name LIMIT 1
) found
