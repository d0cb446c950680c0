SELECT DISTINCT c.relowner::regrole::text, 'owns ' || min(c.oid::regclass::text) OVER (PARTITION BY c.relowner)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
JOIN pg_database d ON d.datname = current_database()
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  AND EXISTS (SELECT FROM aclexplode(n.nspacl) a WHERE a.grantee = 0 AND a.privilege_type = 'CREATE')
  AND NOT pg_has_role(c.relowner, n.nspowner, 'USAGE') AND NOT pg_has_role(c.relowner, d.datdba, 'USAGE')
  AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) a
                  WHERE a.grantee <> 0 AND a.privilege_type = 'CREATE' AND pg_has_role(c.relowner, a.grantee, 'USAGE'))
