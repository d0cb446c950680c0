SELECT format('%I', extname), 'version ' || extversion FROM pg_extension WHERE extname = 'pg_partman' AND extversion !~ '^([5-9]|[1-9][0-9])\.'
