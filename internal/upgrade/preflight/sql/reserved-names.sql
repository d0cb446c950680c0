SELECT c.oid::regclass::text, format('%s is a keyword since %s', w.word, w.major)
FROM pg_class c JOIN (VALUES ('system_user', 16)) AS w(word, major) ON w.word = c.relname
WHERE c.oid >= 16384 AND w.major <= $1::int AND w.major > current_setting('server_version_num')::int / 10000
UNION ALL
SELECT a.attrelid::regclass || '.' || quote_ident(a.attname), format('%s is a keyword since %s', w.word, w.major)
FROM pg_attribute a JOIN (VALUES ('system_user', 16)) AS w(word, major) ON w.word = a.attname
WHERE a.attrelid >= 16384 AND NOT a.attisdropped AND w.major <= $1::int
  AND w.major > current_setting('server_version_num')::int / 10000
UNION ALL
SELECT p.oid::regprocedure::text, format('%s is a keyword since %s', w.word, w.major)
FROM pg_proc p
JOIN (VALUES ('system_user', 16), ('json_array', 16), ('json_arrayagg', 16), ('json_object', 16), ('json_objectagg', 16),
             ('json', 17), ('json_exists', 17), ('json_query', 17), ('json_scalar', 17), ('json_serialize', 17),
             ('json_table', 17), ('json_value', 17), ('merge_action', 17)) AS w(word, major) ON w.word = p.proname
WHERE p.oid >= 16384 AND w.major <= $1::int AND w.major > current_setting('server_version_num')::int / 10000
