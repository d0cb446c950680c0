SELECT r.oid::regrole::text,
       concat_ws(', ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                 CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
FROM pg_roles r
WHERE (rolsuper OR rolreplication OR rolbypassrls) AND r.oid >= 16384 AND r.rolname !~ '^(pg_|rds|cloudsql|aws_|azure|google)'
  AND r.rolname <> current_user
