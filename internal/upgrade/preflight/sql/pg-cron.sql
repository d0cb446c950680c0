SELECT format('%I', extname), 'version ' || extversion FROM pg_extension WHERE extname = 'pg_cron'
