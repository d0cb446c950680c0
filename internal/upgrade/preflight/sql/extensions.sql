SELECT extname::text, extversion FROM pg_extension WHERE extname <> 'plpgsql'
