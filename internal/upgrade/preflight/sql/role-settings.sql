SELECT CASE WHEN x.setrole = 0 THEN '' ELSE 'ROLE ' || x.setrole::regrole END
         || CASE WHEN x.setrole <> 0 AND x.setdatabase <> 0 THEN ' IN ' ELSE '' END
         || CASE WHEN x.setdatabase = 0 THEN '' ELSE 'DATABASE ' || format('%I', d.datname) END,
       split_part(s, '=', 1)
FROM pg_db_role_setting x LEFT JOIN pg_database d ON d.oid = x.setdatabase, unnest(x.setconfig) s
WHERE EXISTS (SELECT FROM pg_settings p WHERE p.name = split_part(s, '=', 1)) -- what this role is not shown here, it is not shown there
