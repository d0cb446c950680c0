SELECT a.grantee::regrole::text, count(DISTINCT o.what) || ' objects, such as ' || min(o.what)
FROM (SELECT oid::regclass::text, relacl FROM pg_class WHERE oid >= 16384
      UNION ALL SELECT format('%I', nspname), nspacl FROM pg_namespace WHERE nspname !~ '^pg_'
      UNION ALL SELECT oid::regprocedure::text, proacl FROM pg_proc WHERE oid >= 16384) AS o(what, acl),
     aclexplode(o.acl) a
WHERE a.grantee <> 0 AND pg_get_userbyid(a.grantee) ~ '^(rds|cloudsql|aws_|azure|google)'
GROUP BY a.grantee
