SELECT c.oid::regclass::text, CASE WHEN has_schema_privilege(n.oid, 'USAGE') THEN 'no SELECT' ELSE 'no USAGE of the schema' END
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'S', 'm') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (NOT has_table_privilege(c.oid, 'SELECT') OR NOT has_schema_privilege(n.oid, 'USAGE'))
  AND NOT EXISTS (SELECT FROM pg_depend d, pg_extension x
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e' AND x.oid = d.refobjid
                    AND NOT coalesce(c.oid = ANY (x.extconfig), false)) -- of an extension's tables, only these are copied
