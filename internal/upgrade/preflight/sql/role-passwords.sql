SELECT r.oid::regrole::text, 'may log in' || coalesce(', password valid until ' || r.rolvaliduntil::text, '')
FROM pg_roles r
WHERE r.rolcanlogin AND r.rolname <> current_user AND r.oid >= 16384
  AND r.rolname !~ '^(pg_|rds|cloudsql|aws_|azure|google)'
  AND NOT EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid -- these log in with tokens
                  WHERE m.member = r.oid AND g.rolname ~ '^(rds_iam|cloudsqliam)')
