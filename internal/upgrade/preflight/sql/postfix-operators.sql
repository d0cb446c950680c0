SELECT o.oid::regoperator::text, 'postfix'
FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE o.oprright = 0 AND n.nspname <> 'pg_catalog'
