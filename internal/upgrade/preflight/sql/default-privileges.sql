SELECT d.defaclrole::regrole::text,
       CASE WHEN d.defaclnamespace = 0 THEN 'in all schemas' ELSE 'in schema ' || d.defaclnamespace::regnamespace END
FROM pg_default_acl d WHERE NOT pg_has_role(d.defaclrole, 'MEMBER')
