SELECT format('%I', pubname), CASE WHEN puballtables THEN 'FOR ALL TABLES' ELSE 'for some tables' END || ', of ' || pubowner::regrole
FROM pg_publication
