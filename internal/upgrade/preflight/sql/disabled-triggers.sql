SELECT DISTINCT format('%I ON %s', coalesce(c.conname, t.tgname), t.tgrelid::regclass),
       CASE t.tgenabled WHEN 'D' THEN 'disabled' WHEN 'A' THEN 'enabled always' ELSE 'enabled on replicas' END
         || CASE WHEN t.tgisinternal THEN ', of a constraint' ELSE '' END
FROM pg_trigger t LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint AND t.tgisinternal
WHERE t.tgenabled <> 'O' AND t.tgrelid >= 16384
