SELECT format('%I', current_database()), tables || ' tables, room for ' || room || ' locks'
FROM (SELECT (SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384) AS tables,
             current_setting('max_locks_per_transaction')::int
               * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int) AS room) x
WHERE tables > 0.8 * room
