SELECT l.provider, count(*) || ' labels' FROM pg_seclabels l GROUP BY l.provider
