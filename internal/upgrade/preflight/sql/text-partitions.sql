SELECT p.partrelid::regclass::text, CASE p.partstrat WHEN 'r' THEN 'by range' ELSE 'by list' END || ' of text'
FROM pg_partitioned_table p WHERE p.partstrat IN ('r', 'l') AND EXISTS (
  SELECT FROM unnest(p.partcollation) AS u(id) LEFT JOIN pg_collation c ON c.oid = u.id
  WHERE u.id <> 0 AND c.collname NOT IN ('C', 'POSIX', 'ucs_basic', 'pg_c_utf8'))
