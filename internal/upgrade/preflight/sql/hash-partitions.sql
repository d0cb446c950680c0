SELECT p.partrelid::regclass::text, 'hash of an enum: ' || string_agg(DISTINCT a.atttypid::regtype::text, ', ')
FROM pg_partitioned_table p
JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[])
JOIN pg_type t ON t.oid = a.atttypid AND t.typtype = 'e'
WHERE p.partstrat = 'h' GROUP BY p.partrelid
