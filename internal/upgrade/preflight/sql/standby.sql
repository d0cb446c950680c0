SELECT 'server', 'replays the WAL of another' WHERE pg_is_in_recovery()
