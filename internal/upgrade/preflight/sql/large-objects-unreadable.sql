SELECT quote_ident(pg_get_userbyid(l.lomowner)), count(*) || ' large objects'
FROM pg_largeobject_metadata l
WHERE NOT pg_has_role(l.lomowner, 'USAGE') AND current_setting('lo_compat_privileges') = 'off'
  AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND r.rolsuper)
  AND NOT EXISTS (SELECT FROM aclexplode(l.lomacl) a
                  WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
GROUP BY l.lomowner
