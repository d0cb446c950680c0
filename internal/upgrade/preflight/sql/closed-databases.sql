SELECT format('%I', datname), 'allows no connections'
FROM pg_database
WHERE NOT datallowconn AND datconnlimit <> -2 AND datname NOT IN ('template0', 'rdsadmin', 'cloudsqladmin')
