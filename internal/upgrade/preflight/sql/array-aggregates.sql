SELECT p.oid::regprocedure::text, 'built on ' || a.aggtransfn
FROM pg_aggregate a
JOIN pg_proc p ON p.oid = a.aggfnoid
JOIN pg_proc f ON f.oid = a.aggtransfn
WHERE p.pronamespace <> 'pg_catalog'::regnamespace AND f.pronamespace = 'pg_catalog'::regnamespace
  AND f.proname IN ('array_append', 'array_prepend', 'array_cat', 'array_position', 'array_positions', 'array_remove',
                    'array_replace', 'width_bucket')
UNION ALL
SELECT o.oid::regoperator::text, 'built on ' || o.oprcode
FROM pg_operator o JOIN pg_proc f ON f.oid = o.oprcode
WHERE o.oprnamespace <> 'pg_catalog'::regnamespace AND f.pronamespace = 'pg_catalog'::regnamespace
  AND f.proname IN ('array_append', 'array_prepend', 'array_cat', 'array_remove', 'array_replace')
