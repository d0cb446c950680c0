SELECT format('%I', datname), age(datfrozenxid) || ' transactions, ' || mxid_age(datminmxid) || ' multixacts old'
FROM pg_database WHERE greatest(age(datfrozenxid), mxid_age(datminmxid)) > 1000000000
