SELECT format('%L', gid), format('of %I in %I since %s', owner, database, date_trunc('second', prepared)) FROM pg_prepared_xacts
