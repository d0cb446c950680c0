-- Asked, rather than has_table_privilege: pg_read_all_data counts there, and clouds refuse all the same.
SELECT count(rolpassword) FROM pg_authid
