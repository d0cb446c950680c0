SELECT CASE WHEN x.setrole = 0 THEN '' ELSE 'ROLE ' || x.setrole::regrole END
         || CASE WHEN x.setrole <> 0 AND x.setdatabase <> 0 THEN ' IN ' ELSE '' END
         || CASE WHEN x.setdatabase = 0 THEN '' ELSE 'DATABASE ' || format('%I', d.datname) END,
       p.name
FROM pg_db_role_setting x LEFT JOIN pg_database d ON d.oid = x.setdatabase, unnest(x.setconfig) s
JOIN pg_settings p ON p.name = split_part(s, '=', 1)
WHERE p.context IN ('superuser', 'superuser-backend')
