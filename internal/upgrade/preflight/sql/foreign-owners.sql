SELECT o.owner::regrole::text, count(*) || ' objects, such as ' || min(o.what)
FROM (SELECT relowner, 'pg_class'::regclass, oid, oid::regclass::text FROM pg_class
      WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
      UNION ALL SELECT nspowner, 'pg_namespace'::regclass, oid, format('%I', nspname) FROM pg_namespace
      WHERE oid >= 16384 AND nspname !~ '^pg_'
      UNION ALL SELECT proowner, 'pg_proc'::regclass, oid, oid::regprocedure::text FROM pg_proc WHERE oid >= 16384
      UNION ALL SELECT typowner, 'pg_type'::regclass, oid, oid::regtype::text FROM pg_type
      WHERE oid >= 16384 AND typtype IN ('e', 'd', 'r')
      UNION ALL SELECT srvowner, 'pg_foreign_server'::regclass, oid, format('%I', srvname) FROM pg_foreign_server
      UNION ALL SELECT evtowner, 'pg_event_trigger'::regclass, oid, format('%I', evtname) FROM pg_event_trigger
      UNION ALL SELECT pubowner, 'pg_publication'::regclass, oid, format('%I', pubname) FROM pg_publication
     ) AS o(owner, class, id, what)
WHERE NOT pg_has_role(o.owner, 'MEMBER') AND pg_get_userbyid(o.owner) !~ '^(rdsadmin|rds_superuser|cloudsql|google)'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.id AND d.deptype = 'e')
GROUP BY o.owner
