SELECT name, reset_val || coalesce(' ' || unit, '') FROM pg_settings
WHERE name IN ('statement_timeout', 'idle_in_transaction_session_timeout', 'lock_timeout', 'transaction_timeout',
               'idle_session_timeout', 'tcp_user_timeout', 'old_snapshot_threshold')
  AND reset_val NOT IN ('0', '-1')
