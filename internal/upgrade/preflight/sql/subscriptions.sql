SELECT format('%I', s.subname), CASE WHEN s.subenabled THEN 'enabled' ELSE 'disabled' END || ', of ' || s.subowner::regrole
FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()
