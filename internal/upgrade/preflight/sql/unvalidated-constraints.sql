SELECT format('%I ON %s', c.conname, CASE WHEN c.conrelid <> 0 THEN c.conrelid::regclass::text ELSE c.contypid::regtype::text END),
       'NOT VALID'
FROM pg_constraint c WHERE NOT c.convalidated
