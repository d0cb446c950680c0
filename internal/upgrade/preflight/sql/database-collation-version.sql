SELECT format('%I', d.datname),
       format('made with %s, the system has %s', d.datcollversion, pg_database_collation_actual_version(d.oid))
FROM pg_database d
WHERE d.datname = current_database() AND d.datcollversion <> pg_database_collation_actual_version(d.oid)
