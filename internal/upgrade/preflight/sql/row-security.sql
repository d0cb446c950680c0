SELECT c.oid::regclass::text, CASE WHEN c.relforcerowsecurity THEN 'forced for its owner too' ELSE 'of ' || c.relowner::regrole END
FROM pg_class c
WHERE c.relrowsecurity AND c.relkind IN ('r', 'p')
  AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = current_user AND (r.rolsuper OR r.rolbypassrls))
  AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE'))
