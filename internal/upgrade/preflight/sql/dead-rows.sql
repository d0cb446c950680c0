SELECT s.relid::regclass::text, s.n_dead_tup || ' dead, ' || s.n_live_tup || ' live'
FROM pg_stat_user_tables s WHERE s.n_dead_tup > 100000 AND s.n_dead_tup > s.n_live_tup / 5
